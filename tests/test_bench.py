"""The benches: one shape for what is measured, tables, the picture, settings that exist, and all of it once (slow)."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))

import ablation
import broken
import finetune
import numpy as np
import preparation
import quality
import results
import training

from chatbot import __version__
from chatbot.config.settings import CorpusConfig
from chatbot.runs.directory import RunDirectory

BENCH = Path(__file__).parent.parent / "bench"


def test_less_time_and_more_of_anything_else_is_better() -> None:
    time = results.line("reply", "ms", 10.0, 30.0, bound=4.0)
    rate = results.line("training", "pairs/s", 30.0, 10.0, bound=40.0)
    assert (time["times_better"], time["of_bound"]) == (3.0, 0.4)
    assert (rate["times_better"], rate["of_bound"]) == (3.0, 0.75)
    absent = results.line("training in bf16", "pairs/s", None, 10.0, note="no such instructions")
    assert (absent["times_better"], absent["of_bound"]) == (None, None)


def test_a_table_is_aligned_markdown_with_nothing_where_nothing_was_measured() -> None:
    rows = [{"name": "reply", "speed": 1234.5}, {"name": "C++", "speed": None}, {"name": "b", "speed": 0.123}]
    assert results.table(rows, {"what": ("name", ""), "speed": ("speed", "short")}).splitlines() == [
        "| what  | speed |",
        "| ----- | ----: |",
        "| reply | 1,234 |",
        "| C++   |       |",
        "| b     |  0.12 |",
    ]


def test_what_is_written_says_where_and_of_what_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.json"
    assert results.read(path) == {}
    results.write(path, "speed", rows=[1, 2])
    found = results.read(path)
    assert (found["bench"], found["rows"]) == ("speed", [1, 2])
    assert found["machine"]["cores"] >= 1
    assert found["versions"]["torch"]
    assert {"date", "commit", "dirty", "arguments", "box"} <= set(found)
    assert found["version"] == __version__
    assert [file.name for file in path.parent.iterdir()] == ["speed.json"]


def test_the_list_of_what_is_kept_is_that_of_the_files_and_marks_older_versions(tmp_path: Path) -> None:
    listed = (BENCH / "results" / "README.md").read_text()
    assert listed == results.listing(), "python bench/results.py > bench/results/README.md"
    results.write(tmp_path / "new.json", "speed")
    old = results.read(tmp_path / "new.json") | {"version": "0.0.1", "machine": None}
    (tmp_path / "old.json").write_text(json.dumps(old))
    rows = [line for line in results.listing(tmp_path).splitlines() if line.startswith("| `")]
    assert ["**older**" in row for row in rows] == [False, True]
    assert "not recorded" in rows[1]


def test_no_argument_tells_where_a_file_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--corpus", "/home/somebody/films", "--steps", "3"])
    assert results.circumstances()["arguments"] == ["--corpus", "films", "--steps", "3"]


def test_readers_and_scores_agree_by_ranks() -> None:
    odd, readers = np.array([3.0, 1.0, 2.0, 2.0, 9.0]), np.array([1.0, 0.0, 0.0, 0.5, 1.0])
    # ranks 4 1 2.5 2.5 5 and 4.5 1.5 1.5 3 4.5: of their products, from the means, 8.25 over sqrt(9.5 * 9)
    assert broken.spearman(odd, readers) == pytest.approx(8.25 / (9.5 * 9) ** 0.5)
    assert broken.spearman(odd, -odd) == pytest.approx(-1)
    # of the six comparisons of 3, 2 and 9 with 1 and 2, five are right and one is a tie
    assert broken.area_under_curve(odd, readers >= 0.5) == pytest.approx(5.5 / 6)
    assert np.isnan([broken.spearman(odd, np.ones(5)), broken.area_under_curve(odd, readers >= 0)]).all()
    assert [broken.broken_share(mark) for mark in (-1, 0, 2, [-1, 0, -1, 1])] == [1, 0, 0, 0.5]


def test_marks_are_read_beside_every_score(excerpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"reply": "I don't know.", "mark": 1, "from": "greedy"},
        {"reply": "What do you think?", "mark": [2, 2], "from": "greedy"},
        {"reply": "I the you of the.", "mark": [-1, 0, -1], "from": "sample"},
        {"reply": "You're. You the", "mark": -1, "from": "sample"},
    ]
    (tmp_path / "marks.json").write_text(json.dumps(rows))
    broken.main([str(tmp_path / "marks.json"), "--corpus", str(excerpt), "--data-dir", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 replies, 2 of them broken by most readers"
    assert lines[2].split()[-3:] == ["1.000", "100%", "0.0%"]  # the figure's own
    assert sum(line.startswith("Kneser-Ney") for line in lines) == 6
    assert lines[-2].split() == ["greedy", "2", "0.0%", "0.0%"]
    assert lines[-1].split() == ["sample", "2", "83.3%", "100.0%"]


def test_every_row_of_the_ablation_changes_the_recipe_in_its_own_way() -> None:
    corpus = CorpusConfig()
    configs = [quality.changed(corpus, [*ablation.common(8, 16), *changes]) for changes in ablation.PARTS.values()]
    assert not ablation.PARTS["the default recipe"]
    assert len({json.dumps(config.to_dict()) for config in configs}) == len(ablation.PARTS)
    assert all((config.model.hidden_size, config.training.steps) == (16, 8) for config in configs)


@pytest.mark.parametrize(
    ("arguments", "unit", "shares"),
    [
        ([], "minutes", ("200", "50", "1/4.0", "100")),
        (["--step-cost", "0.5"], "steps of the tutorial's", ("200", "25", "1/8.0", "50")),
    ],
)
def test_curves_are_compared_by_time_or_by_what_a_step_costs(
    arguments: list[str],
    unit: str,
    shares: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def points(*values: tuple[int, float]) -> list[dict[str, float]]:
        return [{"step": step, "seconds": 60.0 * step, "valid": valid, "test": valid} for step, valid in values]

    curves = {"a": {"points": points((100, 9), (200, 8))}, "b": {"points": points((50, 8), (100, 6)), "test": 6}}
    for name, curve in curves.items():
        (tmp_path / name).write_text(json.dumps(curve))
    monkeypatch.setattr(sys, "argv", ["quality.py", "compare", str(tmp_path / "a"), str(tmp_path / "b"), *arguments])
    quality.main()
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith(f"best valid 8.00 (test 8.00) after {shares[0]} {unit}")
    assert second == f"ours: 8.00 after {shares[1]} {unit}, {shares[2]} of that time"
    assert f"(25.0% lower) after {shares[3]} {unit}, test 6.00 (25.0% lower)" in third


def test_the_picture_is_drawn_from_two_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    points = [{"step": i, "spent": 1.0 * i, "valid": 30 + 100 / i, "test": 30.0} for i in range(1, 9)]
    for name in ("tutorial", "ours"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"recipe": name, "test": 29.0, "points": points}))
    files = [tmp_path / "tutorial.json", tmp_path / "ours.json"]
    quality.draw(*(json.loads(file.read_text()) for file in files), "minutes", tmp_path / "new" / "quality.svg")
    drawn = (tmp_path / "new" / "quality.svg").read_text()
    assert drawn.count("<svg") == 1
    quality.draw(*(json.loads(file.read_text()) for file in files), "minutes", tmp_path / "quality.png")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "quality.png").stat().st_size < 100_000


def test_generated_files_are_a_corpus_of_the_cornell_format(tmp_path: Path) -> None:
    folder = preparation.generate_cornell(tmp_path / "films", 40)
    spoken = (folder / "movie_lines.txt").read_text().splitlines()
    talks = (folder / "movie_conversations.txt").read_text().splitlines()
    assert len(talks) == 40
    names = [name for talk in talks for name in json.loads(talk.split(" +++$+++ ")[3].replace("'", '"'))]
    assert names == [line.split(" +++$+++ ")[0] for line in spoken]
    assert len(set(names)) == len(names)
    assert all(line.split(" +++$+++ ")[4].strip() for line in spoken)


def test_the_operations_of_a_step_grow_with_the_words_and_not_with_padding() -> None:
    def operations(*batch: tuple[list[int], list[int]], saves: bool = False) -> float:
        return training.floating_operations(list(batch), 100, saves=saves)

    short, long = ([5], [5, 6]), ([5, 6, 7], [5] * 6)
    assert operations(short, long) == operations(long) + operations(short)
    # of words that are all different only the first states are saved, two layers and directions of one a prompt
    states = 6.0 * 4 * 3 * training.HIDDEN**2
    assert operations(long, saves=True) == operations(long) - states
    word = 6.0 * 2 * 3 * training.HIDDEN**2  # two directions of the first layer
    assert operations(short, long, saves=True) == operations(short, long) - 2 * states - word


@pytest.mark.slow
def test_everything_is_measured_and_stands_in_one_table(trained: RunDirectory, tmp_path: Path) -> None:
    # the two that take long, training at the tutorial's sizes, are left out
    names = ["preparation", "inference", "answering", "scaling"]
    command = [sys.executable, BENCH, "--quick", "--run", trained.path, "--out", tmp_path, "--only", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: results.read(tmp_path / f"{name}.json") for name in names}
    for name, measured in found.items():
        assert measured["bench"] == name
        for line in measured["table"]:
            assert line["what"] in done.stdout
            assert (line["ours"] or 0) > 0 or line["note"], line
    again = subprocess.run([*command[:2], "--markdown", "--out", tmp_path], capture_output=True, text=True, check=True)
    assert again.stdout.strip()
    assert again.stdout in done.stdout
    rows = {row["variant"]: row for row in found["inference"]["rows"]}
    assert rows["torchscript"]["equal_tokens"] == rows["onnx"]["equal_tokens"] == 1


@pytest.mark.slow
def test_the_bench_of_a_gpu_runs_in_miniature_without_one(tmp_path: Path) -> None:
    command = [sys.executable, BENCH / "gpu.py", "--device", "cpu", "--json", tmp_path / "gpu.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results.read(tmp_path / "gpu.json")
    assert len(found["checks"]) == 4
    assert all(check["passed"] for check in found["checks"])
    assert [row["variant"].split(", ")[-1] for row in found["steps"]] == ["tutorial", "eager", "graph"]
    assert all(row["pairs_per_second"] > 0 for row in found["steps"])
    assert {(row["decoding"], row["at_once"]) for row in found["replies"]} == {
        (decoding, size) for decoding in ("greedy", "default") for size in (1, 4)
    }
    assert [row["perplexity"] > 1 for row in found["trainings"]] == [True]
    assert found["left_out"] == []
    for row in found["steps"]:
        assert row["variant"] in done.stdout


def test_training_on_is_compared_with_the_better_of_both_from_scratch() -> None:
    def training(recipe: str, *points: tuple[int, float, bool]) -> dict[str, Any]:
        looks = [{"step": step, "held_out": held_out, "kept": kept} for step, held_out, kept in points]
        return {"cell": "chats-300", "recipe": recipe, "points": looks}

    trainings = [
        training("default", (10, 300.0, True), (20, 200.0, False), (30, 210.0, True)),
        training("sample", (10, 250.0, True), (20, 240.0, True)),
        training("bot", (0, 160.0, True), (10, 145.0, True), (20, 120.0, True), (30, 110.0, False)),
    ]
    costs = {"chats-300": {"default": 0.5, "sample": 0.1, "bot": 0.25}}
    default, sample, bot = finetune.compared(trainings, costs)
    assert (default["perplexity"], default["step"], default["seconds"]) == (200.0, 20, 10.0)
    assert (sample["perplexity"], sample["seconds"]) == (240.0, 2.0)
    # of its own looks that which its own validation pairs chose
    assert (bot["perplexity"], bot["step"], bot["seconds"]) == (120.0, 20, 5.0)
    assert bot["beside"] == pytest.approx(-0.4)
    assert (bot["of_time"], bot["passed"]) == (0.5, 2.5)


def test_every_network_is_scored_by_the_mixture_that_is_best_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    likely = torch.tensor([0.5, 0.25, 0.0, 0.125])
    corpus = finetune.Corpus("chats-300", Path(), [], common=1000)
    monkeypatch.setattr(finetune.Corpus, "likelihoods", lambda *_: likely)
    found = corpus.perplexity(None, None)  # type: ignore[arg-type]
    shares = [e / 100 for e in range(1, 50)]
    tried = [math.exp(-sum(math.log((1 - e) * p + e / 1000) for p in likely.tolist()) / 4) for e in shares]
    assert found == pytest.approx(min(tried), rel=0.01)
