"""A checkpoint of the tutorial, written here by a re-statement of its model, answers after the import as it did."""

import dataclasses
import functools
import io
import json
import math
import random
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.evaluation.examination import held_out_pairs, split_of
from chatbot.network.batch import pad_prompts
from chatbot.runs import directory
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory, find_run
from chatbot.runs.tutorial import convert, import_checkpoint
from chatbot.system.errors import ChatbotError

PAD, SOS, EOS = 0, 1, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz"


# the tutorial's model, stated anew: time first, one word at a time, no mask


class PlainEncoder(nn.Module):
    def __init__(self, embedding: nn.Embedding, layers: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.gru = nn.GRU(embedding.embedding_dim, embedding.embedding_dim, layers, bidirectional=True)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids (S, 1) -> outputs (S, 1, H), states (2 * layers, 1, H)."""
        outputs, states = self.gru(self.embedding(ids))
        size = self.embedding.embedding_dim
        return outputs[..., :size] + outputs[..., size:], states


class PlainAttention(nn.Module):
    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = kind
        if kind != "dot":
            self.attn = nn.Linear(size if kind == "general" else 2 * size, size)
        if kind == "concat":
            self.v = nn.Parameter(torch.randn(size))

    def forward(self, state: Tensor, outputs: Tensor) -> Tensor:
        """state (1, 1, H), outputs (S, 1, H) -> weights (S,), each place's score by itself."""
        scores = []
        for output in outputs[:, 0]:
            if self.kind == "dot":
                scores.append(state[0, 0].dot(output))
            elif self.kind == "general":
                scores.append(state[0, 0].dot(self.attn(output)))
            else:
                scores.append(self.v.dot(torch.tanh(self.attn(torch.cat((state[0, 0], output))))))
        return torch.stack(scores).softmax(dim=0)


class PlainDecoder(nn.Module):
    def __init__(self, embedding: nn.Embedding, layers: int, kind: str) -> None:
        super().__init__()
        size = embedding.embedding_dim
        self.layers = layers
        self.embedding = embedding
        self.gru = nn.GRU(size, size, layers)
        self.concat = nn.Linear(2 * size, size)
        self.out = nn.Linear(size, embedding.num_embeddings)
        self.attn = PlainAttention(kind, size)

    def forward(self, word: int, states: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The word before, states (layers, 1, H), outputs (S, 1, H) -> probabilities (V,), states."""
        state, states = self.gru(self.embedding(torch.tensor([[word]])), states)
        context = (self.attn(state, outputs).view(-1, 1) * outputs[:, 0]).sum(dim=0)
        attended = torch.tanh(self.concat(torch.cat((state[0, 0], context))))
        return self.out(attended).softmax(dim=0), states


class Plain:
    """The tutorial's encoder and decoder around one embedding, its greedy search, and its way to save them."""

    def __init__(
        self, words: list[str], size: int = 7, layers: tuple[int, int] = (2, 2), kind: str = "dot", seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        self.words = ["PAD", "SOS", "EOS", *words]
        self.embedding = nn.Embedding(len(self.words), size)
        self.encoder = PlainEncoder(self.embedding, layers[0]).eval()
        self.decoder = PlainDecoder(self.embedding, layers[1], kind).eval()
        with torch.no_grad():
            for parameter in (*self.encoder.gru.parameters(), *self.decoder.parameters()):
                if parameter is not self.embedding.weight:
                    parameter.mul_(2.5)  # far from uniform, and replies that depend on their prompts
            self.decoder.out.bias[EOS] += 1.0  # some replies end early
        self.greedy = functools.cache(self._greedy)

    @torch.no_grad()
    def _greedy(self, text: str, max_length: int) -> tuple[list[int], list[float]]:
        """Tokens and probabilities, always `max_length` of them."""
        prompt = [self.words.index(word) for word in text.split(" ")] + [EOS]
        outputs, states = self.encoder(torch.tensor([prompt]).t())
        states = states[: self.decoder.layers]
        token, tokens, probabilities = SOS, [], []
        for _ in range(max_length):
            distribution, states = self.decoder(token, states, outputs)
            token = int(distribution.argmax())
            tokens.append(token)
            probabilities.append(float(distribution[token]))
        return tokens, probabilities

    def until_eos(self, text: str, max_length: int = 10) -> tuple[list[int], list[float]]:
        """The tokens that the tutorial finds, without what it says behind EOS."""
        tokens, probabilities = self.greedy(text, max_length)
        end = tokens.index(EOS) + 1 if EOS in tokens else max_length
        return tokens[:end], probabilities[:end]

    def reply(self, text: str, max_length: int = 10) -> str:
        """The words of that."""
        return " ".join(self.words[token] for token in self.until_eos(text, max_length)[0] if token > EOS)

    @torch.no_grad()
    def loss(self, prompt: str, reply: str) -> tuple[float, int]:
        """Negative log-likelihood of a reply and its EOS in nats, and how many tokens that is."""
        outputs, states = self.encoder(torch.tensor([[self.words.index(word) for word in prompt.split()] + [EOS]]).t())
        states, token, total = states[: self.decoder.layers], SOS, 0.0
        said = [self.words.index(word) for word in reply.split()] + [EOS]
        for target in said:
            distribution, states = self.decoder(token, states, outputs)
            total -= math.log(float(distribution[target]))
            token = target
        return total, len(said)

    def data(self) -> dict[str, Any]:
        """What the tutorial gives to torch.save; the optimisers have taken a step."""
        state = {}
        for name, part in (("en", self.encoder), ("de", self.decoder)):
            adam = torch.optim.Adam(part.parameters(), lr=1e-9)
            sum(parameter.sum() for parameter in part.parameters()).backward()  # type: ignore[union-attr]
            adam.step()
            state[f"{name}_opt"] = adam.state_dict()
        return {
            "iteration": 4000,
            "en": self.encoder.state_dict(),
            "de": self.decoder.state_dict(),
            "loss": 2.5,
            "voc_dict": {
                "name": "corpus",
                "trimmed": True,
                "word2index": {word: id for id, word in enumerate(self.words) if id > EOS},
                "word2count": dict.fromkeys(self.words[3:], 1),
                "index2word": dict(enumerate(self.words)),
                "num_words": len(self.words),
            },
            "embedding": self.embedding.state_dict(),
            **state,
        }

    def save(self, folder: Path, *, as_zip: bool = True) -> Path:
        path = folder / "4000_checkpoint.tar"
        torch.save(self.data(), path, _use_new_zipfile_serialization=as_zip)
        return path

    def prompts(self, count: int, longest: int = 12) -> list[str]:
        rng = random.Random(5)
        return [" ".join(rng.choices(self.words[3:], k=rng.randint(1, longest))) for _ in range(count)]


def made_up(count: int) -> list[str]:
    """Words in an order that is not the alphabet's, with the marks among them."""
    rng = random.Random(9)
    words = dict.fromkeys("".join(rng.choices(LETTERS, k=rng.randint(2, 6))) for _ in range(2 * count))
    return [".", "?", *words][:count]


def imported(model: Plain, folder: Path, **options: Any) -> RunDirectory:
    run = RunDirectory(folder / "run")
    import_checkpoint(model.save(folder), run, **{"corpus": "cornell", **options})
    return run


def refused(data: Any, folder: Path) -> str:
    """The one line that refuses the file; no run is left behind."""
    path = folder / "4000_checkpoint.tar"
    path.write_bytes(data) if isinstance(data, bytes) else torch.save(data, path)
    with pytest.raises(ChatbotError) as caught:
        import_checkpoint(path, RunDirectory(folder / "run"), corpus="cornell")
    message = str(caught.value)
    assert message.startswith(f"cannot import {path}: ")
    assert message.isprintable(), message
    assert [file.name for file in folder.iterdir()] == [path.name]
    return message


# what is imported answers as it did


KINDS = [
    ("dot", 7, (1, 1)),
    ("dot", 8, (2, 2)),
    ("dot", 5, (3, 3)),
    ("dot", 6, (3, 1)),
    ("general", 3, (1, 2)),
    ("general", 9, (2, 2)),
    ("concat", 5, (2, 2)),
    ("concat", 7, (1, 1)),
    ("concat", 4, (2, 3)),
]


@pytest.mark.parametrize(("kind", "size", "layers"), KINDS)
def test_it_answers_with_the_tutorials_tokens_and_scores(
    kind: str, size: int, layers: tuple[int, int], tmp_path: Path
) -> None:
    model = Plain(made_up(41), size, layers, kind, seed=size)
    run = imported(model, tmp_path)
    bot = Chatbot.load(run.path)
    found = set()
    for text in model.prompts(30):
        tokens, probabilities = model.until_eos(text)
        src, src_lengths = pad_prompts([bot.vocabulary.encode(bot.words(text))])
        with torch.inference_mode():
            result = bot.decode.greedy(src, src_lengths, bot.max_length + 1)
        assert result.tokens[0].tolist() == tokens
        torch.testing.assert_close(result.scores[0].exp(), torch.tensor(probabilities), rtol=1e-4, atol=1e-6)
        assert bot.reply(text) == model.reply(text)
        found.add(tuple(tokens))
    assert len(found) > 3  # or all of this would say little
    assert bot.reply_batch(model.prompts(30)) == [model.reply(text) for text in model.prompts(30)]


def test_a_reply_ends_at_eos_or_at_the_tutorials_max_length(tmp_path: Path) -> None:
    model = Plain(made_up(30), seed=3)
    lengths = set()
    for max_length in (2, 5, 10):
        (tmp_path / str(max_length)).mkdir()
        bot = Chatbot.load(imported(model, tmp_path / str(max_length), max_length=max_length).path)
        for text in model.prompts(30):
            assert bot.reply(text) == model.reply(text, max_length)
            lengths.add((max_length, len(model.until_eos(text, max_length)[0])))
    assert {(2, 2), (5, 5), (10, 10)} < lengths


@pytest.mark.parametrize("token", [PAD, SOS])
def test_tokens_that_training_never_teaches_are_said_if_the_tutorial_says_them(token: int, tmp_path: Path) -> None:
    model = Plain(made_up(30))
    with torch.no_grad():
        model.decoder.out.bias[token] += 3
    bot = Chatbot.load(imported(model, tmp_path).path)
    said = 0
    for text in model.prompts(20):
        src, src_lengths = pad_prompts([bot.vocabulary.encode(bot.words(text))])
        tokens = model.until_eos(text)[0]
        assert bot.decode.greedy(src, src_lengths, 10).tokens[0].tolist() == tokens
        assert bot.reply(text) == model.reply(text)
        said += token in tokens
    assert said


def test_the_export_answers_with_the_same_tokens(tmp_path: Path) -> None:
    for kind, size, layers in (KINDS[1], KINDS[8]):
        folder = tmp_path / kind
        folder.mkdir()
        model = Plain(made_up(33), size, layers, kind)
        run = imported(model, folder)
        proof = export(run.load_chosen(), run.export)
        assert (proof.shortest, proof.longest) == (1, 9)
        bundle, bot = load_bundle(run.export / "chatbot.pt"), Chatbot.load(run.export)
        for text in model.prompts(20):
            tokens, _ = model.until_eos(text)
            src, src_lengths = pad_prompts([bundle.vocabulary.encode(text.split())])
            assert bundle.module.greedy_batch(src, src_lengths, 10).tokens[0].tolist() == tokens
            assert bundle.module.reply_words(text.split()) == model.reply(text).split()  # type: ignore[operator]
        assert bot.reply_batch(model.prompts(20)) == [model.reply(text) for text in model.prompts(20)]
        with zipfile.ZipFile(run.export / "chatbot.pt") as archive:
            code = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
        assert not any(re.search(r"torch\.device\(|device=\"", text) for text in code)


def test_what_a_bot_looks_at_includes_the_eos_behind_the_prompt(tmp_path: Path) -> None:
    bot = Chatbot.load(imported(Plain(made_up(30)), tmp_path).path)
    read, said, weights = bot.attend([5, 6, 7])
    assert read == [*bot.vocabulary.tokens[5:8], "<eos>"]
    assert weights.shape == (len(said), 4)
    assert weights.sum(axis=1) == pytest.approx(1)


def test_words_it_never_learnt_are_left_out(tmp_path: Path) -> None:
    model = Plain(made_up(30))
    bot = Chatbot.load(imported(model, tmp_path).path)
    text = model.prompts(1)[0]
    assert bot.reply(f"Zzzzqq {text.upper()} ") == model.reply(text)
    assert bot.reply("zzzzqq") == ""


# the run directory


def test_the_run_has_the_tutorials_ids_and_settings(tmp_path: Path) -> None:
    words = [*made_up(20), ""]  # normalising "123" leaves the empty string, and the tutorial counts it as a word
    model = Plain(words, 6, (3, 2), "general")
    run = imported(model, tmp_path, max_length=8, corpus="somewhere")
    checkpoint = run.load_chosen()
    assert checkpoint.vocabulary.tokens == ["<pad>", "<sos>", "<eos>", *words]
    assert (checkpoint.step, checkpoint.perplexity, checkpoint.training) == (4000, None, None)
    config = Config.load(run.config)
    assert config == checkpoint.config
    assert (config.model.hidden_size, config.model.encoder_layers, config.model.decoder_layers) == (6, 3, 2)
    assert (config.model.attention, config.model.bridge) == ("general", "tutorial")
    assert (config.corpus.tokenizer, config.corpus.max_length, config.corpus.corpus) == ("tutorial", 7, "somewhere")
    assert run.vocabulary.read_text().splitlines() == checkpoint.vocabulary.tokens
    assert sorted(file.name for file in run.path.iterdir()) == ["best.pt", "config.json", "vocabulary.txt"]
    assert find_run("run", tmp_path).path == run.path
    assert find_run(None, tmp_path).path == run.path
    # the embedding is stored once, and optimisers are left behind
    stored = {tensor.untyped_storage().data_ptr(): tensor.nbytes for tensor in checkpoint.model.values()}
    assert run.best.stat().st_size < sum(stored.values()) + 40_000


def test_files_of_every_age_load(tmp_path: Path) -> None:
    """torch before 1.6 wrote no zip archive, and cuDNN keeps a GRU's weights as parts of one flat tensor."""
    model = Plain(made_up(30), kind="concat")
    replies = [model.reply(text) for text in model.prompts(10)]
    data = model.data()
    for part in (data["en"], data["de"]):
        flat = torch.cat([part[name].flatten() for name in part if name.startswith("gru.")])
        start = 0
        for name in part:
            if name.startswith("gru."):
                part[name] = flat[start : start + part[name].numel()].view(part[name].shape)
                start += part[name].numel()
    for age, as_zip in enumerate((True, False)):
        path = tmp_path / f"{age}.tar"
        torch.save(data, path, _use_new_zipfile_serialization=as_zip)
        run = RunDirectory(tmp_path / f"run-{age}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            import_checkpoint(path, run, corpus="cornell")
        bot = Chatbot.load(run.path)
        assert [bot.reply(text) for text in model.prompts(10)] == replies


def test_what_only_training_needs_may_be_missing(tmp_path: Path) -> None:
    data = Plain(made_up(9)).data()
    whole = convert(data, corpus="cornell")
    for key in ("en_opt", "de_opt", "loss", "embedding"):
        del data[key]
    rest = convert(data, corpus="cornell")
    assert all(torch.equal(whole.model[name], tensor) for name, tensor in rest.model.items())


def test_from_file_to_reply_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Plain(made_up(30), 6, (2, 2), "general")
    path, runs = model.save(tmp_path), ["--checkpoints-dir", str(tmp_path / "checkpoints")]
    assert main(["import-checkpoint", str(path), "old", "--json", *runs]) == 0
    said = capsys.readouterr()
    assert "make chat RUN=old" in said.err
    assert "no prompt will hold" not in said.err
    assert json.loads(said.out) == {
        "run": str(tmp_path / "checkpoints" / "old"),
        "step": 4000,
        "words": 33,
        "hidden_size": 6,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "attention": "general",
        "max_length": 10,
    }
    for text in model.prompts(3):
        assert main(["chat", "old", "--prompt", text, *runs]) == 0
        assert capsys.readouterr().out == model.reply(text) + "\n"
    assert main(["export", "old", *runs]) == 0
    assert main(["chat", str(tmp_path / "checkpoints" / "old" / "export"), "--prompt", text]) == 0
    assert capsys.readouterr().out == model.reply(text) + "\n"
    before = (tmp_path / "checkpoints" / "old" / "best.pt").read_bytes()
    assert main(["import-checkpoint", str(path), "old", *runs]) == 2
    assert "holds a trained run already" in capsys.readouterr().err
    assert (tmp_path / "checkpoints" / "old" / "best.pt").read_bytes() == before
    assert main(["train", "--resume", "--run", "old", *runs]) == 2
    assert "only weights" in capsys.readouterr().err
    for length in ("1", "1002"):
        assert main(["import-checkpoint", str(path), "new", "--max-length", length, *runs]) == 2
        assert "--max-length" in capsys.readouterr().err


def test_words_of_another_normaliser_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Plain([*made_up(5), "Gr\u00fcezi", "don't"]).save(tmp_path)
    assert main(["import-checkpoint", str(path), "run", "--checkpoints-dir", str(tmp_path)]) == 0
    assert "never makes 2 of the words, such as 'Gr\u00fcezi'" in capsys.readouterr().err


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    model = Plain(made_up(5))
    (tmp_path / "run").mkdir()
    imported(model, tmp_path)  # an empty folder is taken
    other = RunDirectory(tmp_path / "other")
    other.path.mkdir()
    (other.path / "diary.txt").write_text("mine")
    with pytest.raises(ChatbotError, match="is no run"):
        import_checkpoint(model.save(tmp_path), other, corpus="cornell")
    assert [file.name for file in other.path.iterdir()] == ["diary.txt"]
    with pytest.raises(ChatbotError, match="is no run"):
        import_checkpoint(model.save(tmp_path), RunDirectory(other.path / "diary.txt"), corpus="cornell")


def test_a_run_that_was_left_half_written_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "BOX", tmp_path / "nowhere")
    run = imported(Plain(made_up(5)), tmp_path)
    run.path.rename(tmp_path / ".run.x.part")
    with pytest.raises(ChatbotError, match="nothing is trained"):
        find_run(None, tmp_path)


# evaluation


def pairs_file(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    path = folder / "pairs.tsv"
    path.write_text("prompt\treply\n" + "".join(f"{prompt}\t{reply}\n" for prompt, reply in pairs))
    return path


def test_it_is_scored_as_the_tutorials_model_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Plain(made_up(30), 6, (2, 2), "concat")
    imported(model, tmp_path)
    texts = model.prompts(120, longest=9)
    known = list(zip(texts[::2], texts[1::2], strict=True))
    strange = [(f"{known[0][0]} zzzzqq", known[0][1]), ("zzzzqq", "zzzzqq"), (known[1][0], "zzzzqq")]
    path = pairs_file(tmp_path, [*strange, *known, (" ".join(["."] * 10), "?")])
    places = ["--checkpoints-dir", str(tmp_path), "--data-dir", str(tmp_path / "data"), "--device", "cpu"]
    out = tmp_path / "replies.tsv"
    assert (
        main(["evaluate", "run", "--corpus", str(path), "--decodings", "greedy", "--json", "--out", str(out), *places])
        == 0
    )
    said = capsys.readouterr()
    rows = [line.split("\t") for line in out.read_text().splitlines()[1:]]
    assert rows == [[prompt, reply, model.reply(prompt)] for prompt, reply in known]
    figures = json.loads(said.out)
    losses = [model.loss(*pair) for pair in known]
    tokens = sum(count for _, count in losses)
    assert (figures["split"], figures["pairs"], figures["tokens"]) == ("all", len(known), tokens)
    assert figures["loss"] == pytest.approx(sum(loss for loss, _ in losses) / tokens, rel=1e-5)
    assert "that the given vocabulary has" in said.err
    assert main(["evaluate", "run", "--corpus", str(path), "--split", "test", *places]) == 2
    assert "--split" in capsys.readouterr().err


def test_any_run_is_scored_on_any_corpus(
    trained: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pairs_file(tmp_path, [("How are you?", "I'm fine."), ("Hello zzzzqq!", "Hello!"), ("Hello!", "Zzzzqq.")])
    places = ["--data-dir", str(tmp_path / "data"), "--device", "cpu"]
    assert main(["evaluate", str(trained.path), "--corpus", str(path), "--json", *places]) == 0
    figures = json.loads(capsys.readouterr().out)
    # an unknown word is <unk> in a prompt and costs the pair in a reply, as in training
    assert (figures["split"], figures["pairs"], figures["tokens"]) == ("all", 2, 5 + 3)
    checkpoint = trained.load_chosen()
    _, dataset = held_out_pairs(checkpoint, tmp_path / "data", corpus=str(path))
    encode = checkpoint.vocabulary.encode
    assert dataset[1][0].tolist() == encode(["hello", "zzzzqq", "!"])
    assert dataset[0][1].tolist() == encode(["i", "'m", "fine", "."])


def test_its_own_corpus_is_numbered_by_its_own_vocabulary(tmp_path: Path) -> None:
    words = made_up(12)
    path = pairs_file(tmp_path, [(words[7], words[3]), (words[3], "zzzzqq"), (f"{words[2]} {words[2]}", words[9])])
    run = imported(Plain(words), tmp_path, corpus=str(path))
    checkpoint = run.load_chosen()
    moved = run.path.rename(tmp_path / "moved")
    _, dataset = held_out_pairs(checkpoint, tmp_path / "data")
    assert split_of(checkpoint, None, None) == "train"  # the tutorial holds nothing out
    assert [(list(prompt), list(reply)) for prompt, reply in dataset] == [([10], [6]), ([5, 5], [12])]
    assert RunDirectory(moved).load_chosen().vocabulary.tokens == checkpoint.vocabulary.tokens


def test_a_corpus_that_has_changed_is_refused_unless_it_is_named(trained: RunDirectory, tmp_path: Path) -> None:
    path = pairs_file(tmp_path, [("Hello!", "Hello!")] * 3)
    checkpoint = trained.load_chosen()
    corpus = dataclasses.replace(checkpoint.config.corpus, corpus=str(path), split=(1.0, 0.0, 0.0))
    changed = dataclasses.replace(checkpoint, config=dataclasses.replace(checkpoint.config, corpus=corpus))
    with pytest.raises(ChatbotError, match="has changed since"):
        held_out_pairs(changed, tmp_path / "data")
    assert len(held_out_pairs(changed, tmp_path / "data", corpus=str(path))[1]) == 3


def test_on_the_real_corpus_its_pairs_are_the_tutorials(corpora: Path, tmp_path: Path) -> None:
    """The words that the tutorial's preparation finds there, given as a vocabulary, give that preparation's pairs."""
    folder = corpora / "cornell movie-dialogs corpus"
    learnt = prepare(dataclasses.replace(PRESETS["tutorial"].corpus, corpus=str(folder)), tmp_path / "data")
    words = load_vocabulary(learnt.folder).tokens[3:]
    run = imported(Plain(words, 2, (1, 1)), tmp_path, corpus=str(folder))
    prepared, _ = held_out_pairs(run.load_chosen(), tmp_path / "data")
    assert prepared.folder != learnt.folder
    for name in ("train.ids", "train.offsets", "vocabulary.txt"):
        assert (prepared.folder / name).read_bytes() == (learnt.folder / name).read_bytes()


# files that are something else


def without(*path: str) -> Callable[[dict], None]:
    def change(data: dict) -> None:
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return change


def put(*path: Any) -> Callable[[dict], None]:
    def change(data: dict) -> None:
        for key in path[:-2]:
            data = data[key]
        data[path[-2]] = path[-1]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("en"), "lacks en"),
        (without("de"), "lacks de"),
        (without("voc_dict"), "lacks voc_dict"),
        (without("iteration"), "lacks iteration"),
        (put("iteration", "4000"), "iteration"),
        (put("iteration", -1), "iteration"),
        (put("iteration", 10**5000), "iteration"),
        (put("en", [1]), "en is a list"),
        (put("de", None), "de is None"),
        (put("de", "out.bias", 3.0), "no weight"),
        (put("de", 7, torch.zeros(3)), "no weight"),
        (without("en", "embedding.weight"), "embedding.weight"),
        (without("de", "embedding.weight"), "embedding.weight"),
        (without("en", "gru.bias_ih_l1"), "gru.bias_ih_l1"),
        (without("en", "gru.weight_hh_l0_reverse"), "bidirectional"),
        (without("de", "attn.attn.bias"), "attn.attn.bias"),
        (without("de", "attn.v"), "attn.attn.weight"),
        (without("de", "concat.weight"), "concat.weight"),
        (put("de", "out.weight", torch.zeros(3, 4)), "out.weight"),
        (put("de", "out\x1b[2J\n", torch.zeros(3)), "which the tutorial's has not"),
        (put("de", "out.weight", torch.zeros(33, 7).double()), "torch.float64"),
        (put("de", "out.weight", torch.zeros(33, 7, dtype=torch.int64)), "torch.int64"),
        (put("de", "out.weight", torch.zeros(33, 7).to_sparse()), "form"),
        (put("de", "out.weight", torch.zeros(33, 7, device="meta")), "form"),
        (put("en", "embedding.weight", torch.zeros(1, 1).expand(1 << 40, 1 << 20)), "form"),
        (put("en", "embedding.weight", torch.zeros(33)), "two dimensions"),
        (put("en", "embedding.weight", torch.zeros(33, 0)), "hidden_size"),
        (put("en", "embedding.weight", torch.zeros(33, 9000)), "hidden_size"),
        (put("en", "embedding.weight", torch.zeros(34, 7)), "embedding.weight"),
        (put("en", "embedding.weight", torch.zeros(33, 7)), "different embeddings"),
        (put("de", "attn.v", torch.full((7,), math.nan)), "not finite"),
        (put("voc_dict", 3), "voc_dict is a int"),
        (put("voc_dict", {}), "lacks index2word"),
        (put("voc_dict", "num_words", 34), "num_words"),
        (put("voc_dict", "num_words", 10**5000), "num_words"),
        (put("voc_dict", "num_words", "33"), "num_words"),
        (without("voc_dict", "index2word", 12), "num_words"),
        (put("voc_dict", "index2word", 12, 12), "no text"),
        (put("voc_dict", "index2word", 12, "\ud800"), "same"),
        (put("voc_dict", "index2word", 0, "SOS"), "PAD, SOS, EOS"),
        (put("voc_dict", "index2word", "12", "x"), "no numbers"),
        (put("voc_dict", "index2word", 33, "x"), "num_words"),
        (put("voc_dict", "word2index", "hello", 4), "same"),
        (put("voc_dict", "word2index", "hello", torch.zeros(2)), "no numbers"),
        (lambda data: rename(data, "a\nb"), "line break"),
        (lambda data: rename(data, "\ud800"), "no text"),
        (lambda data: rename(data, "<unk>"), "<unk>"),
        (lambda data: rename(data, "<pad>"), "twice"),
    ],
)
def test_a_part_that_is_missing_or_makes_no_sense_is_named(
    change: Callable[[dict], None], says: str, tmp_path: Path
) -> None:
    data = {
        key: {**value, **{k: dict(v) for k, v in value.items() if isinstance(v, dict)}}
        if isinstance(value, dict)
        else value
        for key, value in Plain(made_up(30), kind="concat").data().items()
    }
    change(data)
    with pytest.raises(ChatbotError) as caught:
        convert(data, corpus="cornell")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def rename(data: dict, word: str) -> None:
    words, ids = data["voc_dict"]["index2word"], data["voc_dict"]["word2index"]
    del ids[words[12]]
    words[12], ids[word] = word, 12


def test_files_that_are_something_else_are_named(trained: RunDirectory, tmp_path: Path) -> None:
    import tarfile

    with pytest.raises(ChatbotError, match="No such file"):
        import_checkpoint(tmp_path / "nothing.tar", RunDirectory(tmp_path / "run"), corpus="cornell")
    with pytest.raises(ChatbotError, match="directory"):
        import_checkpoint(tmp_path, RunDirectory(tmp_path / "run"), corpus="cornell")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    export(trained.load_chosen(), tmp_path / "elsewhere")
    bundle = (tmp_path / "elsewhere" / "chatbot.pt").read_bytes()
    shutil.rmtree(tmp_path / "elsewhere")
    assert "by its name only" in refused(archive.getvalue(), tmp_path)
    assert "TorchScript" in refused(bundle, tmp_path)
    assert "lacks iteration, en, de, voc_dict" in refused(trained.best.read_bytes(), tmp_path)
    assert "damaged" in refused(b"", tmp_path)
    assert "damaged" in refused(b"just some text\n", tmp_path)
    assert "list" in refused([1, 2], tmp_path)


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("it-ran"),))


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    as_zip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save(Plain(made_up(5)).data() | {"loss": Bomb()}, buffer, _use_new_zipfile_serialization=as_zip)
    said = refused(buffer.getvalue(), tmp_path)
    assert "more than plain data" in said
    assert "weights_only" not in said


def test_a_compressed_archive_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    assert "compressed" in refused(buffer.getvalue(), tmp_path)


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """A checkpoint in both of torch's formats."""
    data, files = Plain(made_up(9), 3, (1, 1)).data(), []
    for as_zip in (True, False):
        buffer = io.BytesIO()
        torch.save(data, buffer, _use_new_zipfile_serialization=as_zip)
        files.append(buffer.getvalue())
    return files


def test_a_file_cut_anywhere_is_refused(files: list[bytes], tmp_path: Path) -> None:
    for whole in files:
        for sixteenth in range(16):
            refused(whole[: len(whole) * sixteenth // 16], tmp_path)


@settings(deadline=None, max_examples=100)
@given(
    age=st.integers(0, 1), flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1)
)
def test_flipped_bits_are_refused_or_are_other_weights(
    age: int, flips: list[tuple[float, int]], files: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A zip archive has checksums; what torch wrote before 1.6 has none, so there a weight may be another number."""
    spoiled = bytearray(files[age])
    for place, bit in flips:
        spoiled[int(place * len(spoiled))] ^= 1 << bit
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "spoiled.tar").write_bytes(spoiled)
    run = RunDirectory(folder / "run")
    try:
        import_checkpoint(folder / "spoiled.tar", run, corpus="cornell")
    except ChatbotError as error:
        said = str(error)
    else:
        said = "imported"
        assert Checkpoint.load(run.best).build_model()
    assert said.isprintable()
    assert run.path.exists() == (said == "imported")


def test_help_and_a_wrong_word_come_in_the_ordinary_way(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["import-checkpoint", "--help"])
    assert left.value.code == 0
    assert "4000_checkpoint.tar" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["import-checkpoint", "only-a-file"])
    assert left.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# training with what the import knows


def test_a_training_takes_the_words_of_a_vocabulary_that_is_given(tmp_path: Path) -> None:
    path = pairs_file(tmp_path, [("b a", "c"), ("c", "a b"), ("d", "a")])
    vocabulary = Vocabulary.from_words(["c", "b", "a"], unknown=False, separator=False)
    vocabulary.save(tmp_path / "vocabulary.txt")
    corpus = dataclasses.replace(
        Config().corpus, corpus=str(path), min_count=1, split=(1.0, 0.0, 0.0), tokenizer="tutorial"
    )
    named = prepare(dataclasses.replace(corpus, vocabulary=str(tmp_path / "vocabulary.txt")), tmp_path / "data")
    handed = prepare(corpus, tmp_path / "data", vocabulary=vocabulary)
    assert handed.folder == named.folder != prepare(corpus, tmp_path / "data").folder
    assert [(list(p), list(r)) for p, r in PairDataset(named.folder, "train")] == [([4, 5], [3]), ([3], [5, 4])]
    with pytest.raises(ChatbotError, match="no <sep>"):
        prepare(dataclasses.replace(corpus, context=1), tmp_path / "data", vocabulary=vocabulary)
    with pytest.raises(ChatbotError, match=r"nothing\.txt"):
        prepare(dataclasses.replace(corpus, vocabulary="nothing.txt"), tmp_path / "data")
