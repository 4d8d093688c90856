"""Training on from a bot: what is kept of it, what grows, what is rehearsed, and what a person meets."""

import dataclasses
import json
import math
import shutil
import signal
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import assert_the_same, at_step

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.presets import PRESETS
from chatbot.config.settings import Config, ModelConfig
from chatbot.corpus.mixture import at_hand
from chatbot.corpus.preparation import prepare
from chatbot.corpus.prepared import PairDataset, PartOfSplit, load_vocabulary
from chatbot.corpus.tokenizer import TOKENIZERS
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment.manifest import read_manifest
from chatbot.evaluation.likelihood import evaluate
from chatbot.network.model import Seq2Seq
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.training.data import TrainingData
from chatbot.training.distributed import Group
from chatbot.training.epoch import Epoch
from chatbot.training.finetuning import Start, begin
from chatbot.training.loop import Trainer, train

A, B, C = [f"a{x}" for x in "bcdfghj"], [f"e{x}" for x in "bcdfg"], ["groka", "grokb", "grokc"]
FILMS = (
    "".join(f"where is {A[i % 7]} ?\tthe {B[i % 5]} is here .\n" for i in range(60))
    + "here is zyx .\tthe ab is here .\nonce .\tnever again .\n"
)
# `groka`, `grokb`, `grokc` and `blip` are new to who learnt from the films; `hapax` comes once
CHATS = "".join(f"is {C[i % 3]} {A[i % 7]} ?\tthe blip is {B[i % 5]} .\n" for i in range(80)) + "is hapax ?\tthe ab .\n"


@dataclasses.dataclass
class Place:
    """A folder with the corpora films.tsv and chats.tsv, data/, and checkpoints/ with the run `base` of the films."""

    folder: Path

    def __post_init__(self) -> None:
        self.films, self.chats = self.folder / "films.tsv", self.folder / "chats.tsv"
        self.data, self.runs = self.folder / "data", self.folder / "checkpoints"
        self.base = RunDirectory(self.runs / "base")

    def begin(self, name: str = "base", corpus: Any = None, **changes: Any) -> Start:
        """As `chatbot train --from NAME --corpus CORPUS` begins, with changes of settings."""
        data: dict[str, dict[str, Any]] = {"corpus": {"corpus": str(corpus or self.chats)}, "model": {}, "training": {}}
        fields = {field.name for field in dataclasses.fields(PRESETS["default"].corpus)}
        for setting, value in ({"precision": "fp32"} | changes).items():
            data["corpus" if setting in fields else "training"][setting] = value
        return begin(name, self.runs, self.data, lambda over: Config.from_dict(data, over=over))

    def flags(self, *more: object, run: str = "run") -> list[str]:
        """`chatbot train ...`"""
        where = ["--data-dir", self.data, "--checkpoints-dir", self.runs, "--run", run]
        return [str(word) for word in ("train", *where, "--device", "cpu", *more)]

    def train(self, *more: object, run: str = "run") -> RunDirectory:
        assert main(self.flags("--corpus", self.chats, "--from", "base", *more, run=run)) == 0
        return RunDirectory(self.runs / run)


def random_bot(run: RunDirectory, config: Config, vocabulary: Vocabulary, **changes: Any) -> Checkpoint:
    """A run that holds a network of random weights, as an imported one does."""
    torch.manual_seed(5)
    weights = {name: tensor.detach() for name, tensor in Seq2Seq(config.model, len(vocabulary)).state_dict().items()}
    checkpoint = Checkpoint(config, vocabulary, weights, 7, None, [[vocabulary.num_special]])
    checkpoint = dataclasses.replace(checkpoint, **changes)
    run.begin(config, vocabulary)
    checkpoint.save(run.best)
    return checkpoint


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.films.write_text(FILMS)
    made.chats.write_text(CHATS)
    model = ModelConfig(hidden_size=8, encoder_layers=1, decoder_layers=1, copy_mechanism=True, scale_embeddings=True)
    english = dataclasses.replace(PRESETS["default"].corpus, tokenizer="english")
    corpus = dataclasses.replace(english, corpus=str(made.films), min_count=2, split=(1.0, 0.0, 0.0))
    config = dataclasses.replace(PRESETS["default"], corpus=corpus, model=model)
    random_bot(made.base, config, load_vocabulary(prepare(corpus, made.data).folder))
    return made


# the words


def test_the_vocabulary_keeps_its_ids_and_grows_by_words_seen_often_enough(place: Place) -> None:
    base, grown = Checkpoint.load(place.base.best).vocabulary, place.begin().checkpoint.vocabulary
    assert grown.tokens[: len(base)] == base.tokens
    assert sorted(grown.tokens[len(base) :]) == ["blip", "groka", "grokb", "grokc"]
    assert "hapax" not in grown.ids


@pytest.mark.parametrize("min_count", [1, 2, 20, 40])
def test_a_new_word_is_one_that_training_pairs_of_the_new_corpus_have_so_often(place: Place, min_count: int) -> None:
    start, base = place.begin(min_count=min_count, split=[1.0, 0.0, 0.0]), Checkpoint.load(place.base.best).vocabulary
    lines = list(CHATS.splitlines())
    counts = Counter(word for line in lines for word in TOKENIZERS["english"].tokenize(line))
    wanted = {word for word, count in counts.items() if count >= min_count and word not in base.ids}
    assert set(start.checkpoint.vocabulary.tokens[len(base) :]) == wanted
    assert ("hapax" in wanted, "blip" in wanted) == (min_count == 1, True)


def test_rehearsed_text_gives_no_words(place: Place) -> None:
    start = place.begin(min_count=1, rehearse=0.4, old_corpus=str(place.films))
    assert "zyx" in TOKENIZERS["english"].tokenize(FILMS)
    assert not {"zyx", "once", "never"} & set(start.checkpoint.vocabulary.tokens)
    assert load_vocabulary(start.folder).tokens == start.checkpoint.vocabulary.tokens


def test_an_old_corpus_gives_no_words_to_a_vocabulary_that_is_learnt_either(place: Place) -> None:
    english = dataclasses.replace(PRESETS["default"].corpus, tokenizer="english")
    corpus = dataclasses.replace(english, corpus=str(place.chats), min_count=1, split=(1.0, 0.0, 0.0))
    alone, both = (prepare(dataclasses.replace(corpus, old_corpus=old), place.data) for old in ("", str(place.films)))
    assert load_vocabulary(both.folder).tokens == load_vocabulary(alone.folder).tokens
    assert both.figures["words_total"] == alone.figures["words_total"]
    assert (alone.mixture.name, alone.mixture.spec) == (both.mixture.name, both.mixture.spec)


# the weights


@pytest.mark.parametrize("kind", ["tied", "not tied", "8 bits"])
def test_what_was_there_is_there_bit_for_bit_before_the_first_step(place: Place, kind: str, tmp_path: Path) -> None:
    base = Checkpoint.load(place.base.best)
    if kind == "not tied":
        model = dataclasses.replace(base.config.model, tie_embeddings=False)
        random_bot(place.base, dataclasses.replace(base.config, model=model), base.vocabulary)
    if kind == "8 bits":
        base.quantized().save(place.base.best)
    base, start, run = Checkpoint.load(place.base.best), place.begin(), RunDirectory(tmp_path / "new")
    Trainer(start.config, start.folder, run, Group(), start=start.checkpoint).close()
    saved = Checkpoint.load(run.last)
    old = len(base.vocabulary)
    assert (saved.step, saved.is_quantized, saved.model.keys()) == (0, False, base.model.keys())
    grown = {"encoder.embedding.weight", "decoder.embedding.weight", "decoder.out.weight", "decoder.out.bias"}
    for name, tensor in base.model.items():
        now = saved.model[name]
        assert now.dtype == torch.float32
        assert torch.equal(now[:old] if name in grown else now, tensor), name
        assert len(now) == (len(saved.vocabulary) if name in grown else len(tensor))
    assert torch.equal(saved.model["encoder.embedding.weight"], saved.model["decoder.embedding.weight"])
    tied = torch.equal(saved.model["encoder.embedding.weight"], saved.model["decoder.out.weight"])
    assert tied == (kind != "not tied")
    # and the words of before are as likely as they were, among themselves
    pairs = PairDataset(start.folder, "valid")
    known = [(torch.from_numpy(p.astype(np.int64)), torch.from_numpy(r.astype(np.int64))) for p, r in pairs]
    prompt, reply = next(pair for pair in known if max(map(int, (*pair[0], *pair[1]))) < old or pair is known[-1])
    prompt, reply = prompt.clamp(max=old - 1), reply.clamp(max=old - 1)
    arguments = (prompt[None], torch.tensor([len(prompt)]), reply[None], torch.tensor([len(reply)]))
    torch.testing.assert_close(saved.build_model()(*arguments)[:, :old], base.build_model()(*arguments))


@pytest.mark.parametrize(("tied", "share"), [(True, 0.0), (False, 0.0), (True, 0.5)])
def test_new_rows_are_half_unk_and_half_what_stands_near_and_biases_how_often_they_are_said(
    place: Place, tied: bool, share: float
) -> None:
    place.chats.write_text(CHATS.replace("blip", "zyx"))  # which the films have once, among words of theirs
    base = Checkpoint.load(place.base.best)
    model = dataclasses.replace(base.config.model, tie_embeddings=tied)
    base = random_bot(place.base, dataclasses.replace(base.config, model=model), base.vocabulary)
    start = place.begin(rehearse=share)
    old, vocabulary = len(base.vocabulary), start.checkpoint.vocabulary
    assert "zyx" in vocabulary.tokens[old:]
    data = TrainingData(start.config, start.folder, Group())
    shown = Counter(Epoch(data.pairs).pairs(np.arange(len(Epoch(data.pairs))), 0).tolist())
    near: dict[int, list[int]] = {id: [] for id in range(old, len(vocabulary))}
    said = Counter(dict.fromkeys(range(len(vocabulary)), 0.5))
    for index, (prompt, reply) in enumerate(data.pairs):
        for id in [*reply.tolist(), vocabulary.ids["<eos>"]]:
            said[id] += shown[index]
        if index not in data.pairs.parts[0].indices:
            continue  # how often it is said counts all that an epoch shows; what it is like, the new corpus
        for text in (prompt.tolist(), reply.tolist()):
            for place_, id in enumerate(text):
                if id >= old:
                    around = [text[i] for i in range(place_ - 2, place_ + 3) if 0 <= i < len(text)]
                    near[id] += [other for other in around if base.vocabulary.num_special <= other < old]
    for name in ("encoder.embedding.weight", "decoder.embedding.weight", "decoder.out.weight"):
        matrix = base.model[name]
        for id, others in near.items():
            expected = 0.5 * matrix[base.vocabulary.unk_id] + 0.5 * matrix[others].mean(dim=0)
            torch.testing.assert_close(start.checkpoint.model[name][id], expected)
    for id in near:
        bias = start.checkpoint.model["decoder.out.bias"][id].item()
        assert bias == pytest.approx(math.log(said[id] / said.total()), rel=1e-5)


def test_a_bot_without_unk_of_the_tutorials_kind_learns_on(place: Place) -> None:
    preset = PRESETS["tutorial"]
    corpus = dataclasses.replace(preset.corpus, corpus=str(place.films), vocabulary="gone/vocabulary.txt")
    model = dataclasses.replace(preset.model, hidden_size=8)
    words = sorted(set(TOKENIZERS["tutorial"].tokenize(FILMS)))
    vocabulary = Vocabulary.from_words(words, unknown=False, separator=False)
    random_bot(
        RunDirectory(place.runs / "imported"), dataclasses.replace(preset, corpus=corpus, model=model), vocabulary
    )
    assert main(place.flags("--corpus", place.chats, "--from", "imported", "--epochs", 1)) == 0
    run = RunDirectory(place.runs / "run")
    saved = Checkpoint.load(run.last)
    assert saved.vocabulary.unk_id is None
    assert saved.vocabulary.tokens[: len(vocabulary)] == vocabulary.tokens
    assert "groka" in saved.vocabulary.ids
    assert saved.config.corpus.tokenizer == "tutorial"
    assert saved.config.model == model
    assert Chatbot.load(run.path).reply("is groka here ?") is not None


# what is rehearsed


@pytest.mark.parametrize("share", [0.1, 0.3, 0.75])
def test_so_large_a_share_of_what_an_epoch_shows_is_old(place: Place, share: float) -> None:
    start = place.begin(rehearse=share)
    assert start.config.corpus.old_corpus == str(place.films)
    assert f"{share:.0%} of an epoch is {place.films}" in start.notice
    data = TrainingData(start.config, start.folder, Group())
    (new, old) = data.pairs.parts
    assert (new.name, new.is_old, old.name, old.is_old) == ("chats", False, "films", True)
    places = len(Epoch(data.pairs))
    shown = Counter(Epoch(data.pairs).pairs(np.arange(places), 3).tolist())
    assert all(shown[index] == 1 for index in new.indices)
    assert sum(shown[index] for index in old.indices) == pytest.approx(share * places, abs=0.5)


def test_the_share_is_of_all_old_corpora_together_and_they_keep_their_weights(place: Place) -> None:
    more = place.folder / "more.tsv"
    more.write_text(FILMS.replace("here", "there"))
    old_corpus = f"{place.films}*3+{more}"
    start = place.begin(rehearse=0.5, old_corpus=old_corpus)
    data = TrainingData(start.config, start.folder, Group())
    new, films, other = data.pairs.parts
    assert films.weight == pytest.approx(3 * other.weight)
    shown = films.weight * len(films.indices) + other.weight * len(other.indices)
    assert shown == pytest.approx(len(new.indices))


def test_a_corpus_of_which_an_epoch_shows_a_part_is_gone_through_evenly_and_from_everywhere() -> None:
    @dataclasses.dataclass
    class Pairs:
        parts: list[Any]

    part = PartOfSplit("old", 0.01, range(500, 10_500))
    epoch = Epoch(Pairs([part]))  # type: ignore[arg-type]
    assert len(epoch) == 100
    shown = [epoch.pairs(np.arange(100), number) for number in range(100)]
    assert sorted(np.concatenate(shown).tolist()) == list(part.indices)
    for some in shown[:5]:  # in each tenth of the corpus about a tenth of them
        counts = np.bincount((some - 500) // 1000, minlength=10)
        assert counts.min() >= 8
        assert counts.max() <= 12


def test_nothing_old_is_held_out(place: Place) -> None:
    start = place.begin(rehearse=0.5)
    for split in ("valid", "test"):
        new, old = PairDataset(start.folder, split).parts
        assert len(new.indices) > 0
        assert len(old.indices) == 0
    # nor is trained on what of the old corpus was held out before
    films = dataclasses.replace(Checkpoint.load(place.base.best).config.corpus, split=start.config.corpus.split)
    before = prepare(films, place.data, vocabulary=start.checkpoint.vocabulary)
    assert len(PairDataset(start.folder, "train").parts[1].indices) == len(PairDataset(before.folder, "train"))


def test_where_the_old_corpora_are_not_at_hand_the_sample_is_rehearsed_and_that_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr(urllib.request, "urlopen", refused)
    monkeypatch.setattr("subprocess.run", refused)
    place.films.unlink()
    base = Checkpoint.load(place.base.best)
    corpus = dataclasses.replace(base.config.corpus, corpus=f"cornell+chitchat+{place.films}*2")
    random_bot(place.base, dataclasses.replace(base.config, corpus=corpus), base.vocabulary)
    start = place.begin()
    assert start.config.corpus.old_corpus == "sample"
    assert start.notice.endswith("30% of an epoch is sample, which it rehearses")


def test_only_what_is_on_disk_and_not_the_new_corpus_is_at_hand(place: Place) -> None:
    films, chats = str(place.films), str(place.chats)
    assert at_hand(f"cornell+{films}*3+sample*5+gone.tsv", place.data) == f"{films}*3+sample*5"
    assert at_hand(f"{films}+{chats}*2", place.data, besides=chats) == films
    assert at_hand("auto", place.data) == "sample*3"
    assert at_hand("sample", place.data, besides="auto") == ""
    (place.data / "chitchat").mkdir(parents=True)
    (place.data / "chitchat" / "dataset.json").write_text("{}")
    assert at_hand("auto", place.data, besides="sample") == "chitchat"


def test_with_nothing_to_rehearse_nothing_is(place: Place) -> None:
    for start in (place.begin(rehearse=0.0), place.begin(corpus=f"{place.films}+sample")):
        assert (start.config.training.rehearse, start.config.corpus.old_corpus) == (0.0, "")
        assert start.notice.endswith("nothing old is rehearsed")
        assert not any(part.is_old for part in PairDataset(start.folder, "train").parts)


def test_the_prompts_that_are_shown_and_kept_are_the_new_corpus_s(place: Place) -> None:
    for split in ([0.8, 0.1, 0.1], [1.0, 0.0, 0.0]):
        start = place.begin(rehearse=0.9, split=split)
        data = TrainingData(start.config, start.folder, Group())
        assert {data.vocabulary.tokens[prompt[0]] for prompt in data.prompts} == {"is"}  # films ask where


# the training


def test_it_is_the_new_corpus_that_is_watched(place: Place) -> None:
    run = place.train("--epochs", 2, "--validate-every", 5, "--rehearse", 0.6)
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert {row["part"] for row in rows} <= {"train", "valid"}  # and none of a corpus of its own
    held_out = {row["step"]: row["perplexity"] for row in rows if row["part"] == "valid"}
    best = Checkpoint.load(run.best)
    # the new corpus alone, prepared anew
    config = dataclasses.replace(best.config.corpus, old_corpus="")
    alone = PairDataset(prepare(config, place.data, vocabulary=best.vocabulary).folder, "valid")
    figures = evaluate(best.build_model(), alone, "valid", torch.device("cpu"))
    assert figures["perplexity"] == pytest.approx(min(held_out.values()), rel=1e-5)
    # step 0 is the bot as it was, in words that have grown
    before = place.begin(rehearse=0.6).checkpoint.build_model()
    assert evaluate(before, alone, "valid", torch.device("cpu"))["perplexity"] == pytest.approx(held_out[0], rel=1e-5)
    assert held_out[max(held_out)] < held_out[0]


def test_a_training_that_makes_the_bot_worse_ends_early_and_keeps_it_as_it_was(place: Place) -> None:
    # it learns the films again and again, and hardly a chat
    flags = [
        "--rehearse",
        0.95,
        "--validate-every",
        1,
        "--patience",
        3,
        "--learning-rate",
        0.5,
        "--weight-averaging",
        0,
    ]
    run = place.train(*flags, "--warmup-steps", 0, "--clip-norm", 1e9, "--seed", 3)
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    held_out = [row["perplexity"] for row in rows if row["part"] == "valid"]
    best = held_out.index(min(held_out))
    assert len(held_out) == best + 4
    assert Checkpoint.load(run.best).step == best


def test_steps_follow_from_the_corpus_unless_they_are_given(place: Place) -> None:
    start = place.begin(batch_size=2)
    epoch = len(TrainingData(start.config, start.folder, Group()).reader.sampler)
    sizes = start.config.training
    assert (sizes.steps, sizes.validate_every, sizes.warmup_steps) == (4 * epoch, epoch // 2, 4 * epoch // 10)
    assert place.begin(batch_size=1000).config.training.steps == 50
    given = place.begin(steps=3, validate_every=2, warmup_steps=1).config.training
    assert (given.steps, given.validate_every, given.warmup_steps) == (3, 2, 1)


def test_prompts_are_damaged_as_they_were_for_the_base_unless_it_is_said(place: Place) -> None:
    own = place.base.load_chosen()
    training = dataclasses.replace(own.config.training, word_dropout=0.07, mark_dropout=0.4, learning_rate=0.5)
    random_bot(RunDirectory(place.runs / "robust"), dataclasses.replace(own.config, training=training), own.vocabulary)
    found = place.begin("robust").config.training
    assert (found.word_dropout, found.mark_dropout, found.learning_rate) == (0.07, 0.4, 1e-3)
    assert place.begin("robust", mark_dropout=0.0).config.training.mark_dropout == 0.0


@pytest.mark.parametrize("stop", [0, 3, 7])
def test_it_resumes_exactly_without_the_bot_that_it_began_from(place: Place, stop: int) -> None:
    flags = ["--steps", 12, "--validate-every", 3, "--weight-averaging", 0.9]
    whole = place.train(*flags, run="whole")
    shutil.copytree(place.runs / "base", place.folder / "aside")
    with at_step(stop, lambda: signal.raise_signal(signal.SIGTERM)):
        assert main(place.flags("--corpus", place.chats, "--from", "base", *flags, run="half")) == 130
    shutil.rmtree(place.base.path)
    assert main(place.flags("--resume", run="half")) == 0
    half = RunDirectory(place.runs / "half")
    assert_the_same(whole, half)
    assert Checkpoint.load(half.last).parent == Checkpoint.load(whole.last).parent


def test_a_run_that_was_killed_before_its_first_step_needs_the_bot_no_more(place: Place) -> None:
    whole = place.train("--steps", 4, "--precision", "fp32", run="whole")
    start = place.begin(steps=4)  # in fp32 likewise
    killed = RunDirectory(place.runs / "killed")
    Trainer(start.config, start.folder, killed, Group(), start=start.checkpoint).close()
    shutil.rmtree(place.base.path)
    assert main(place.flags("--resume", run="killed")) == 0
    for name, tensor in Checkpoint.load(whole.last).model.items():
        assert torch.equal(tensor, Checkpoint.load(killed.last).model[name])


def test_config_json_alone_repeats_the_run_where_the_bot_is(place: Place) -> None:
    run = place.train("--steps", 4)
    assert main(place.flags("--config", run.config, run="again")) == 0
    again = RunDirectory(place.runs / "again")
    assert again.config.read_bytes() == run.config.read_bytes()
    assert_the_same(run, again)


def test_its_parent_is_recorded_and_goes_along(place: Place, tmp_path: Path) -> None:
    base = Checkpoint.load(place.base.best)
    run = place.train("--steps", 2)
    parent = {"run": "base", "checkpoint": base.digest(), "step": 7}
    assert Checkpoint.load(run.last).parent == Checkpoint.load(run.best).parent == parent
    assert Config.load(run.config).training.base == "base"
    assert main(["export", "run", "--checkpoints-dir", str(place.runs)]) == 0
    assert read_manifest(run.export)["parent"] == parent
    assert main(["pack", "run", str(tmp_path / "packed"), "--checkpoints-dir", str(place.runs)]) == 0
    assert Checkpoint.load(RunDirectory(tmp_path / "packed").best).parent == parent
    assert read_manifest(tmp_path / "packed" / "export")["parent"] == parent


def test_a_file_is_called_by_its_name_and_its_runs(place: Place) -> None:
    assert place.begin(str(place.base.best)).checkpoint.parent == place.begin().checkpoint.parent | {
        "run": "base/best.pt"
    }


def test_it_is_evaluated_on_its_own_corpus_without_the_bot_and_the_old_corpora(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place.train("--steps", 6, "--validate-every", 3)
    shutil.rmtree(place.base.path)
    place.films.unlink()
    where = ["--checkpoints-dir", str(place.runs), "--data-dir", str(place.data), "--device", "cpu", "--json"]
    capsys.readouterr()
    assert main(["evaluate", "run", "--split", "valid", *where]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["perplexity"] == pytest.approx(Checkpoint.load(run.best).perplexity, rel=1e-4)
    assert list(figures["sources"]) == ["chats"]
    assert main(["evaluate", "run", "--corpus", str(place.chats), *where]) == 0


def test_a_bot_that_was_trained_on_is_trained_on_again(place: Place) -> None:
    place.train("--steps", 2)
    third = place.folder / "third.tsv"
    third.write_text(CHATS.replace("blip", "quux"))
    start = place.begin("run", corpus=third)
    assert start.config.corpus.old_corpus == f"{place.chats}+{place.films}"
    assert {"blip", "quux"} <= set(start.checkpoint.vocabulary.tokens)
    assert start.checkpoint.parent is not None
    assert start.checkpoint.parent["run"] == "run"


# what a person meets


def mistake(place: Place, capsys: pytest.CaptureFixture[str], *more: object) -> str:
    capsys.readouterr()
    assert main(place.flags(*more)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert not (place.runs / "run").exists()
    return line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hidden-size", 9], ["--hidden-size 8, not 9", "base"]),
        (["--encoder-layers", 2], ["--encoder-layers 1, not 2"]),
        (["--no-tie-embeddings"], ["--tie-embeddings True, not False"]),
        (["--tokenizer", "tutorial"], ["--tokenizer english, not tutorial"]),
        (["--context", 2], ["--context 0, not 2"]),
        (["--vocabulary", "words.txt"], ["--vocabulary", "base keeps its words"]),
        (["--direction", "backward"], ["--direction forward too", "base"]),
        (["--preset", "default"], ["--preset"]),
        (["--from", "nobody"], ["'nobody'", "there are base"]),
        (["--from", "gone/best.pt"], ["gone/best.pt"]),
        (["--corpus", "nowhere.tsv"], ["'nowhere.tsv'"]),
    ],
)
def test_what_contradicts_or_is_not_there_is_one_line(
    place: Place, capsys: pytest.CaptureFixture[str], flags: list[object], words: list[str]
) -> None:
    line = mistake(place, capsys, "--from", "base", "--corpus", place.chats, *flags)
    assert all(word in line for word in words), line


def test_a_bot_of_the_other_direction_is_one_line_unless_it_is_meant(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Checkpoint.load(place.base.best)
    model = dataclasses.replace(base.config.model, direction="backward")
    random_bot(place.base, dataclasses.replace(base.config, model=model), base.vocabulary)
    line = mistake(place, capsys, "--from", "base", "--corpus", place.chats)
    assert "base was trained with --direction backward" in line
    run = place.train("--direction", "backward", "--steps", 2)
    assert Config.load(run.config).model.direction == "backward"


def test_lengths_and_dropout_may_be_others(place: Place) -> None:
    config = Config.load(place.train("--max-length", 5, "--dropout", 0.5, "--steps", 2).config)
    assert (config.corpus.max_length, config.model.dropout) == (5, 0.5)


def test_an_exported_bot_is_no_bot_to_train(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "base", "--checkpoints-dir", str(place.runs)]) == 0
    onnx, tar = place.folder / "chatbot.onnx", place.folder / "4000_checkpoint.tar"
    onnx.write_bytes(b"onnx")
    tar.write_bytes(b"tar")
    for path in (place.base.export, place.base.export / "chatbot.pt", onnx):
        line = mistake(place, capsys, "--from", path, "--corpus", place.chats)
        assert f"{path} is an exported bot" in line
        assert "best.pt" in line
    assert "import-checkpoint" in mistake(place, capsys, "--from", tar, "--corpus", place.chats)


def test_what_goes_with_from_only_is_refused_without_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--rehearse", 0.3], ["--old-corpus", "sample"]):
        assert "--from" in mistake(place, capsys, "--corpus", place.chats, *flags)
    assert "--corpus" in mistake(place, capsys, "--from", "base")


def test_a_damaged_parent_is_a_damaged_checkpoint(place: Place) -> None:
    base = Checkpoint.load(place.base.best)
    for parent in (
        "base",
        {"run": "x"},
        {"run": "x", "checkpoint": "y", "step": "z"},
        {"run": "x" * 9999, "checkpoint": "", "step": 1},
    ):
        dataclasses.replace(base, parent=parent).save(place.base.best)  # type: ignore[arg-type]
        with pytest.raises(ChatbotError, match="damaged"):
            Checkpoint.load(place.base.best)


def test_settings_that_go_on_from_a_bot_do_not_train_without_it(place: Place, tmp_path: Path) -> None:
    start = place.begin()
    with pytest.raises(ChatbotError, match="--from"):
        train(start.config, start.folder, RunDirectory(tmp_path / "new"), Group())


def test_a_run_stopped_before_its_first_state_is_begun_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    start, run = place.begin(), RunDirectory(place.runs / "early")
    run.begin(start.config, start.checkpoint.vocabulary)
    capsys.readouterr()
    assert main(place.flags("--resume", run="early")) == 2
    assert "begin it again, with --from" in capsys.readouterr().err


def test_another_corpus_in_the_old_ones_place_is_not_resumed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.train("--steps", 2)
    place.chats.write_text(CHATS.replace("is grok", "here grok"))
    assert main(place.flags("--resume", "--steps", 4)) == 2
    assert "the corpus has changed" in capsys.readouterr().err
