"""Tables that fit the screen and say what the figures say."""

from pathlib import Path
from typing import Any

import pytest

from chatbot.evaluation.replies import figures
from chatbot.evaluation.scoreboard import FIGURES, WIDTH, save_replies, side_by_side, table, warnings
from chatbot.system.errors import ChatbotError

BROKEN = {"greedy": [True, False, False, False], "beam": [False] * 4, "human": [False] * 4}


def evaluation(run: str = "checkpoints/one", data: str = "sample-1", **changes: Any) -> dict[str, Any]:
    replies = [["i", "am", "fine"], ["no"], ["no"], []]
    rows = {
        name: figures(replies, [["no"]] * 4, {("no",): 0.25}, {("no",)}, speed, " ".join, BROKEN.get(name, ()))
        for name, speed in [("greedy", 12_345.6), ("beam", 7.0), ("human", None), ("random", None), ("frequent", None)]
    }
    rows["frequent"]["distinct_1"] = 0.00047
    return {
        **{"run": run, "step": 1500, "split": "test", "data": data, "pairs": 40_000, "tokens": 300_000},
        **{"perplexity": 31.416, "loss": 3.447, "token_accuracy": 0.3816, "pairs_per_second": 2345.6},
        "sources": {"sample": {"pairs": 40_000, "perplexity": 31.416, "token_accuracy": 0.3816}},
        "rows": rows,
        **changes,
    }


def test_the_table_has_a_column_for_each_row_and_fits() -> None:
    lines = table(evaluation()).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[0] == "checkpoints/one, step 1500, 40,000 pairs of the split test:"
    assert [line.split() for line in lines[1:4]] == [
        ["perplexity", "31.42"],
        ["token", "accuracy", "38.2%"],
        ["pairs/s", "2,346"],
    ]
    assert "4 (drawn at random) of these pairs" in lines[5]
    heads = ["greedy", "beam", "human replies", "random reply", "most frequent"]
    assert [head.strip() for head in lines[6].split("  ") if head] == heads
    figures = {line[:24].strip(): line[24:].split() for line in lines[7 : 7 + len(FIGURES)]}
    assert list(figures) == [name for _, name, _ in FIGURES]
    assert {len(cells) for cells in figures.values()} == {5}
    greedy = [cells[0] for cells in figures.values()]
    assert greedy[:6] == ["0.500", "0.500", "0.500", "0.500", "0.8000", "1.0000"]
    assert greedy[6:] == ["1.25", "2.00", "-", "100.0%", "50.0%", "25.0%", "12,346"]
    assert figures["distinct-1"][4] == "4.7e-04"
    assert figures["pairs/s"][2] == "-"
    assert figures["broken English"] == ["25.0%", "0.0%", "0.0%", "-", "-"]
    assert any(line == "beam most often says: no (2), i am fine (1), (nothing) (1)" for line in lines)


def judged(human: tuple[float, int], **shares: tuple[float, int]) -> dict[str, Any]:
    """An evaluation whose rows have these shares of broken English among so many replies."""
    one = evaluation()
    greedy, references = one["rows"]["greedy"], {name: one["rows"][name] for name in ("human", "random", "frequent")}
    one["rows"] = {name: dict(greedy) for name in shares} | references
    for name, (share, count) in {"human": human, **shares}.items():
        one["rows"][name] |= {"broken": share, "judged": count}
    return one


@pytest.mark.parametrize(
    ("human", "greedy", "warned"),
    [
        ((0.02, 5000), (0.029, 5000), False),  # less than a percentage point
        ((0.02, 5000), (0.035, 5000), True),
        ((0.02, 200), (0.035, 200), False),  # a point and a half of so few is chance
        ((0.02, 200), (0.08, 200), True),
        ((0.02, 5000), (0.0, 5000), False),
        ((0.0, 25), (0.04, 25), False),
    ],
)
def test_of_a_decoding_that_breaks_english_more_often_than_people_one_is_warned(
    human: tuple[float, int], greedy: tuple[float, int], warned: bool
) -> None:
    one = judged(human, greedy=greedy, beam=(human[0], 5000))
    line = f"greedy breaks English more often than people: {greedy[0]:.1%} of its replies, {human[0]:.1%} of theirs"
    assert warnings(one) == [line] * warned
    assert table(one).splitlines().count(line) == warned
    two = judged(human, greedy=human) | {"run": "two"}
    assert side_by_side([one, two]).splitlines().count(f"one: {line}") == warned


def test_of_what_was_not_judged_nothing_is_said() -> None:
    assert warnings(evaluation()) == []
    one = judged((0.02, 500), greedy=(0.5, 500))
    assert warnings(one)
    for name in ("human", "greedy"):
        before = one["rows"][name]
        one["rows"][name] = before | {"broken": None, "judged": 0}
        assert warnings(one) == []
        assert "breaks English" not in table(one)
        one["rows"][name] = before


def test_the_corpora_of_a_mixture_have_a_column_each() -> None:
    names = [f"a-corpus-of-a-long-name-{number}" for number in range(6)]
    sources = {name: {"pairs": 1000 + i, "perplexity": 9.5 + i, "token_accuracy": None} for i, name in enumerate(names)}
    lines = table(evaluation(sources=sources)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    heads = [line.split()[3:] for line in lines if line.startswith("of each corpus:")]
    assert [name for head in heads for name in head] == names
    scored = [line.split()[2:] for line in lines if line.strip().startswith("pairs scored")]
    assert [cell for cells in scored for cell in cells] == [f"1,00{i}" for i in range(6)]
    assert "of each corpus:" not in table(evaluation())


def test_all_pairs_answered_is_said() -> None:
    assert "replies to all of these pairs" in table(evaluation(pairs=4))


def test_a_perplexity_beyond_all_bounds_is_a_dash() -> None:
    assert table(evaluation(perplexity=None)).splitlines()[1].split() == ["perplexity", "-"]


def test_runs_stand_side_by_side() -> None:
    one, two = evaluation(), evaluation("elsewhere/two", step=7, perplexity=50.0)
    del two["rows"]["beam"]
    lines = side_by_side([one, two]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].split() == ["split", "test", "one", "two"]
    assert lines[1].split() == ["step", "1,500", "7"]
    assert lines[3].split() == ["perplexity", "31.42", "50.00"]
    beam = lines.index(next(line for line in lines if line.startswith("beam")))
    assert lines[beam].split() == ["beam", "(4)", "(-)"]
    assert lines[beam + 1].split() == ["BLEU-1", "0.500", "-"]
    assert not any("do not compare" in line for line in lines)


def test_runs_of_other_pairs_are_not_compared_silently() -> None:
    assert "do not compare" in side_by_side([evaluation(), evaluation("two", data="sample-2")])


def test_runs_of_one_name_are_told_apart_by_their_paths() -> None:
    text = side_by_side([evaluation("a/one"), evaluation("b/one")])
    assert text.splitlines()[0].split()[2:] == ["a/one", "b/one"]


def test_many_runs_go_below_each_other() -> None:
    lines = side_by_side([evaluation(f"run-number-{number}") for number in range(12)]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    heads = [line.split()[2:] for line in lines if line.startswith("split")]
    assert len(heads) > 1
    assert [name for head in heads for name in head] == [f"run-number-{number}" for number in range(12)]


def test_replies_are_saved_between_tabs(tmp_path: Path) -> None:
    path = tmp_path / "new" / "replies.tsv"
    save_replies(path, {"prompt": ["a\tb", "line\nbreak\u2028here"], "human": ["", "x\r"], "greedy": ["é", " y  z "]})
    assert path.read_bytes().decode() == "prompt\thuman\tgreedy\na b\t\té\nline break here\tx\ty z\n"


def test_replies_that_cannot_be_saved_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ChatbotError, match="cannot write"):
        save_replies(tmp_path / "file" / "replies.tsv", {"prompt": []})
