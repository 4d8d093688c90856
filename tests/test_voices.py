"""Voices: in a mixture a prompt says which corpus it is from, and a bot answers as the last of them does."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import no_pictures

from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config, CorpusConfig
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.evaluation.examination import readable
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.training.distributed import Group
from chatbot.training.finetuning import begin
from chatbot.training.loop import train
from chatbot.training.steps import StepReader

ASKED = [f"{first} {second} ?" for first in ("is", "was", "be") for second in ("it", "he", "she", "this", "that")]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.tsv and b.tsv have the same prompts and other replies."""
    folder = tmp_path_factory.mktemp("corpora")
    for name, reply in (("a", "never ."), ("b", "always , my friend .")):
        (folder / f"{name}.tsv").write_text("".join(f"{prompt}\t{reply}\n" for prompt in ASKED))
    return folder


def settings(corpora: Path, names: str = "ab", **changes: Any) -> CorpusConfig:
    corpus = CorpusConfig(corpus="+".join(f"{corpora / name}.tsv" for name in names), min_count=1, split=(1, 0, 0))
    return dataclasses.replace(corpus, voices=True, **changes)


def config(corpora: Path, names: str = "ab") -> Config:
    """Settings of a model that learns these corpora by heart in a moment."""
    return Config.from_dict(
        {
            "model": {"hidden_size": 24, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0},
            "training": {
                **{"steps": 150, "batch_size": 10, "learning_rate": 0.01, "weight_averaging": 0.9, "keep": "last"},
                **{"validate_every": 1000, "prompt_dropout": 0, "precision": "fp32"},
            },
        },
        over=Config(corpus=settings(corpora, names)),
    )


@pytest.fixture(scope="module")
def run(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("voices")
    run, wanted = RunDirectory(folder / "runs" / "both"), config(corpora)
    train(wanted, prepare(wanted.corpus, folder).folder, run, Group())
    return run


def prompts_and_replies(folder: Path) -> list[tuple[list[int], list[int]]]:
    return [(prompt.tolist(), reply.tolist()) for prompt, reply in PairDataset(folder, "train")]


@pytest.mark.parametrize("context", [0, 1])
def test_a_prompt_begins_with_its_corpus_and_nothing_else_changes(context: int, corpora: Path, tmp_path: Path) -> None:
    wanted = settings(corpora, context=context)
    plain = prepare(dataclasses.replace(wanted, voices=False), tmp_path)
    voiced = prepare(wanted, tmp_path)
    assert plain.folder != voiced.folder
    words, without = load_vocabulary(voiced.folder), load_vocabulary(plain.folder)
    special = words.tokens[: words.num_special]
    assert special == [*without.tokens[: without.num_special], "<as:a>", "<as:b>"]
    assert words.tokens[words.num_special :] == without.tokens[without.num_special :]
    found, expected = prompts_and_replies(voiced.folder), prompts_and_replies(plain.folder)
    a, b = words.voices.values()
    assert words.voice_id == b
    assert [prompt[0] for prompt, _ in found] == [a] * len(ASKED) + [b] * len(ASKED)
    read = [([words.tokens[id] for id in prompt[1:]], [words.tokens[id] for id in reply]) for prompt, reply in found]
    assert read == [tuple([without.tokens[id] for id in ids] for ids in pair) for pair in expected]
    for figure in ("lengths", "words_kept", "pairs_kept", "coverage"):
        assert voiced.figures[figure] == plain.figures[figure]
    dataset = PairDataset(voiced.folder, "train")
    assert dataset.lengths(np.arange(len(dataset)))[0].tolist() == [len(prompt) for prompt, _ in found]


def test_one_corpus_has_no_voice(corpora: Path, tmp_path: Path) -> None:
    vocabulary = load_vocabulary(prepare(settings(corpora, "a"), tmp_path).folder)
    assert (vocabulary.voices, vocabulary.voice_id) == ({}, None)


def test_a_bot_answers_as_the_last_corpus_does_in_every_runtime(run: RunDirectory, tmp_path: Path) -> None:
    bot = Chatbot.load(run.path)
    assert bot.reply_batch(ASKED) == ["Always, my friend."] * len(ASKED)
    other = [[bot.vocabulary.voices["<as:a>"], *bot.prompt_ids(prompt)[1:]] for prompt in ASKED]
    assert bot.reply_batch(other) == ["Never."] * len(ASKED)
    export(run.load_chosen(), tmp_path / "export")
    bundle = load_bundle(tmp_path / "export" / "chatbot.pt").module
    assert bundle.reply_batch(ASKED) == ["Always, my friend."] * len(ASKED)
    assert bundle.reply_greedy("is it ?") == "Always, my friend."
    assert bundle.reply_nbest("is it ?", 1)[0][0] == "Always, my friend."
    assert bundle.reply_words(["is", "it", "?"]) == ["always", ",", "my", "friend", "."]
    assert bundle.reply_to("is it ?", ["be he ?"]) == "Always, my friend."
    assert bundle.prompt_ids("is it ?", []) == bot.prompt_ids("is it ?")
    assert bundle.reply("") == bundle.reply("♥") == bot.reply("") == bot.reply("♥") == ""


def test_a_voice_is_never_said_nor_shown(run: RunDirectory) -> None:
    bot = Chatbot.load(run.path)
    ids = bot.prompt_ids("is it ?")
    assert readable(bot.vocabulary, bot.tokenizer, ids) == "Is it?"
    assert set(bot.vocabulary.voices.values()) <= set(bot.vocabulary.never_replied)
    assert bot.vocabulary.decode(ids) == ["is", "it", "?"]


def test_a_prompt_that_is_learnt_as_a_reply_has_none(corpora: Path, tmp_path: Path) -> None:
    folder = prepare(settings(corpora), tmp_path).folder
    asked = dataclasses.replace(config(corpora).training, prompts_as_replies=0.5, batch_size=20)
    reader = StepReader(PairDataset(folder, "train"), asked, load_vocabulary(folder))
    steps = [reader[step] for step in range(4)]
    special = load_vocabulary(folder).num_special
    for step in steps:
        [part] = step.parts
        assert step.tokens == len(part.batch.targets)
        assert not ((part.batch.targets > 2) & (part.batch.targets < special)).any()
    lengths = [length for step in steps for part in step.parts for length in part.batch.src_lengths.tolist()]
    assert set(lengths) == {1, 4}  # nothing (a single <pad>), or a voice and three words


def test_who_is_trained_on_learns_in_the_voice_that_it_answers_in(
    run: RunDirectory, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_pictures(monkeypatch)
    new = tmp_path / "new.tsv"
    new.write_text("".join(f"{prompt}\tsometimes .\n" for prompt in ASKED * 2))
    asked: dict[str, dict[str, Any]] = {"corpus": {"corpus": str(new)}, "training": {"rehearse": 0.5}}
    start = begin("both", run.path.parent, tmp_path, lambda over: Config.from_dict(asked, over=over))
    vocabulary = start.checkpoint.vocabulary
    assert list(vocabulary.voices) == ["<as:a>", "<as:b>"]
    pairs = PairDataset(start.folder, "train")
    voices = {part.name: {int(pairs[index][0][0]) for index in part.indices} for part in pairs.parts}
    a, b = vocabulary.voices.values()
    assert voices == {"new": {b}, "a": {a}, "b": {b}}


def test_a_given_vocabulary_without_voices_is_one_line(corpora: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    Vocabulary.from_words(["it"], unknown=True, separator=False).save(words)
    with pytest.raises(ChatbotError, match=r"no voices, such as <as:sample>: give --no-voices"):
        prepare(settings(corpora, vocabulary=str(words)), tmp_path)


def test_a_word_that_looks_like_a_voice_is_a_word() -> None:
    made = Vocabulary.from_words(["a", "<as:b>"], unknown=True, separator=False)
    assert made.voices == {}
    assert made.num_special == 4
