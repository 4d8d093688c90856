"""Messages become dialogues: those without names, their times in every writing, and what privacy leaves of them."""

import datetime
import json
from collections import Counter
from pathlib import Path
from typing import Any, SupportsIndex

import pytest
from test_chats import account_of
from test_formats import read

from chatbot.corpus.formats.moments import moment
from chatbot.corpus.formats.privacy import Privacy

TEXTS = ["Did the speaker fall?", "Yes, speaker 2 fell.", "Oh.", "It works."]


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_messages_without_names_take_turns_and_lose_no_word(tmp_path: Path, kind: str) -> None:
    records = [{"text": text, "date": f"2024-01-01T10:0{i}:00"} for i, text in enumerate(TEXTS)]
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        lines(path, records)
    elif kind == "json":
        path.write_text(json.dumps(records))
    elif kind == "csv":
        rows = [f'1,"{record["text"]}",{record["date"]}' for record in records]
        path.write_text("\n".join(["conversation_id,text,date", *rows]))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    said, account = account_of(path)
    assert said == [TEXTS]
    assert account.speakers == {}
    assert account.left_out == {}


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_messages_of_another_conversation_are_no_replies(tmp_path: Path, kind: str) -> None:
    said = [("1", 0, "Hi_comma_ you?"), ("1", 1, "Good."), ("2", 2, "Rain?"), ("2", 3, "No."), ("2", 3, "Really.")]
    records = [{"conv_id": talk, "speaker_idx": who, "utterance": text} for talk, who, text in said]
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        path.write_text("conv_id,speaker_idx,utterance\n" + "".join(f"{t},{w},{u}\n" for t, w, u in said))
    elif kind == "json":
        path.write_text(json.dumps(records))
    else:
        lines(path, records)
    assert account_of(path)[0] == [["Hi, you?", "Good."], ["Rain?", "No. Really."]]


def test_what_speakers_without_a_name_are_called_is_nobodys_name(tmp_path: Path) -> None:
    said = [("user", "Is the assistant a bot, Ann?"), ("assistant", "The user asks: no."), ("Ann", "A bot, Ann!")]
    path = lines(tmp_path / "a.jsonl", [{"sender": who, "text": text, "ts": i} for i, (who, text) in enumerate(said)])
    assert account_of(path)[0] == [["Is the assistant a bot?", "The user asks: no.", "A bot!"]]


STAMPS = [  # four messages; the last is days later
    ["2024-01-31T10:00:00Z", "2024-01-31T10:01:00+02:00", "2024-01-31 10:02", "2024-02-02T10:00:00.123456789Z"],
    [1706695200, 1706695260, 1706695320.5, 1706868000],
    ["1706695200000", "1706695260000", "1706695320000", "1706868000000"],
    ["31/01/2024 22:00", "31/01/2024 22:01", "31/01/2024 22:02", "02/02/2024 10:00"],
    ["1/31/24, 10:00 PM", "1/31/24, 10:01 PM", "1/31/24, 10:02 PM", "2/2/24, 10:00 AM"],
    ["31.01.2024 22:00:01", "31.01.2024 22:01:01", "31.01.2024 22:02:01", "02.02.2024 10:00:01"],
    ["31-Jan-24 10:00 PM", "31-Jan-24 10:01 PM", "31-Jan-24 10:02 PM", "02-Feb-24 10:00 AM"],
    [
        *(f"Wednesday, January 31, 2024 at 9:0{i}:00 PM UTC" for i in "012"),
        "Friday, February 2, 2024 at 9:00:00 PM UTC",
    ],
    [*(f"Wed Jan 31 10:0{i}:00 +0000 2024" for i in "012"), "Fri Feb  2 10:00:00 2024"],
]


@pytest.mark.parametrize("stamps", STAMPS)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_pause_is_seen_however_times_are_written(tmp_path: Path, kind: str, stamps: list[Any]) -> None:
    records = [
        {"author": "ab"[i % 2], "date": stamp, "content": text}
        for i, (stamp, text) in enumerate(zip([*stamps, stamps[-1]], [*"vwxyz"], strict=True))
    ]
    path = lines(tmp_path / "a.jsonl", records)
    if kind == "csv":
        path = tmp_path / "a.csv"
        rows = [f'{record["author"]},"{record["date"]}",{record["content"]}' for record in records]
        path.write_text("\n".join(["author,date,content", *rows]))
    said, account = account_of(path)
    assert said == [["v", "w", "x"], ["y", "z"]]
    assert any("a pause of 6 hours" in layout for layout in account.layouts)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_a_pause_is_seen_in_parquet(tmp_path: Path, unit: str, zone: str | None) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    scale = {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
    times = [(1706695200 + 60 * i + 90_000 * (i > 2)) * 10**scale + (unit == "ns") for i in range(5)]
    columns = {"author": [*"ababa"], "content": [*"vwxyz"]}
    table = pyarrow.table({**columns, "date": pyarrow.array(times, pyarrow.timestamp(unit, zone))})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert account_of(tmp_path / "a.parquet")[0] == [["v", "w", "x"], ["y", "z"]]


def test_times_that_are_none_and_times_that_mean_the_same() -> None:
    for value in (None, True, "", "soon", "31/31/2024", "25:00", -1, float("nan"), float("inf"), 10**400, [], "9" * 23):
        assert moment(value) is None, value
    day = datetime.date(2024, 1, 31)
    assert moment(day) == moment("2024-01-31") == moment("31/01/2024") == moment("January 31, 2024") == 1706659200


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_what_is_left_out_at_the_head_of_a_file_is_counted_once(tmp_path: Path, kind: str) -> None:
    record = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": "Hi."},
        ]
    }
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist([record] * 3), path)
    else:
        path.write_text(json.dumps([record] * 3) if kind == "json" else (json.dumps(record) + "\n") * 3)
    account = read(path)[2]
    assert account.left_out == {"turns of the system or of tools": 3}
    assert account.speakers == {"user": 3, "assistant": 3}


@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("Ann-Marie O'Neill", "Ann-Marie O'Neill's hat, O'Neill, Neill", "hat, Neill"),
        ("ann99", "ann99 and ann", "and ann"),
        ("Bob B", "so, @Bob B? or bob or B", "so? or or B"),
        ("Customer A", "the customer a, you", "the customer a, you"),
        ("Will Frost", "Will you ask Will about FROST and frost's?", "Will you ask about and?"),
        ("王伟", "你好王伟，你好吗？", "你好，你好吗？"),
        ("田中さくら", "ねえ田中さくら来て", "ねえ来て"),
        ("김민수", "김민수야 안녕", "야 안녕"),
        ("Анна", "Привет, Анна!", "Привет!"),
        ("はな", "はなしましょう", "はなしましょう"),
        ("Bob", "bobsled, Bobby, @bob: hi (Bob)", "bobsled, Bobby: hi"),
    ],
)
def test_names_are_left_out_and_words_that_hold_them_are_not(name: str, text: str, left: str) -> None:
    assert Privacy([name], Counter()).clean(text) == left


def test_a_name_of_two_words_counts_once_and_one_that_is_a_word_is_kept_where_a_sentence_begins() -> None:
    left_out = Counter[str]()
    assert Privacy(["Ann Lee", "Will"], left_out).clean("I saw Ann Lee. @Will you? @ Will") == "I saw. @Will you?"
    assert left_out["names"] == 2


@pytest.mark.parametrize("name", ["N{}", "Ann {}", "王{}"])
def test_a_text_takes_no_longer_where_there_are_many_speakers(name: str) -> None:
    class Counted(str):
        looked_at = 0

        def __getitem__(self, place: SupportsIndex | slice) -> str:
            Counted.looked_at += 1
            return super().__getitem__(place)

    chinese = [chr(0x4E00 + i) + chr(0x5E00 + i) for i in range(6000)]
    names = [name.format(second if "王" in name else i) for i, second in enumerate(chinese)]
    clean = Privacy([*names, "Zoe Zimmermann"], Counter()).clean
    assert clean(Counted("I told Zoe Zimmermann and N12 (not N) and 王")) == (
        "I told and (not N) and 王" if name == "N{}" else "I told and N12 (not N) and 王"
    )
    assert clean(f"{names[-1]} {names[7]} hello") == "hello"
    assert 0 < Counted.looked_at < 60
