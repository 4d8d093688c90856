"""A run examined: what is found is kept beside it, and counts as long as the run has the same weights."""

import csv
import dataclasses
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.config.settings import Config
from chatbot.corpus.prepared import PairDataset
from chatbot.corpus.tokenizer import TOKENIZERS
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.evaluation.answers import drawn
from chatbot.evaluation.broken import BrokenEnglish
from chatbot.evaluation.examination import Examination, readable
from chatbot.evaluation.likelihood import evaluate
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.seal import read_sealed

GREEDY = ["greedy"]


@pytest.fixture
def run(trained: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the trained run, to write into."""
    shutil.copytree(trained.path, tmp_path / "runs" / "tiny")
    return RunDirectory(tmp_path / "runs" / "tiny")


@pytest.fixture
def examination(data_dir: Path) -> Examination:
    return Examination("test", GREEDY, data_dir)


def test_an_examination_is_kept_and_found_again(run: RunDirectory, examination: Examination) -> None:
    assert examination.kept(run) is None
    figures, replies = examination.examine(run)
    path = examination.keep(run, figures)
    assert path == run.path / "evaluation-test.json"
    assert read_sealed(path, 1 << 20) == figures
    assert examination.kept(run) == figures
    again, same = examination.examine(run)
    assert same == replies
    for found in (figures, again):
        del found["pairs_per_second"], found["rows"]["greedy"]["pairs_per_second"]
    assert again == figures


def test_figures_are_those_of_the_model_and_the_bot(
    run: RunDirectory, examination: Examination, prepared: Path
) -> None:
    figures, replies = examination.examine(run)
    checkpoint, dataset = run.load_chosen(), PairDataset(prepared, "test")
    bot = Chatbot.load(run.path)
    scores = evaluate(checkpoint.build_model(), dataset, "test", bot.decode.device)
    for name in ("split", "pairs", "tokens", "perplexity", "loss", "token_accuracy"):
        assert figures[name] == scores[name]
    assert (figures["step"], figures["data"]) == (checkpoint.step, prepared.name)
    assert list(figures["rows"]) == ["greedy", "human", "random", "frequent"]
    prompts = [prompt.tolist() for prompt, _ in dataset]
    assert replies["greedy"] == bot.reply_batch(prompts)
    assert replies["human"] == [bot.text(reply.tolist()) for _, reply in dataset]
    assert list(replies) == ["prompt", "human", "greedy"]


def test_broken_english_is_told_by_the_training_pairs(
    run: RunDirectory, examination: Examination, prepared: Path
) -> None:
    figures, _ = examination.examine(run)
    training, vocabulary = PairDataset(prepared, "train"), run.load_chosen().vocabulary
    english = BrokenEnglish.of(training, len(vocabulary), vocabulary.num_special)
    assert english
    people = [reply.tolist() for _, reply in PairDataset(prepared, "test")]
    found = {name: (row["judged"], row["broken"]) for name, row in figures["rows"].items()}
    assert found["human"] == (len(people), sum(english.among(people)) / len(people))
    bot = Chatbot.load(run.path)
    said = bot.generate([prompt.tolist() for prompt, _ in PairDataset(prepared, "test")])
    assert found["greedy"] == (len(people), sum(english.among(said)) / len(people))
    assert found["random"] == found["frequent"] == (0, None)

    figures, _ = dataclasses.replace(examination, split="train", limit=500).examine(run)
    assert figures["rows"]["greedy"]["judged"] == 500
    assert figures["rows"]["human"]["judged"] == len({*drawn(training, 500)} & {*english.unseen.tolist()}) > 0


def test_figures_of_an_older_format_do_not_count(run: RunDirectory, examination: Examination) -> None:
    figures, _ = examination.examine(run)
    older = figures | {"format": figures["format"] - 1}
    for row in older["rows"].values():
        del row["broken"], row["judged"]
    for kept in (older, older | {"format": figures["format"]}):
        examination.keep(run, kept)
        assert examination.kept(run) is None


def test_the_limit_bounds_what_is_answered_and_not_what_is_scored(run: RunDirectory, examination: Examination) -> None:
    figures, replies = dataclasses.replace(examination, limit=10).examine(run)
    assert {row["replies"] for row in figures["rows"].values()} == {10}
    assert {len(column) for column in replies.values()} == {10}
    assert figures["pairs"] > 10


@pytest.mark.parametrize("change", [{"limit": 7}, {"split": "valid"}, {"decodings": ["beam"]}])
def test_what_another_examination_left_does_not_count(
    run: RunDirectory, examination: Examination, change: dict[str, Any]
) -> None:
    examination.keep(run, examination.examine(run)[0])
    other = dataclasses.replace(examination, **change)
    shutil.copy(run.evaluation("test"), run.evaluation("valid"))
    assert other.kept(run) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"split"', "{}", '{"split": "test"}', "[" * 100_000, "\xff"])
def test_a_damaged_file_does_not_count(run: RunDirectory, examination: Examination, text: str) -> None:
    run.evaluation("test").write_bytes(text.encode("latin-1"))
    assert examination.kept(run) is None


def test_figures_of_another_corpus_do_not_count(run: RunDirectory, examination: Examination, tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("prompt\treply\n" + "Hello.\tHello.\n" * 3)
    one = dataclasses.replace(examination, split=None, corpus=str(tmp_path / "one.tsv"))
    figures, replies = one.examine(run)
    assert (figures["split"], figures["pairs"], len(replies["greedy"])) == ("all", 3, 3)
    assert one.keep(run, figures) == run.path / "evaluation-all.json"
    assert one.kept(run) == figures
    assert dataclasses.replace(one, corpus=str(tmp_path / "two.tsv")).kept(run) is None
    assert examination.kept(run) is None


def test_figures_of_other_weights_do_not_count(run: RunDirectory, examination: Examination) -> None:
    examination.keep(run, examination.examine(run)[0])
    checkpoint = run.load_chosen()
    before = checkpoint.digest()
    checkpoint.model["encoder.embedding.weight"][5, 3] += 1e-6
    assert checkpoint.digest() != before
    checkpoint.save(run.best)
    assert examination.kept(run) is None


def test_a_digest_is_of_what_replies_depend_on(run: RunDirectory) -> None:
    checkpoint = run.load_chosen()
    digest = checkpoint.digest()
    assert len(digest) == 64
    copy = dataclasses.replace(checkpoint, prompts=[], training=None, perplexity=None)
    assert copy.digest() == digest
    others = [dataclasses.replace(checkpoint, step=1), dataclasses.replace(checkpoint, config=Config())]
    assert len({digest, *(other.digest() for other in others)}) == 3


def test_a_run_that_moved_keeps_its_figures_and_needs_no_corpus(
    run: RunDirectory, examination: Examination, tmp_path: Path
) -> None:
    figures, _ = examination.examine(run)
    examination.keep(run, figures)
    moved = RunDirectory(Path(shutil.move(run.path, tmp_path / "moved")))
    known = dataclasses.replace(examination, data_dir=tmp_path / "nowhere").kept(moved)
    assert known == figures | {"run": str(moved.path)}


def test_a_corpus_that_changed_is_said(run: RunDirectory, examination: Examination) -> None:
    checkpoint = run.load_chosen()
    checkpoint.vocabulary = Vocabulary([*checkpoint.vocabulary.tokens[:-1], "zyzzyva"])
    checkpoint.save(run.best)
    with pytest.raises(ChatbotError, match="its vocabulary differs"):
        examination.examine(run)


def test_turns_and_unknown_words_are_spelled_out() -> None:
    vocabulary = Vocabulary.from_words(["i", "'m", "fine", "."], unknown=True, separator=True)
    spell = functools.partial(readable, vocabulary, TOKENIZERS["english"])
    assert spell(vocabulary.encode(["i", "'m", "robin", ".", "<sep>", "fine", "."])) == "I'm <unk>. / Fine."
    assert spell([]) == ""


def test_evaluate_on_the_command_line(run: RunDirectory, data_dir: Path, tmp_path: Path) -> None:
    places = ["--data-dir", data_dir, "--checkpoints-dir", run.path.parent, "--device", "cpu"]
    out = tmp_path / "replies.tsv"
    arguments = ["evaluate", "tiny", *places, "--limit", 25, "--batch-size", 8, "--json", "--out", out]
    done = subprocess.run(
        [sys.executable, "-m", "chatbot", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert figures == read_sealed(run.path / "evaluation-test.json", 1 << 20)
    keys = ("run", "step", "split", "pairs", "tokens", "perplexity", "loss", "token_accuracy", "pairs_per_second")
    assert set(keys) <= set(figures)
    assert figures["rows"]["greedy"]["replies"] == 25
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows[0] == ["prompt", "human", "greedy", "default"]
    assert len(rows) == 26
    bot = Chatbot.load(run.path)
    assert [bot.reply(prompt) for prompt, *_ in rows[1:] if "<unk>" not in prompt] == [
        greedy for prompt, _, greedy, _ in rows[1:] if "<unk>" not in prompt
    ]
    lines = done.stderr.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 100
    for name in ("perplexity", "token accuracy", "greedy", "human replies", "random reply", "most frequent"):
        assert any(name in line for line in lines), name


def test_runs_are_compared_and_scored_only_where_need_be(
    run: RunDirectory, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.path, run.path.parent / "other")
    places = ["--data-dir", str(data_dir), "--checkpoints-dir", str(run.path.parent), "--device", "cpu"]
    compare = ["evaluate", "--compare", "tiny", "other", "--json", *places]
    assert main(compare) == 0
    captured = capsys.readouterr()
    assert captured.err.count("wrote ") == 2
    assert captured.err.splitlines()[2].split() == ["split", "test", "tiny", "other"]
    first = json.loads(captured.out)
    assert first["split"] == "test"
    assert [Path(figures["run"]).name for figures in first["runs"]] == ["tiny", "other"]
    one, other = (figures["rows"]["greedy"] | {"pairs_per_second": 0} for figures in first["runs"])
    assert one == other

    assert main(compare) == 0
    captured = capsys.readouterr()
    assert "wrote" not in captured.err
    assert json.loads(captured.out) == first

    best = run.load_chosen()
    best.step += 1
    best.save(run.best)
    assert main(compare) == 0
    captured = capsys.readouterr()
    assert captured.err.count("wrote ") == 1
    assert json.loads(captured.out)["runs"][0]["step"] == best.step


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--compare", "tiny"], "two runs or more"),
        (["tiny", "--compare", "tiny", "tiny"], "neither another RUN"),
        (["--compare", "tiny", "tiny", "--out", "x.tsv"], "nor --out"),
        (["--compare", "tiny", "missing"], "'missing'"),
    ],
)
def test_mistakes_of_a_comparison_are_one_line(
    arguments: list[str], says: str, run: RunDirectory, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--data-dir", str(data_dir), "--checkpoints-dir", str(run.path.parent)]
    assert main(["evaluate", *arguments, *places]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("chatbot: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert not run.evaluation("test").exists()


@pytest.mark.parametrize("flag", [["--limit", "-1"], ["--batch-size", "0"], ["--limit", "many"], ["--compare"]])
def test_a_wrong_number_is_one_line(flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *flag])
    assert left.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_reranking_wants_several_candidates_and_opens_the_other_run_once(
    run: RunDirectory, examination: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RunDirectory(run.path.parent / "backward")
    shutil.copytree(run.path, other.path)
    best = other.load_chosen()
    model = dataclasses.replace(best.config.model, direction="backward")
    dataclasses.replace(best, config=dataclasses.replace(best.config, model=model)).save(other.best)
    opened: list[Path] = []
    load = RunDirectory.load_chosen
    monkeypatch.setattr(RunDirectory, "load_chosen", lambda self: opened.append(self.path) or load(self))
    with pytest.raises(ChatbotError, match=r"one reply to choose from by greedy.*--decodings beam"):
        dataclasses.replace(examination, backward=other).examine(run)
    reranked = dataclasses.replace(examination, backward=other, decodings=["greedy", "beam"], limit=4)
    assert reranked.kept(run) is None
    figures, _ = reranked.examine(run)
    reranked.keep(run, figures)
    assert reranked.kept(run) == figures
    assert opened.count(other.path) == 1
