"""Several corpora in one training: how they are asked for, each read and split by itself, and its own figures."""

import copy
import dataclasses
import json
import math
import random
import shutil
import signal
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_run
import test_sources
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_preparation import decoded, everything

from chatbot.__main__ import main
from chatbot.config.settings import Config, CorpusConfig
from chatbot.corpus import draft, preparation, sources
from chatbot.corpus.figures import SPLITS
from chatbot.corpus.mixture import MAX_PARTS, SAMPLE_WEIGHT, is_mixture, resolve_mixture
from chatbot.corpus.preparation import Preparation, prepare
from chatbot.corpus.prepared import PairDataset, load_vocabulary
from chatbot.corpus.report import summary
from chatbot.corpus.sources import SAMPLE, Offers
from chatbot.corpus.vocabulary import EOS_ID
from chatbot.decoding.generate import log_likelihood
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.seal import read_sealed
from chatbot.training.data import log_frequencies
from chatbot.training.distributed import Group
from chatbot.training.loop import train

SAMPLE_OF_AUTO = f"sample*{SAMPLE_WEIGHT:g}"
web, offline, data_dir = test_sources.web, test_sources.offline, test_sources.data_dir

# how a mixture is asked for


def asked(spec: str, data_dir: Path, offers: Offers | None = None) -> list[tuple[str, float]]:
    """The names and weights of a mixture."""
    return [(part.source.name, part.weight) for part in resolve_mixture(spec, data_dir, offers).parts]


def test_one_corpus_is_a_mixture_of_one(tmp_path: Path) -> None:
    (tmp_path / "My chats.tsv").write_text("a\tb\n")
    for spec, name, path in (("sample", "sample", SAMPLE), (str(tmp_path / "My chats.tsv"), "my-chats", None)):
        mixture = resolve_mixture(spec, tmp_path)
        assert mixture == (name, spec, [((name, path or Path(spec), None), 1.0, False)], None)
        assert not is_mixture(spec)


@pytest.mark.parametrize(
    ("spec", "weights", "again"),
    [
        ("one.tsv+two.tsv", [1, 1], "one.tsv+two.tsv"),
        ("two.tsv*10+one.tsv*0.5", [10, 0.5], "two.tsv*10+one.tsv*0.5"),
        ("one.tsv*1+two.tsv*2.0", [1, 2], "one.tsv+two.tsv*2"),
        ("one.tsv*0.001+two.tsv*1e3", [0.001, 1000], "one.tsv*0.001+two.tsv*1000"),
        ("one.tsv*0.12345678901+two.tsv*999.123456", None, "one.tsv*0.12345678901+two.tsv*999.123456"),
        ("one.tsv*2", [2], "one.tsv*2"),
        # what exists is that path
        ("c++/a*b.tsv", [1], "c++/a*b.tsv"),
        ("c++/a*b.tsv*3", [3], "c++/a*b.tsv*3"),
        ("one.tsv+c++/a*b.tsv*3+two.tsv", [1, 3, 1], "one.tsv+c++/a*b.tsv*3+two.tsv"),
        ("two.tsv*2+one+two.tsv*0.5", [2, 0.5], "two.tsv*2+one+two.tsv*0.5"),
        ("a*2", [1], "a*2"),
        ("a*2*2+one.tsv", [2, 1], "a*2*2+one.tsv"),
    ],
)
def test_names_paths_and_weights_are_read_and_written_out_again(
    spec: str, weights: list[float] | None, again: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c++").mkdir()
    for name in ("one.tsv", "two.tsv", "one+two.tsv", "c++/a*b.tsv", "a*2"):
        Path(name).write_text(f"{name}\tb\n")
    first = resolve_mixture(spec, tmp_path)
    assert weights is None or [part.weight for part in first.parts] == weights
    assert first.spec == again
    assert resolve_mixture(again, tmp_path) == first
    assert is_mixture(spec) == (len(first.parts) > 1)


def test_corpora_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "chat.tsv").write_text("a\tb\n")
    (tmp_path / "sample.tsv").write_text("a\tb\n")
    spec = "+".join(str(tmp_path / folder / "chat.tsv") for folder in "abc")
    mixture = resolve_mixture(f"{spec}+sample+{tmp_path / 'sample.tsv'}", tmp_path)
    assert [part.source.name for part in mixture.parts] == ["chat", "chat-2", "chat-3", "sample", "sample-2"]
    assert mixture.name == "chat-chat-2-chat-3-sample-sample-2"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        *((f"sample*{weight}", "must be a number from 0.001 to 1000") for weight in ("0", "-1", "", "x", "nan", "inf")),
        *((f"sample*{weight}", "must be a number from 0.001 to 1000") for weight in ("1000.1", "0.0009", "1e99", "2*")),
        *((spec, "a part without a name") for spec in ("+", "sample+", "+sample", "sample++sample", "*2", "sample+*2")),
        ("nowhere.tsv", r"no corpus 'nowhere\.tsv'.*auto, cornell, chitchat, sample"),
        ("sample+nowhere.tsv*2", r"no corpus 'nowhere\.tsv'"),
        ("", "no corpus ''"),
        ("sample+sample*2", r"names a corpus twice: .*such as sample\*2"),
        (f"sample+{SAMPLE}", "names a corpus twice"),
        (f"sample+{SAMPLE}/../sample/", "names a corpus twice"),
        ("auto*2", r"auto is a mixture and takes no weight: .*cornell\+chitchat\+sample\*"),
        ("sample+auto*0.5", "auto is a mixture and takes no weight"),
        ("+".join(["sample"] * (MAX_PARTS + 1)), "65 corpora in one mixture: at most 64"),
        ("+" * 100_000, "corpora in one mixture: at most 64"),
        ("a\0b+sample", "no corpus"),
        ("sample*2\0", "must be a number"),
        ("~nobody-has-this-name+sample", "no corpus"),
        ("x" * 5000 + "+" + "y" * 5000, "no corpus"),
    ],
)
def test_a_mixture_that_cannot_be_is_explained_in_a_line(spec: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match=says) as error:
        resolve_mixture(spec, tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_found_before_anything_is_downloaded(web: Offers, data_dir: Path) -> None:
    for spec in ("cornell+sample*0", "auto+", "auto*3"):
        with pytest.raises(ChatbotError):
            resolve_mixture(spec, data_dir, web)
    assert not data_dir.exists()


def test_auto_is_all_that_can_be_had_written_out(web: Offers, offline: Offers, data_dir: Path) -> None:
    whole = [("cornell", 1.0), ("chitchat", 1.0), ("sample", SAMPLE_WEIGHT)]
    mixture = resolve_mixture("auto", data_dir / "all", web)
    assert (mixture.name, mixture.notice) == ("cornell-chitchat-sample", None)
    assert mixture.spec == f"cornell+chitchat+{SAMPLE_OF_AUTO}"
    assert asked("auto", data_dir / "all", web) == asked(mixture.spec, data_dir / "all", offline) == whole
    without = resolve_mixture("auto", data_dir, offline)
    assert (without.name, without.spec) == ("chitchat-sample", f"chitchat+{SAMPLE_OF_AUTO}")
    assert without.notice
    assert "without the Cornell" in without.notice
    assert asked("auto", data_dir, offline) == whole[1:]
    (data_dir / "my.tsv").write_text("a\tb\n")
    assert asked(f"{data_dir / 'my.tsv'}*3+auto", data_dir, offline) == [("my", 3.0), *whole[1:]]
    with pytest.raises(ChatbotError, match="names a corpus twice"):
        resolve_mixture("auto+chitchat", data_dir, offline)
    assert is_mixture("auto")
    assert is_mixture("auto+sample")


# what a mixture is prepared to

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SPLIT = (0.6, 0.2, 0.2)


def spelt(number: int) -> str:
    return f"{NUMBERS[number // 10]} {NUMBERS[number % 10]}"


def make_corpora(folder: Path) -> dict[str, Path]:
    """A corpus for each of the things that a split keeps together, which the second and third words of a pair name."""
    films = folder / "films"
    films.mkdir()
    with (films / "movie_lines.txt").open("w") as lines, (films / "movie_conversations.txt").open("w") as talks:
        for talk in range(120):
            film, names = talk % 40, [f"L{talk}{side}" for side in "abc"]
            said = [f"film {spelt(film)} says {spelt(talk // 40)} {NUMBERS[turn]}" for turn in range(3)]
            lines.writelines(
                f"{name} +++$+++ u +++$+++ m{film} +++$+++ X +++$+++ {text}\n"
                for name, text in zip(names, said, strict=True)
            )
            talks.write(f"u +++$+++ u +++$+++ m{film} +++$+++ {names}\n")
    chats = folder / "chats.jsonl"
    said = [[f"chat {spelt(talk)} says {NUMBERS[turn]}" for turn in range(4)] for talk in range(70)]
    chats.write_text("".join(json.dumps({"turns": turns}) + "\n" for turns in said))
    asks = folder / "asks.tsv"  # 19 conversations are too few: by prompt
    asks.write_text("".join(f"ask {spelt(row % 17)}\tanswer {spelt(row)}\n" for row in range(19)))
    logs = folder / "logs.txt"
    with logs.open("w") as file:
        for talk in range(90):
            question = f"LOG {spelt(talk % 30)}" if talk % 2 else f"log  {spelt(talk % 30)} "
            file.write(f"> {question}\nreply {spelt(talk % 30)} {spelt(talk)}\n")
            file.write(f"> more {spelt(talk % 30)}\nagain {spelt(talk % 30)} {spelt(talk)}\n\n")
    return {"films": films, "chats": chats, "asks": asks, "logs": logs}


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, Path]:
    return make_corpora(tmp_path)


def mixed(corpora: dict[str, Path], *weights: float) -> str:
    weights = weights or (1.0,) * len(corpora)
    return "+".join(f"{path}*{weight}" for path, weight in zip(corpora.values(), weights, strict=True))


def config(corpus: object, **changes: Any) -> CorpusConfig:
    return dataclasses.replace(CorpusConfig(min_count=1, split=SPLIT), corpus=str(corpus), **changes)


def parts(done: Preparation) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """By corpus and split, the pairs that it gave."""
    found: dict[str, dict[str, list[tuple[str, str]]]] = defaultdict(dict)
    for split in SPLITS:
        pairs = decoded(done, split)
        for part in PairDataset(done.folder, split).parts:
            found[part.name][split] = [pairs[index] for index in part.indices]
        assert [part.indices.stop for part in PairDataset(done.folder, split).parts][-1] == len(pairs)
    return dict(found)


def test_each_corpus_is_read_in_its_own_format_and_split_by_its_own_groups(
    corpora: dict[str, Path], tmp_path: Path
) -> None:
    done = prepare(config(mixed(corpora)), tmp_path)
    assert done.folder.name.startswith("films-chats-asks-logs-")
    assert [(of["name"], of["format_read"], of["split_by"]) for of in done.figures["sources"]] == [
        ("films", "cornell", "film"),
        ("chats", "jsonl", "conversation"),
        ("asks", "delimited", "prompt"),
        ("logs", "transcript", "conversation"),
    ]
    found = parts(done)
    assert {name: sum(map(len, of.values())) for name, of in found.items()} == {
        **{"films": 120 * 2, "chats": 70 * 3, "asks": 19, "logs": 90 * 2}
    }
    first_words = {"films": {"film"}, "chats": {"chat"}, "asks": {"ask"}, "logs": {"log", "more"}}
    for name, of_split in found.items():
        assert {prompt.split()[0] for pairs in of_split.values() for prompt, _ in pairs} == first_words[name]
        sides: dict[str, set[str]] = defaultdict(set)
        for split, pairs in of_split.items():
            assert pairs, f"{name} has something for {split}"
            for prompt, _ in pairs:
                sides[" ".join(prompt.split()[1:3])].add(split)
        assert all(len(side) == 1 for side in sides.values()), f"what belongs together in {name} stands on one side"


def test_nothing_of_a_corpus_changes_in_the_company_of_others(corpora: dict[str, Path], tmp_path: Path) -> None:
    found = parts(prepare(config(mixed(corpora, 1, 0.5, 3, 10)), tmp_path))
    vocabulary = load_vocabulary(prepare(config(mixed(corpora, 1, 0.5, 3, 10)), tmp_path).folder)
    for name, path in corpora.items():
        assert found[name] == parts(prepare(config(path), tmp_path, vocabulary=vocabulary))[name]


def test_what_one_corpus_trains_on_no_other_holds_out(tmp_path: Path) -> None:
    rng = random.Random(2)
    said = [(f"ask {spelt(i)}", f"say {spelt(i)}") for i in range(90)]
    (tmp_path / "a.tsv").write_text("".join(f"{prompt}\t{reply}\n" for prompt, reply in said))
    rng.shuffle(said)
    turns = [[text for pair in said[i : i + 3] for text in pair] for i in range(0, 90, 3)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"turns": talk}) + "\n" for talk in turns))
    done = prepare(config(f"{tmp_path / 'a.tsv'}+{tmp_path / 'b.jsonl'}*5"), tmp_path)
    sides = [set(decoded(done, split)) for split in SPLITS]
    assert all(sides)
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert done.figures["dropped"]["pairs_leaked"] > 10


CORPUS = st.tuples(
    st.sampled_from([0.1, 0.5, 1.0, 1 / 3, 2.5, 7.0]), st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40)
)


@given(st.lists(CORPUS, min_size=1, max_size=4), st.integers(1, 4), st.integers(3, 90))
@example([(0.1, ["a"] * 30)], 4, 90)
@example([(0.1, ["a"] * 30)], 3, 3)
@settings(deadline=None, max_examples=40)
def test_a_word_of_the_one_vocabulary_counts_as_often_as_it_is_shown(
    tmp_path_factory: pytest.TempPathFactory, corpora: list[tuple[float, list[str]]], min_count: int, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("corpora")
    counts: Counter[str] = Counter()
    spec = []
    for number, (weight, words) in enumerate(corpora):
        path = folder / f"{number}.tsv"
        path.write_text("".join(f"{word}\tso\n" for word in words) + "so\tso\n" * 50)
        spec.append(f"{path}*{weight}")
        counts.update({word: weight * count for word, count in Counter(words).items()})
        counts["so"] += weight * (len(words) + 100)
    patch = pytest.MonkeyPatch()
    patch.setattr(draft, "CHUNK_NUMBERS", chunk)
    try:
        done = prepare(config("+".join(spec), min_count=min_count, split=(1.0, 0.0, 0.0)), folder)
    finally:
        patch.undo()
    shown = {word: math.ceil(round(count, 6)) for word, count in counts.items()}
    kept = [word for word, count in shown.items() if count >= min_count]
    assert sorted(load_vocabulary(done.folder).tokens[4:]) == sorted(kept)
    order = [shown[word] for word in load_vocabulary(done.folder).tokens[4:]]
    assert order == sorted(order, reverse=True)
    assert done.figures["coverage"]["train"] == pytest.approx(
        sum(shown[word] for word in kept) / sum(shown.values()), abs=1e-9
    )


def test_the_figures_of_each_corpus_are_told_and_add_up(corpora: dict[str, Path], tmp_path: Path) -> None:
    with corpora["logs"].open("ab") as file:
        file.write(b"> caf\xe9\nyes\n\n> a\0b\nno\n")
    (tmp_path / "none.tsv").write_text("never heard\tof it\n" * 2)
    spec = f"{mixed(corpora, 1, 0.5, 1, 2.5)}+{tmp_path / 'none.tsv'}"
    done = prepare(config(spec, min_count=3), tmp_path)
    figures, each = done.figures, done.figures["sources"]
    assert json.loads(json.dumps(figures)) == read_sealed(done.folder / "prepared.json", 1 << 20)
    assert [of["weight"] for of in each] == [1.0, 0.5, 1.0, 2.5, 1.0]
    for key in ("conversations", "pairs_read", "pairs_too_short", "pairs_too_long", "pairs_short"):
        assert figures[key] == sum(of[key] for of in each)
    for of in figures["splits"].values():
        assert sum(of["by_part"]) == of["pairs"]
    assert [of["conversations"] for of in each] == [120, 70, 19, 92, 2]
    assert [of["bad_lines"]["count"] for of in each] == [0, 0, 0, 1, 0]
    assert each[3]["bad_lines"]["not_utf8"] == 1
    assert {entry["file"] for entry in figures["inputs"]} >= {str(path) for path in corpora.values() if path.is_file()}
    said = summary(figures)
    by_part = {split: of["by_part"] for split, of in figures["splits"].items()}
    assert (
        f"\n              logs (transcript), 92 conversations, split by conversation: {by_part['train'][3]} pairs for "
        f"training, {by_part['valid'][3]} and {by_part['test'][3]} held out; shown 2.5 times an epoch\n"
    ) in said
    assert "corpus        films (cornell), 120 conversations, split by film: " in said
    assert said.count(" an epoch") == 2
    assert "note          nothing of none is left for training" in said
    assert "damaged       1 of" in said
    assert f"{corpora['logs']}:" in said


def test_the_same_mixture_is_found_and_another_is_prepared_anew(corpora: dict[str, Path], tmp_path: Path) -> None:
    first = prepare(config(mixed(corpora, 1, 1, 1, 2)), tmp_path)
    assert prepare(config(mixed(corpora, 1, 1, 1, 2)), tmp_path).reused
    others = [
        mixed(corpora, 1, 1, 1, 3),
        mixed(corpora, 1, 1, 2, 1),
        mixed({name: corpora[name] for name in ("chats", "films", "asks", "logs")}, 1, 1, 1, 2),
        mixed({name: corpora[name] for name in ("films", "chats", "asks")}),
    ]
    folders = {first.folder}
    for other in others:
        done = prepare(config(other), tmp_path)
        assert not done.reused
        folders.add(done.folder)
    assert len(folders) == 5
    corpora["asks"].write_text(corpora["asks"].read_text() + "ask me\tanswer one\n")
    assert not prepare(config(mixed(corpora, 1, 1, 1, 2)), tmp_path).reused


def test_several_processes_prepare_the_same_mixture(corpora: dict[str, Path], tmp_path: Path) -> None:
    one = prepare(config(mixed(corpora), context=1), tmp_path / "one", workers=1)
    two = prepare(config(mixed(corpora), context=1), tmp_path / "two", workers=2)
    assert everything(one) == everything(two)
    assert parts(one) == parts(two)


def test_a_corpus_of_a_mixture_that_cannot_be_used_is_named(corpora: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "long.tsv").write_text(f"{'word ' * 20}\tyes\n" * 3)
    (tmp_path / "broken.jsonl").write_text('{"turns": ["a", "b"]}\n{broken\n')
    for name, says in {
        "long.tsv": r"long\.tsv: no usable pair \(of 3 pairs read, 3 are over 12 words",
        "broken.jsonl": r"1 of 2 lines are damaged.*broken\.jsonl:2",
    }.items():
        with pytest.raises(ChatbotError, match=says):
            prepare(config(f"{mixed(corpora)}+{tmp_path / name}"), tmp_path)
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == [".lock"]


def test_a_file_of_any_corpus_that_changes_meanwhile_is_refused(
    corpora: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = preparation.number

    def number(*arguments: Any, **more: Any) -> Any:
        corpora["logs"].write_text("> a\nb\n")
        return really(*arguments, **more)

    monkeypatch.setattr(preparation, "number", number)
    with pytest.raises(ChatbotError, match=r"logs\.txt changed while it was read"):
        prepare(config(mixed(corpora)), tmp_path)


@pytest.mark.parametrize("corpus", ["auto", "sample+chitchat"])
def test_a_format_is_of_one_corpus(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(
        ChatbotError, match=rf"--format log is of one corpus, and '{corpus}'.* is a mixture".replace("+", r"\+")
    ):
        prepare(config(corpus, format="log"), tmp_path / "data")
    assert not (tmp_path / "data").exists()
    (tmp_path / "a+b.txt").write_text("> hello\nhi\n> bye\nhello\n")
    assert prepare(config(tmp_path / "a+b.txt", format="log"), tmp_path).figures["pairs_read"] == 3


# what is trained on it


def small(corpus: str, **training: Any) -> Config:
    """Settings of a model that trains in a moment."""
    few = {"steps": 12, "validate_every": 4, "batch_size": 16, "learning_rate": 5e-3, "warmup_steps": 2}
    plain = {"precision": "fp32", "patience": 0, "max_minutes": 0, "weight_averaging": 0.9}
    return Config.from_dict(
        {
            "corpus": {"corpus": corpus, "min_count": 1, "split": list(SPLIT)},
            "model": {"hidden_size": 8, "encoder_layers": 1, "decoder_layers": 1},
            "training": few | plain | training,
        }
    )


@dataclasses.dataclass
class Trained:
    config: Config
    prepared: Preparation
    run: RunDirectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run on a mixture."""
    folder = tmp_path_factory.mktemp("trained")
    config = small(mixed(make_corpora(folder), 1, 0.5, 10, 2.5))
    prepared, run = prepare(config.corpus, folder), RunDirectory(folder / "runs" / "run")
    train(config, prepared.folder, run, Group())
    return Trained(config, prepared, run)


def measured(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_each_validation_measures_each_corpus(trained: Trained) -> None:
    rows = [row for row in measured(trained.run) if row["part"] != "train"]
    names = ["films", "chats", "asks", "logs"]
    assert [(row["step"], row["part"]) for row in rows] == [
        (step, part) for step in (4, 8, 12) for part in ("valid", *(f"valid/{name}" for name in names))
    ]
    model = Checkpoint.load(trained.run.last).build_model()
    dataset = PairDataset(trained.prepared.folder, "valid")
    assert [part.name for part in dataset.parts if len(part.indices)] == names
    tokens = {}
    for part, row in zip(dataset.parts, rows[-4:], strict=True):
        prompts, said = zip(*(map(np.ndarray.tolist, dataset[index]) for index in part.indices), strict=True)
        tokens[part.name] = sum(map(len, said)) + len(said)  # with the ends
        loss = -float(log_likelihood(model, prompts, said).sum()) / tokens[part.name]
        assert row["loss"] == pytest.approx(loss, rel=1e-4)
        assert row["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    whole = sum(row["loss"] * tokens[row["part"].removeprefix("valid/")] for row in rows[-4:]) / sum(tokens.values())
    assert rows[-5]["loss"] == pytest.approx(whole, rel=1e-5)


def test_tensorboard_has_the_same_of_each_corpus(trained: Trained) -> None:
    events = EventAccumulator(str(trained.run.tensorboard))
    events.Reload()
    for row in measured(trained.run):
        for name in {"loss", "perplexity", "token_accuracy"} & row.keys():
            values = {event.step: event.value for event in events.Scalars(f"{name}/{row['part']}")}
            assert values[row["step"]] == pytest.approx(row[name], rel=1e-5)


def test_of_one_corpus_nothing_is_measured_twice(trained: Trained, corpora: dict[str, Path], tmp_path: Path) -> None:
    config = small(f"{corpora['chats']}*2", steps=4)
    run = RunDirectory(tmp_path / "run")
    train(config, prepare(config.corpus, tmp_path).folder, run, Group())
    assert [row["part"] for row in measured(run)] == ["valid"]


def test_a_training_on_a_mixture_goes_on_exactly_where_it_stopped(trained: Trained, tmp_path: Path) -> None:
    half = RunDirectory(tmp_path / "run")
    with small_run.at_step(6, lambda: signal.raise_signal(signal.SIGTERM)):
        train(trained.config, trained.prepared.folder, half, Group())
    assert half.load_last().step == 7
    train(trained.config, trained.prepared.folder, half, Group(), resume=True)
    small_run.assert_the_same(half, trained.run)


def test_epochs_count_what_the_weights_show(trained: Trained, tmp_path: Path) -> None:
    sizes = {part.name: len(part.indices) for part in PairDataset(trained.prepared.folder, "train").parts}
    shown = sizes["films"] + round(0.5 * sizes["chats"]) + 10 * sizes["asks"] + round(2.5 * sizes["logs"])
    config = small(trained.config.corpus.corpus, epochs=0.5, validate_every=1000, weight_averaging=0.0)
    outcome = train(config, trained.prepared.folder, RunDirectory(tmp_path / "run"), Group())
    assert outcome.step == round(0.5 * -(-shown // 16))


def test_the_first_biases_are_of_what_is_shown(trained: Trained) -> None:
    dataset, size = PairDataset(trained.prepared.folder, "train"), len(load_vocabulary(trained.prepared.folder))
    counts = np.full(size, 0.5)
    weights = {"films": 1, "chats": 0.5, "asks": 10, "logs": 2.5}
    for part in dataset.parts:
        for index in part.indices:
            np.add.at(counts, [*dataset[index][1], EOS_ID], weights[part.name])
    found = np.exp(log_frequencies(dataset, size))
    assert found.sum() == pytest.approx(1)
    # an epoch shows a half of one corpus, and one half of another once more, so they are not quite the same
    assert np.abs(found - counts / counts.sum()).max() < 0.01
    assert np.abs(found - np.exp(log_frequencies(unweighted(dataset), size))).max() > 0.02


def unweighted(dataset: PairDataset) -> PairDataset:
    other = copy.copy(dataset)
    other.parts = [part._replace(weight=1.0) for part in dataset.parts]
    return other


def test_an_evaluation_has_figures_of_each_corpus(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data-dir", str(trained.prepared.folder.parent.parent), "--device", "cpu", "--limit", "5"]
    shutil.copytree(trained.run.path, tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--json", *where]) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)
    dataset, model = PairDataset(trained.prepared.folder, "test"), trained.run.load_chosen().build_model()
    assert list(figures["sources"]) == [part.name for part in dataset.parts]
    for part in dataset.parts:
        found = figures["sources"][part.name]
        prompts, replies = zip(*(map(np.ndarray.tolist, dataset[index]) for index in part.indices), strict=True)
        assert found["pairs"] == len(part.indices)
        assert found["tokens"] == sum(map(len, replies)) + len(replies)
        assert found["loss"] * found["tokens"] == pytest.approx(-float(log_likelihood(model, prompts, replies).sum()))
    for key in ("pairs", "tokens"):
        assert figures[key] == sum(of[key] for of in figures["sources"].values())
    right = sum(of["token_accuracy"] * of["tokens"] for of in figures["sources"].values())
    assert figures["token_accuracy"] * figures["tokens"] == pytest.approx(right)
    lines = said.err.splitlines()
    first = next(at for at, line in enumerate(lines) if line.split() == ["of", "each", "corpus:", *figures["sources"]])
    assert [line.split()[0] for line in lines[first + 1 : first + 4]] == ["pairs", "perplexity", "token"]
    assert lines[first + 2].split()[1:] == [f"{of['perplexity']:.2f}" for of in figures["sources"].values()]


def test_a_run_can_be_measured_on_a_mixture(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tsv").write_text("chat one two says three\tchat one two says four\n" * 3)
    (tmp_path / "b.txt").write_text("> log one two\nreply one two one two\n\n> log one\nreply one two three four\n")
    shutil.copytree(trained.run.path, tmp_path / "run")
    spec = f"{tmp_path / 'a.tsv'}*7+{tmp_path / 'b.txt'}"
    arguments = ["--data-dir", str(tmp_path), "--device", "cpu", "--json"]
    assert main(["evaluate", str(tmp_path / "run"), "--corpus", spec, *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["split"], figures["pairs"]) == ("all", 5)
    assert {name: of["pairs"] for name, of in figures["sources"].items()} == {"a": 3, "b": 2}


def test_auto_is_written_out_in_the_settings_of_the_run(
    corpora: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sample").mkdir()
    corpora["logs"].rename(tmp_path / "sample" / "logs.txt")
    monkeypatch.setattr(sources, "SAMPLE", tmp_path / "sample")
    data = tmp_path / "data"
    said = [[[{"text": text, "sender": "x"}] for text in (f"chat {spelt(i)}", "yes")] for i in range(40)]
    chats = {f"k{i}": {"messages": messages} for i, messages in enumerate(said)}
    (data / "chitchat").mkdir(parents=True)
    (data / "chitchat" / "dataset.json").write_text(json.dumps(chats))
    settings = small("auto")
    (tmp_path / "settings.json").write_text(json.dumps(settings.to_dict()))
    where = ["--data-dir", str(data), "--checkpoints-dir", str(tmp_path / "runs"), "--device", "cpu", "--threads", "1"]

    def trained(*arguments: str) -> str:
        assert main(["train", *arguments, *where]) == 0
        return capsys.readouterr().err

    said = trained("--config", str(tmp_path / "settings.json"), "--steps", "4")
    assert "without the Cornell Movie-Dialogs Corpus (not here)" in said
    config = Config.load(tmp_path / "runs" / "chitchat-sample" / "config.json")
    assert config.corpus == dataclasses.replace(settings.corpus, corpus=f"chitchat+{SAMPLE_OF_AUTO}")
    # now there is more to be had; this run goes on with what it began with
    corpora["films"].rename(data / "films")
    assert "Cornell" not in trained("--resume", "--run", "chitchat-sample", "--steps", "8")
    assert Config.load(tmp_path / "runs" / "chitchat-sample" / "config.json").corpus == config.corpus
    assert "without" not in trained("--config", str(tmp_path / "settings.json"), "--steps", "4")
    config = Config.load(tmp_path / "runs" / "cornell-chitchat-sample" / "config.json")
    assert config.corpus.corpus == f"cornell+chitchat+{SAMPLE_OF_AUTO}"
    assert main(["train", "--resume", "--run", "chitchat-sample", "--corpus", "auto", *where]) == 2
    assert f"this run was begun with corpus chitchat+{SAMPLE_OF_AUTO}" in capsys.readouterr().err
