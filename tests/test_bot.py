"""A bot's replies by every method, from a run, a checkpoint and a bundle; n-best lists; reranking."""

import dataclasses
from pathlib import Path

import pytest

from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config, DecodingConfig
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.decoding.generate import log_likelihood
from chatbot.deployment.torchscript import export
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.training.distributed import Group
from chatbot.training.loop import train

LINES = ["Hello.", "How are you?", "What's your name?", "Do you like music?", "xyzzy", ""]
BEAM = DecodingConfig(method="beam", beam_width=6, length_penalty=0.8, no_repeat_ngram=2)
SAMPLE = DecodingConfig(method="sample", temperature=1.3, top_p=0.95)


@pytest.fixture(scope="module")
def bundle(trained: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "export"
    export(trained.load_chosen(), folder)
    return folder / "chatbot.pt"


@pytest.mark.parametrize("decoding", [DecodingConfig(), BEAM, SAMPLE], ids=["greedy", "beam", "sample"])
def test_a_run_a_checkpoint_and_a_bundle_answer_alike(
    trained: RunDirectory, bundle: Path, decoding: DecodingConfig
) -> None:
    bots = [Chatbot.load(path, decoding=decoding) for path in (trained.path, trained.best, bundle)]
    replies = [bot.reply_batch(LINES) for bot in bots]
    assert replies[0] == replies[1] == replies[2] == [bots[0].reply(line) for line in LINES]
    assert replies[0][-1] == ""
    assert any(replies[0])
    lists = [bot.nbest("How are you?", 4) for bot in bots]
    for other in lists[1:]:
        assert [text for text, _ in other] == [text for text, _ in lists[0]]
        assert [p for _, p in other] == pytest.approx([p for _, p in lists[0]], abs=1e-4)


def test_the_seed_makes_the_reply(trained: RunDirectory) -> None:
    bot = Chatbot.load(trained.path, decoding=SAMPLE)
    first = bot.reply("How are you?")
    assert first == bot.reply("How are you?")
    replies = set()
    for seed in range(20):
        replies.add(bot.reply("How are you?", decoding=dataclasses.replace(SAMPLE, seed=seed)))
    assert len(replies) > 1


@pytest.mark.parametrize("decoding", [DecodingConfig(), BEAM, SAMPLE], ids=["greedy", "beam", "sample"])
def test_n_best_replies_differ_and_have_the_models_probabilities(
    trained: RunDirectory, decoding: DecodingConfig
) -> None:
    bot = Chatbot.load(trained.path, decoding=decoding)
    listed = bot.nbest("How are you?", 10)
    texts = [text for text, _ in listed]
    assert 1 < len(listed) <= 10
    assert len(set(texts)) == len(texts)
    assert all(p <= 0 for _, p in listed)
    model = trained.load_chosen().build_model()
    prompt = bot.vocabulary.encode(bot.words("How are you?"))
    for text, p in listed:
        ids = bot.vocabulary.encode(bot.words(text))
        if bot.text(ids) == text and len(ids) < bot.max_length:
            assert p == pytest.approx(float(log_likelihood(model, [prompt], [ids])), abs=1e-3)


@pytest.mark.parametrize("decoding", [DecodingConfig(), BEAM], ids=["greedy", "beam"])
def test_attention_is_of_the_reply_that_is_given(trained: RunDirectory, decoding: DecodingConfig) -> None:
    bot = Chatbot.load(trained.path, decoding=decoding)
    prompt = bot.vocabulary.encode(bot.words("How are you?"))
    read, said, weights = bot.attend(prompt)
    assert read == ["how", "are", "you", "?"]
    assert weights.shape == (len(said), 4)
    assert bot.tokenizer.detokenize([word for word in said if word != "<eos>"], bot.vocabulary.written) == bot.reply(
        "How are you?"
    )


@pytest.fixture(scope="module")
def backward(tiny: Config, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run from replies to prompts."""
    run = RunDirectory(tmp_path_factory.mktemp("backward") / "run")
    model = dataclasses.replace(tiny.model, direction="backward")
    train(dataclasses.replace(tiny, model=model), prepared, run, Group())
    return run


def test_another_run_reranks(trained: RunDirectory, backward: RunDirectory) -> None:
    way = dataclasses.replace(BEAM, mmi_weight=100.0)
    bot = Chatbot.load(trained.path, decoding=way, backward=backward.path)
    prompt = bot.vocabulary.encode(["hello", "."])
    listed = bot.decode([prompt], way, bot.max_length + 1)[0]
    said = [hypothesis.ids for hypothesis in listed]
    scores = log_likelihood(backward.load_chosen().build_model(), said, [prompt] * len(said)).tolist()
    expected = [hypothesis.log_prob + 100 * score for hypothesis, score in zip(listed, scores, strict=True)]
    assert len(listed) > 1
    assert [hypothesis.total for hypothesis in listed] == pytest.approx(expected)
    assert expected == sorted(expected, reverse=True)


def test_a_run_that_cannot_rerank_is_refused(trained: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match="one reply to rerank"):
        Chatbot.load(trained.path, backward=trained.path)
    with pytest.raises(ChatbotError, match="train it with --direction backward"):
        Chatbot.load(trained.path, decoding=BEAM, backward=trained.path)
    checkpoint = Checkpoint.load(trained.best)
    words = [*checkpoint.vocabulary.tokens[:-1], "xyzzy"]
    dataclasses.replace(checkpoint, vocabulary=Vocabulary(words)).save(tmp_path / "other.pt")
    with pytest.raises(ChatbotError, match=r"other\.pt cannot rerank"):
        Chatbot.load(trained.path, decoding=BEAM, backward=tmp_path / "other.pt")
    with pytest.raises(ChatbotError, match=r"nothing\.pt"):
        Chatbot.load(trained.path, decoding=BEAM, backward=tmp_path / "nothing.pt")


def test_of_several_replies_none_is_cut_by_the_threshold(trained: RunDirectory) -> None:
    """It drops what the others would be chosen from, so it is for one reply alone."""
    bot = Chatbot.load(trained.path)
    threshold = dataclasses.replace(BEAM, beam_threshold=0.01)
    differs = 0
    for prompt in ("hello", "how are you", "what is your name", "do you like music"):
        assert bot.nbest(prompt, 4, decoding=threshold) == bot.nbest(prompt, 4, decoding=BEAM)
        assert bot.nbest(prompt, 1, decoding=threshold)[0][0] == bot.reply(prompt, decoding=threshold)
        differs += bot.reply(prompt, decoding=threshold) != bot.reply(prompt, decoding=BEAM)
    assert differs
