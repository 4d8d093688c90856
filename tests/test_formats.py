"""Every format from a small file, and every kind of damage to one."""

import csv
import gzip
import itertools
import json
import struct
import time
import weakref
import zipfile
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chat.conversation import transcribe
from chatbot.config import settings as config
from chatbot.corpus import inputs, reading
from chatbot.corpus.formats import delimited
from chatbot.corpus.formats.dialogue import MAX_TURNS, Dialogue, in_pieces
from chatbot.corpus.formats.recognise import READERS, dialogues, recognise
from chatbot.corpus.inputs import input_files
from chatbot.corpus.reading import Reading
from chatbot.system.errors import ChatbotError

SEPARATOR = " +++$+++ "


def read(path: Path, format: str = "auto", **reading: Any) -> tuple[str, list[Dialogue], Reading]:
    found, _ = input_files(path)
    format, files = recognise(found, format, str(path))
    account = Reading(**reading)
    return format, list(dialogues(format, files, account)), account


def turns(path: Path, format: str = "auto") -> list[list[str | None]]:
    return [dialogue.turns for dialogue in read(path, format)[1]]


def complaints(account: Reading) -> list[tuple[str, int, str]]:
    return [(Path(bad.file).name, bad.line, bad.reason) for bad in account.examples]


def cornell(folder: Path, lines: list[tuple[str, str]], talks: list[list[str]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "movie_lines.txt").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(SEPARATOR.join((id, "u0", "m0", "ANN", text)) + "\n" for id, text in lines)
    with (folder / "movie_conversations.txt").open("w", newline="\n") as file:
        file.writelines(SEPARATOR.join(("u0", "u1", f"m{i}", str(ids))) + "\n" for i, ids in enumerate(talks))
    return folder


LINES = [("L2", "Hi."), ("L1", "Hello?"), ("L3", "How are you?"), ("L4", "Fine.")]
TALKS = [["L1", "L2"], ["L3", "L4"]]
SAID = [["Hello?", "Hi."], ["How are you?", "Fine."]]


def convokit(path: Path, utterances: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(utterance) + "\n" for utterance in utterances))
    return path


def utterance(id: str, talk: str, parent: str | None, text: str, film: str = "m1") -> dict[str, Any]:
    return {"id": id, "conversation_id": talk, "reply-to": parent, "text": text, "meta": {"movie_id": film}}


# recognition, and what each format gives


def test_every_format_can_be_asked_for() -> None:
    assert set(config.FORMATS) == {"cornell", "parallel", *READERS}


def test_cornell_folder(tmp_path: Path) -> None:
    folder = cornell(tmp_path / "a" / "deeper", LINES, TALKS)
    (folder / "README.txt").write_text("about the corpus")
    (folder / "movie_titles_metadata.txt").write_text(f"m0{SEPARATOR}10 things\n")
    format, found, account = read(tmp_path / "a")
    assert format == "cornell"
    assert [talk.turns for talk in found] == SAID
    assert [(talk.film, talk.key) for talk in found] == [("m0", "L1"), ("m1", "L3")]
    assert (account.records, account.bad) == (6, 0)
    assert turns(folder / "movie_lines.txt") == SAID


def test_cornell_zip_is_read_in_place(tmp_path: Path) -> None:
    folder = cornell(tmp_path / "a", LINES, TALKS)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("movie_lines.txt", "movie_conversations.txt"):
            archive.write(folder / name, f"cornell movie-dialogs corpus/{name}")
            archive.writestr(f"__MACOSX/cornell movie-dialogs corpus/._{name}", b"\0\1")
    assert turns(tmp_path / "a.zip") == SAID


def test_a_missing_half_of_cornell_is_named(tmp_path: Path) -> None:
    cornell(tmp_path, LINES, TALKS)
    (tmp_path / "movie_lines.txt").unlink()
    with pytest.raises(ChatbotError, match=r"must hold both movie_lines\.txt and"):
        read(tmp_path)


@pytest.mark.parametrize("keys", ["new", "old"])
def test_convokit_rebuilds_the_order_by_who_replies_to_whom(tmp_path: Path, keys: str) -> None:
    said = [
        utterance("L3", "L1", "L2", "three"),
        utterance("L2", "L1", "L1", "two"),
        utterance("L9", "L8", "L8", "nine"),
        utterance("L1", "L1", None, "one"),
        utterance("L8", "L8", None, "eight"),
    ]
    if keys == "old":
        for one in said:
            one["root"], one["reply_to"] = one.pop("conversation_id"), one.pop("reply-to")
    path = convokit(tmp_path / "corpus" / "utterances.jsonl", said)
    (tmp_path / "corpus" / "speakers.json").write_text("{}")
    format, found, _ = read(path.parent)
    assert format == "convokit"
    assert [(talk.film, talk.key, talk.turns) for talk in found] == [
        ("m1", "L1", ["one", "two", "three"]),
        ("m1", "L8", ["eight", "nine"]),
    ]


def pairs(found: list[Dialogue]) -> list[tuple[str | None, str | None]]:
    return [(t.turns[i], t.turns[i + 1]) for t in found for i in range(t.start, len(t.turns) - 1)]


def test_convokit_tree_gives_every_exchange_once(tmp_path: Path) -> None:
    parents = {"b": "a", "c": "b", "d": "b", "e": "d", "f": "a"}
    said = [utterance(id, "a", parents.get(id), id) for id in "abcdef"]
    _, found, account = read(convokit(tmp_path / "utterances.jsonl", said))
    assert sorted(pairs(found)) == sorted((parent, child) for child, parent in parents.items())  # type: ignore[type-var]
    assert [talk.turns for talk in found if "e" in talk.turns] == [["a", "b", "d", "e"]]
    assert account.bad == 0


def test_conversations_of_convokit_come_in_the_order_they_began(tmp_path: Path) -> None:
    said = [utterance(str(i), talk, str(i - 3) if i > 2 else None, f"{talk} {i}") for i, talk in enumerate("bacbac")]
    _, found, _ = read(convokit(tmp_path / "utterances.jsonl", said))
    assert [talk.turns for talk in found] == [["b 0", "b 3"], ["a 1", "a 4"], ["c 2", "c 5"]]


def test_many_conversations_of_convokit_take_time_in_proportion(tmp_path: Path) -> None:
    said = [
        utterance(f"{talk} {i}", str(talk), f"{talk} 0" if i else None, "hi") for i in (0, 1) for talk in range(20_000)
    ]
    path = convokit(tmp_path / "utterances.jsonl", said)
    began = time.process_time()
    assert len(read(path)[1]) == 20_000
    assert time.process_time() - began < 20  # where it grew with the square it took minutes


@pytest.mark.parametrize("parent", [None, "a", "b"])
def test_an_id_that_comes_twice_is_damage_and_ends(tmp_path: Path, parent: str | None) -> None:
    said = [utterance("a", "t", None, "one"), utterance("a", "t", parent, "again"), utterance("b", "t", "a", "two")]
    _, found, account = read(convokit(tmp_path / "utterances.jsonl", said))
    assert [talk.turns for talk in found] == [["one", "two"]]
    assert complaints(account) == [("utterances.jsonl", 2, "an id that comes twice: a")]


def test_convokit_damage(tmp_path: Path) -> None:
    said = [
        utterance("a", "a", None, "one"),
        utterance("b", "a", "gone", "two"),
        utterance("c", "a", "b", "three"),
        utterance("x", "x", "y", "round"),
        utterance("y", "x", "x", "and round"),
        {"id": "z", "text": 5, "conversation_id": "z"},
        utterance("s", "s", None, "half \ud800 a pair"),
        utterance("t", "s", "s", "yes"),
    ]
    _, found, account = read(convokit(tmp_path / "utterances.jsonl", said))
    assert pairs(found) == [("two", "three"), ("half ? a pair", "yes")]
    assert complaints(account) == [
        ("utterances.jsonl", 6, "no id, text and conversation_id"),
        ("utterances.jsonl", 2, "a reply to an utterance that is unknown: gone"),
        ("utterances.jsonl", 5, "replies in a circle in conversation x"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "Hello?\tHi.\nHow are you?\tFine.\n"),
        ("a.txt", "Hello?\tHi.\nHow are you?\tFine.\n"),
        ("a.csv", "Hello?,Hi.\nHow are you?,Fine.\n"),
        ("a.csv", "id,Answer,Question\n1,Hi.,Hello?\n2,Fine.,How are you?\n"),
        ("a.data", "prompt;reply\nHello?;Hi.\nHow are you?;Fine.\n"),
        ("a.tsv", '"Hello?"\tHi.\n"How are\tyou?"\tFine.\n'),
        ("a.csv", 'prompt,reply\nHello?,"Hi."\n"How are\nyou?",Fine.\n'),
        ("a.tsv", "\ufeffHello?\tHi.\r\nHow are you?\tFine.\r\n"),
    ],
)
def test_delimited(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    format, found, account = read(tmp_path / name)
    assert (format, account.bad) == ("delimited", 0)
    assert [[str(turn).replace("\n", " ").replace("\t", " ") for turn in talk.turns] for talk in found] == SAID


@settings(deadline=None, max_examples=300)
@given(st.text('""",;\t|a é\\\r', min_size=1, max_size=12), st.sampled_from(",;\t|"))
def test_quotes_are_told_as_csv_tells_them(line: str, delimiter: str) -> None:
    try:
        next(csv.reader((line + "\n",), delimiter=delimiter, strict=True))
        state = "c"
    except csv.Error as error:
        state = "o" if "unexpected end" in str(error) else "x"
    assert delimited._state(line, delimiter) == state


def test_a_quote_that_never_closes_costs_its_own_line_only(tmp_path: Path) -> None:
    rows = ["a\tb", '"Oh\tno', 'say "x" twice\ty', *[f"p{i}\tr{i}" for i in range(200)]]
    (tmp_path / "a.tsv").write_text("\n".join(rows))
    _, found, account = read(tmp_path / "a.tsv")
    assert [talk.turns for talk in found] == [row.split("\t") for row in rows]
    assert account.bad == 0
    rows = ['a,"b"', '"never, closed', *[f"p{i},r{i}" for i in range(60)]]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    assert turns(tmp_path / "a.csv")[:3] == [["a", "b"], ['"never', " closed"], ["p0", "r0"]]


def test_a_quoted_field_may_hold_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('prompt\treply\na\tb\nc\t"d\ne\nf"\n"g\nh"\ti\n')
    assert turns(tmp_path / "a.tsv") == [["a", "b"], ["c", "d\ne\nf"], ["g\nh", "i"]]


def test_rows_of_another_width_are_damage(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\nc\n\nd\te\tf\ng\th\ni\tj\nk\tl\nm\tn\no\tp\nq\tr\ns\tt\n")
    _, found, account = read(tmp_path / "a.tsv")
    assert len(found) == 8
    assert complaints(account) == [("a.tsv", 2, "not 2 columns but 1"), ("a.tsv", 4, "not 2 columns but 3")]


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": "Hello?", "reply": "Hi."}, {"prompt": "How are you?", "reply": "Fine."}],
        [{"turns": ["Hello?", "Hi."]}, {"turns": [{"text": "How are you?"}, {"text": "Fine."}]}],
        [
            {"messages": [{"role": "system", "content": "Be kind."}, {"content": "Hello?"}, {"content": "Hi."}]},
            {"question": "How are you?", "answer": "Fine."},
        ],
    ],
)
def test_jsonl(tmp_path: Path, rows: list[Any]) -> None:
    (tmp_path / "a.txt").write_text("\n".join(map(json.dumps, rows)))
    assert read(tmp_path / "a.txt")[0] == "jsonl"
    assert turns(tmp_path / "a.txt") == SAID


def test_jsonl_damage(tmp_path: Path) -> None:
    rows = ['{"prompt":"a","reply":"b"}', "{", "[]", '{"prompt":"a"}', '{"turns":["a",1]}', "[" * 100_000]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    _, found, account = read(tmp_path / "a.jsonl")
    assert [talk.turns for talk in found] == [["a", "b"]]
    wrong, no_object = "neither a prompt and a reply nor two or more turns of text", "no JSON object or list"
    assert [bad[1:] for bad in complaints(account)] == [
        (2, no_object),
        (3, wrong),
        (4, wrong),
        (5, wrong),
        (6, no_object),
    ]


@pytest.mark.parametrize("between", ["", "===", "=== talk 2 ===", "  "])
def test_log(tmp_path: Path, between: str) -> None:
    (tmp_path / "a.log").write_text(f"Hello?\nHi.\n{between}\nHow are you?\nFine.\n")
    assert read(tmp_path / "a.log")[0] == "log"
    assert turns(tmp_path / "a.log") == SAID


def test_prose_with_commas_is_a_log(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Hi, you.\nWell, hello.\nSo, what now?\nTea, please.\n")
    assert read(tmp_path / "a.txt")[0] == "log"


def test_dailydialog(tmp_path: Path) -> None:
    (tmp_path / "dialogues_text.txt").write_text(
        "Hello? __eou__ Hi. __eou__\nIt\u2019 s late . __eou__ I don \u2019 t mind . __eou__ OK __eou__\n"
    )
    (tmp_path / "dialogues_act.txt").write_text("1 2\n3 4 1\n")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "dialogues_train.txt").write_text("Hello? __eou__ Hi. __eou__\n")
    assert read(tmp_path)[0] == "dailydialog"
    assert [[str(turn).strip() for turn in talk] for talk in turns(tmp_path)] == [
        ["Hello?", "Hi."],
        ["It\u2019s late .", "I don\u2019t mind .", "OK"],
    ]


def messages(*said: list[str]) -> dict[str, Any]:
    return {"messages": [[{"text": text, "sender": "x"} for text in turn] for turn in said], "prompt": ""}


def test_chitchat_joins_the_messages_of_a_turn(tmp_path: Path) -> None:
    talks = {"k1": messages(["Hello?"], ["Hi.", "You?"], ["Fine."]), "k2": messages(["a!"], ["b:)"])}
    (tmp_path / "dataset.json").write_text(json.dumps(talks, indent=1))
    format, found, _ = read(tmp_path)
    assert format == "chitchat"
    assert [(talk.key, talk.turns) for talk in found] == [
        ("k1", ["Hello?", "Hi. You?", "Fine."]),
        ("k2", ["a!", "b:)"]),
    ]


def test_a_message_of_chitchat_without_a_mark_at_its_end_gets_a_full_stop(tmp_path: Path) -> None:
    talk = messages(["hi there ", "i'm 30"], ["so, am I..."], ["", " "], ["café"], ["(ok)"], ["what?!"])
    (tmp_path / "dataset.json").write_text(json.dumps({"k": talk}))
    assert turns(tmp_path) == [["hi there. i'm 30.", "so, am I...", " ", "café.", "(ok)", "what?!"]]


@pytest.mark.parametrize("text", [None, 7, ["hi"], {"a": "hi"}])
def test_a_message_of_chitchat_that_is_no_text_is_damage(tmp_path: Path, text: object) -> None:
    talks = {"k1": messages(["a"], ["b"]), "k2": {"messages": [[{"text": text}], [{"text": "b"}]]}}
    (tmp_path / "dataset.json").write_text(json.dumps(talks))
    _, found, account = read(tmp_path / "dataset.json")
    assert [talk.turns for talk in found] == [["a.", "b."]]
    assert account.reasons == {"a conversation that is no list of turns of messages": 1}


@pytest.mark.parametrize("chunk", [1 << 20, 7])
def test_chitchat_is_read_piece_by_piece(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatbot.corpus.json_stream.CHUNK", chunk)
    talks = {f"k{i}": messages([f"é{i}"], ["b"]) for i in range(300)}
    (tmp_path / "dataset.json").write_text(json.dumps(talks, ensure_ascii=False), encoding="utf-8")
    assert turns(tmp_path / "dataset.json") == [[f"é{i}.", "b."] for i in range(300)]


def test_chitchat_that_breaks_off_keeps_what_is_whole(tmp_path: Path) -> None:
    whole = json.dumps({"k1": messages(["a"], ["b"]), "k2": {"messages": [[1]]}, "k3": messages(["c"], ["d"])})
    (tmp_path / "dataset.json").write_text(whole[:-60])
    _, found, account = read(tmp_path / "dataset.json")
    assert [talk.turns for talk in found] == [["a.", "b."]]
    assert [reason.split(" after")[0] for _, _, reason in complaints(account)] == [
        "a conversation that is no list of turns of messages: k2",
        "JSON that breaks off or is malformed",
    ]


@given(size=st.integers(2, 1200), start=st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_a_long_conversation_is_cut_without_losing_or_repeating_an_exchange(size: int, start: int) -> None:
    said: list[str | None] = [str(i) for i in range(size)]
    pieces = list(in_pieces(Dialogue("", "", said, start)))
    assert pairs(pieces) == [(str(i), str(i + 1)) for i in range(start, size - 1)]
    assert all(len(piece.turns) <= MAX_TURNS + 21 for piece in pieces)


def test_a_log_without_separators_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("\n".join(f"say {i}" for i in range(1000)))
    _, found, _ = read(tmp_path / "a.log")
    assert pairs(found) == [(f"say {i}", f"say {i + 1}") for i in range(999)]
    assert len(found) > 3


# transcripts


def replies(found: list[Dialogue]) -> list[tuple[str | None, str | None]]:
    """What is learnt: each answer with what stands before it."""
    return [
        (talk.turns[i], talk.turns[i + 1])
        for talk in found
        for i in range(talk.start, len(talk.turns) - 1)
        if talk.answers is None or talk.answers[i + 1]
    ]


@pytest.mark.parametrize("between", ["", "===", "=== talk 2 ===", "  "])
def test_transcript(tmp_path: Path, between: str) -> None:
    text = f"> hello\nHi. How are you?\n> fine\nGood.\n{between}\n> what's  your name? \nRobin.\n"
    (tmp_path / "a.txt").write_text(text)
    format, found, account = read(tmp_path / "a.txt")
    assert format == "transcript"
    assert [talk.turns for talk in found] == [
        ["hello", "Hi. How are you?", "fine", "Good."],
        ["what's  your name?", "Robin."],
    ]
    assert replies(found) == [("hello", "Hi. How are you?"), ("fine", "Good."), ("what's  your name?", "Robin.")]
    assert [(talk.film, talk.key) for talk in found] == [("", "hello"), ("", "what's your name?")]
    assert (account.records, account.bad) == (7, 0)


def test_several_lines_of_one_speaker_are_one_turn(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("> hi\n>  there\nHello!\n How are you?\nI'm Robin.\n> fine\n\n>a\n>\nb\n> c\n")
    found = read(tmp_path / "a.txt")[1]
    assert found[0].turns == ["hi there", "Hello! How are you? I'm Robin.", "fine"]
    assert (found[0].answers, found[0].key) == ([False, True, False], "hi there")
    assert found[1].turns == [">a > b", "c"], "a mark is not a mark without its space"


def test_a_bot_that_speaks_first_answers_nobody_and_does_not_name_the_conversation(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("> a\nb\n\nWelcome!\n> Who are\n> you?\nRobin.\n\nWelcome!\nWelcome back!\n")
    found = read(tmp_path / "a.txt")[1]
    assert replies(found) == [("a", "b"), ("Who are you?", "Robin.")]
    assert [talk.key for talk in found] == ["a", "who are you?"]


def test_what_nobody_answers_is_no_conversation(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("> a\n\n> b\nc\n===\n\n\n> d\n> e\n===\nf\n")
    assert turns(tmp_path / "a.txt") == [["b", "c"]]


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("=== monday\n\n> hi\nHello.\n", "transcript"),
        ("\n> hi, or not\nHello, you.\n> fine; good | bad\nYes, no.\n", "transcript"),
        ("> hi\n> there\n", "log"),
        ("Hello.\n> hi\n", "log"),
        (">hi\nHello.\n", "log"),
        ("> hi\n\0\n", "log"),
    ],
)
def test_a_transcript_begins_with_its_visitor_and_has_answers(tmp_path: Path, text: str, format: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert recognise(input_files(tmp_path / "a.txt")[0], "auto", "a.txt")[0] == format


def test_nothing_of_a_transcript_answers_across_a_damaged_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"> a\nb\n> c\x00\nd\n> e\n\x00f\n\x00\ng\n> h\ni\x00\n\n\x00\n> j\nk\n")
    _, found, account = read(tmp_path / "a.txt")
    assert [talk.turns for talk in found] == [["a", "b", None, "d", "e", None, "g", "h", None], [None, "j", "k"]]
    assert [pair for pair in replies(found) if None not in pair] == [("a", "b"), ("j", "k")]
    assert [talk.key for talk in found] == ["a", "j"]
    assert complaints(account) == [("a.txt", line, "a NUL byte") for line in (3, 6, 7, 10, 12)]


@pytest.mark.parametrize("size", [127, 128, 129, 130, 1000])
def test_a_transcript_without_an_end_is_read_in_pieces_and_each_answer_once(tmp_path: Path, size: int) -> None:
    said = [f"> ask {i}\n> and {i}\nanswer {i}\nand {i}" for i in range(size)]
    (tmp_path / "a.txt").write_text("\n".join(said))
    _, found, _ = read(tmp_path / "a.txt")
    assert replies(found) == [(f"ask {i} and {i}", f"answer {i} and {i}") for i in range(size)]
    assert len(found) == -(-(2 * size - 1) // (MAX_TURNS - 1))
    assert all(len(talk.turns) <= MAX_TURNS + 20 for talk in found)
    assert all(talk.start == 20 for talk in found[1:]), "context, as much as can be asked for"
    assert len({talk.key for talk in found}) == len(found), "pieces are told apart by the split"


@pytest.mark.parametrize("speaker", ["> ", ""])
def test_a_turn_without_an_end_is_damage_and_fills_no_memory(
    tmp_path: Path, speaker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.corpus.formats.transcript.MAX_LINE", 50)
    (tmp_path / "a.txt").write_text(
        f"> a\nb\n> c\nd\n{(speaker + 'words ') * 5}\n" + f"{speaker}on\n" * 500 + "> e\nf\n"
    )
    _, found, account = read(tmp_path / "a.txt")
    kept = [("a", "b"), ("c", "d")] if speaker else [("a", "b"), ("e", "f")]  # what the turn is not a part of
    assert [pair for pair in replies(found) if None not in pair] == kept
    assert account.reasons == {"a turn longer than 50 characters": 1}
    assert len(found) == 1
    assert sum(turn is None for turn in found[0].turns) == 1


@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.text("ab.", min_size=1)), min_size=1), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(deadline=None)
def test_every_answer_is_learnt_once_and_nothing_that_a_visitor_says(
    tmp_path_factory: pytest.TempPathFactory, talks: list[list[tuple[bool, str]]], end: str
) -> None:
    path = tmp_path_factory.mktemp("talks") / "a.txt"
    lines = [line for talk in talks for line in [*(("" if bot else "> ") + text for bot, text in talk), ""]]
    path.write_bytes("".join(line + end for line in lines).encode())
    expected = []
    for talk in talks:
        turns = [
            (bot, " ".join(text for _, text in lines)) for bot, lines in itertools.groupby(talk, lambda one: one[0])
        ]
        expected += [(asked, said) for (_, asked), (bot, said) in itertools.pairwise(turns) if bot]
    assert replies(list(READERS["transcript"].read(input_files(path)[0][0], Reading()))) == expected


def test_what_a_chat_logged_is_a_transcript(tmp_path: Path) -> None:
    said = [("Hello,\n  you", "Hi."), ("=== what?", "> is a mark"), ("how are you?", "I'm fine."), ("> bye", "Bye!")]
    with (tmp_path / "log.txt").open("w") as log:
        for text, reply in said[:1] + said[2:]:
            transcribe(log, text, reply)
    format, found, account = read(tmp_path / "log.txt")
    assert (format, account.bad) == ("transcript", 0)
    assert replies(found) == [("Hello, you", "Hi."), ("how are you?", "I'm fine."), ("> bye", "Bye!")]


# choosing files


def test_several_files_of_one_format_are_read_in_order(tmp_path: Path) -> None:
    for name in ("b.tsv", "a.tsv"):
        (tmp_path / name).write_text(f"{name} asks\treply\n")
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "LICENSE").write_text("words")
    (tmp_path / ".hidden.tsv").write_text("a\tb\n")
    (tmp_path / "empty.tsv").write_text("")
    assert [talk[0] for talk in turns(tmp_path)] == ["a.tsv asks", "b.tsv asks"]


def test_files_of_several_formats_need_a_word_from_the_user(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\n")
    (tmp_path / "b.log").write_text("one\ntwo\n")
    with pytest.raises(ChatbotError, match=r"several formats: .*a\.tsv \(delimited\), .*b\.log \(log\)"):
        read(tmp_path)
    assert turns(tmp_path, "log") == [["a\tb"], ["one", "two"]][1:]


def test_a_format_can_be_forced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ttwo\nthree\tfour\n")
    assert turns(tmp_path / "a.txt", "log") == [["one\ttwo", "three\tfour"]]
    (tmp_path / "b.txt").write_text("one\ntwo\n")
    with pytest.raises(ChatbotError, match="no two columns"):
        read(tmp_path / "b.txt", "delimited")


def test_gzip_is_read_as_it_is(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tsv.gz", "wb") as file:
        file.write(b"Hello?\tHi.\nHow are you?\tFine.\n")
    assert turns(tmp_path / "a.tsv.gz") == SAID


# damage that any format may have


def test_damaged_cornell_lines_are_named_and_cut_the_conversation(tmp_path: Path) -> None:
    lines = [*((f"L{i}", f"say {i}") for i in range(1, 8)), ("L8", " ")]
    folder = cornell(tmp_path, lines, [["L1", "L2", "L99", "L4", "L5"], ["L6", "L7", "L8"]])
    with (folder / "movie_lines.txt").open("a") as file:
        file.write("L9 +++$+++ three fields +++$+++ only\n")
    with (folder / "movie_conversations.txt").open("a") as file:
        file.write("u0 +++$+++ u1 +++$+++ m0 +++$+++ __import__('os').getcwd()\n")
        file.write("u0 +++$+++ u1 +++$+++ m0 +++$+++ [L1, L2]\n\n")
    _, found, account = read(folder)
    assert [talk.turns for talk in found] == [["say 1", "say 2", None, "say 4", "say 5"], ["say 6", "say 7", None]]
    assert complaints(account) == [
        ("movie_lines.txt", 9, "not five fields separated by ' +++$+++ '"),
        ("movie_conversations.txt", 1, "a line id that is unknown: L99"),
        ("movie_conversations.txt", 3, "not three fields and a list of line ids"),
        ("movie_conversations.txt", 4, "not three fields and a list of line ids"),
    ]


def test_nul_bytes_and_endless_lines_are_skipped_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    endless = b"x" * (5 << 20)
    path.write_bytes(b"one\ntwo\n" + endless + b"\nthree\nfo\0ur\nfive\r\nsix" + b"\n" + endless)
    _, found, account = read(path)
    assert [talk.turns for talk in found] == [["one", "two", None, "three", None, "five", "six", None]]
    assert complaints(account) == [
        ("a.log", 3, "longer than 1,048,576 bytes"),
        ("a.log", 5, "a NUL byte"),
        ("a.log", 8, "longer than 1,048,576 bytes"),
    ]
    assert account.records == 8


@given(
    st.lists(st.binary(max_size=12).filter(lambda line: not set(line) & set(b"\0\n\r")), max_size=12),
    st.integers(1, 9),
    st.integers(3, 9),
)
@settings(deadline=None)
def test_lines_come_whole_whatever_the_chunks(lines: list[bytes], chunk: int, most: int) -> None:
    import tempfile

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(reading, "CHUNK", chunk)
        patch.setattr(reading, "MAX_LINE", max(most, chunk))
        path = Path(folder) / "a"
        lines.insert(0, b"a")  # so that it looks like no archive and no UTF-16
        path.write_bytes(b"\n".join(lines))
        account = Reading(latin=True)
        found = list(account.lines(input_files(path)[0][0]))
    if not lines[-1]:
        lines.pop()
    expected = ["\0" if len(line) > max(most, chunk) else line.decode("latin-1") for line in lines]
    assert found == list(enumerate(expected, 1))
    assert account.records == len(lines)
    assert account.bad == expected.count("\0")


def test_mixed_encodings_are_told_apart_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes("déjà \u2019 vu\n".encode() + "it\u2019s \x81 \x85\n".encode("utf-8") + b"it\x92s \x81 caf\xe9\n")
    _, found, account = read(path)
    assert found[0].turns == ["déjà \u2019 vu", "it\u2019s \x81 \x85", "it\u2019s \x81 café"]
    assert account.recoded == 1
    assert account.first_recoded.endswith(":3")
    assert read(path, latin=True)[1][0].turns[2] == "it\x92s \x81 caf\xe9"


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ChatbotError, match=r"a\.txt is empty"):
        read(tmp_path / "a.txt")


def test_an_empty_folder_and_a_device_are_named(tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match="holds no text file"):
        read(tmp_path)
    with pytest.raises(ChatbotError, match="neither a file nor a folder"):
        read(Path("/dev/null"))


def packed(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_never_unpacked_to_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = ["../evil.tsv", "/evil.tsv", "a/../../evil.tsv", "C:\\evil.tsv", "good.tsv"]
    path = packed(tmp_path / "in" / "a.zip", dict.fromkeys(names, b"a\tb\n"))
    found, refused = input_files(path)
    assert [file.base for file in found] == ["good.tsv"]
    assert len(refused) == 4
    assert turns(path) == [["a", "b"]]
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.zip"]


@pytest.mark.parametrize("suffix", ["zip", "gz"])
def test_a_bomb_is_refused(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SMALL_MEMBER", 1 << 20)
    bomb = (b"a\t" + b"b" * 1000 + b"\n") * (1 << 11)
    path = tmp_path / f"bomb.tsv.{suffix}"
    if suffix == "zip":
        packed(path, {"a.tsv": bomb})
    else:
        path.write_bytes(gzip.compress(bomb, 9))
    with pytest.raises(ChatbotError, match="refused as an archive bomb"):
        read(path)


def test_a_truncated_or_damaged_archive_is_named(tmp_path: Path) -> None:
    import random

    text = "".join(f"{random.Random(i).random()}\treply\n" for i in range(20_000)).encode()
    whole = packed(tmp_path / "whole.zip", {"a.tsv": text}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ChatbotError, match=r"cut\.zip is not a whole zip archive"):
        read(tmp_path / "cut.zip")
    (tmp_path / "bad.zip").write_bytes(whole[: len(whole) // 2] + b"\xff" * 500 + whole[len(whole) // 2 + 500 :])
    with pytest.raises(ChatbotError, match=r"bad\.zip/a\.tsv is a damaged or unsupported archive"):
        read(tmp_path / "bad.zip")
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(text)[:50_000])
    with pytest.raises(ChatbotError, match=r"cut\.tsv\.gz is a damaged"):
        read(tmp_path / "cut.tsv.gz")
    locked = bytearray(whole)
    for header in (b"PK\x03\x04", b"PK\x01\x02"):  # set the flag that says "encrypted"
        at = locked.index(header) + (6 if header[2] == 3 else 8)
        struct.pack_into("<H", locked, at, 1)
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(ChatbotError, match=r"locked\.zip/a\.tsv is a damaged or unsupported archive"):
        read(tmp_path / "locked.zip")


def test_progress_reaches_the_size_of_the_input(tmp_path: Path) -> None:
    folder = cornell(tmp_path, LINES, TALKS)
    steps: list[int] = []
    read(folder, advance=steps.append)
    assert sum(steps) == sum(file.size for file in input_files(folder)[0])


def test_many_columns_without_a_header_are_no_log(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1\tHello?\tHi.\n2\tHow are you?\tFine.\n\nodd\n")
    with pytest.raises(ChatbotError, match=r"a\.tsv:1: 3 columns and no header that names the prompt's"):
        read(tmp_path / "a.tsv")
    assert read(tmp_path / "a.tsv", "log")[0] == "log"


@pytest.mark.parametrize("chunk", [1 << 20, 999])
@pytest.mark.parametrize("most", [1 << 22, 2000])
@pytest.mark.parametrize(
    ("broken", "by"), [('"k99": {', '"k99": @@@{'), ('"k99": {', '@@@"k99": {'), ('"k99"', '}"k99"')]
)
def test_chitchat_goes_on_behind_a_malformed_conversation(
    tmp_path: Path, broken: str, by: str, chunk: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.corpus.json_stream.CHUNK", chunk)
    monkeypatch.setattr("chatbot.corpus.formats.chitchat.MAX_MEMBER", most)
    talks = json.dumps({f"k{i}": messages(['say "hi"'], ["b"]) for i in range(400)})
    (tmp_path / "dataset.json").write_text(talks.replace(broken, by))
    _, found, account = read(tmp_path / "dataset.json")
    assert len(found) == (399 if by.startswith('"') else 400)
    assert (account.bad, account.records) == (1, len(found) + 1)


def test_chitchat_that_cannot_go_on_names_the_byte(tmp_path: Path) -> None:
    talks = {f"k{i}": {"prompt": "é", **messages(["a"], ["b"])} for i in range(9)}
    for talk in talks.values():
        talk["messages"] = talk.pop("messages")  # behind the other keys, so that no conversation's begin is known
    text = json.dumps(talks, ensure_ascii=False).replace('"k3": {', '"k3": @@@{')
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    offset = text.encode().index(b'"k3"')
    with pytest.raises(ChatbotError, match=rf"dataset\.json: malformed JSON .* at byte {offset:,},"):
        read(tmp_path / "dataset.json")


def test_a_table_of_form_feeds_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("\f\n")
    with pytest.raises(ChatbotError, match="no two columns"):
        read(tmp_path / "a.tsv", "delimited")


def test_an_archive_of_many_files_is_opened_once_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[weakref.ref] = []

    class Counted(zipfile.ZipFile):
        def __init__(self, file: IO[bytes]) -> None:
            super().__init__(file)
            opened.append(weakref.ref(file))

    path = packed(tmp_path / "a.zip", {f"{i}.log": b"Hello?\nHi.\n" for i in range(50)})
    monkeypatch.setattr(zipfile, "ZipFile", Counted)
    found, _ = input_files(path)
    format, files = recognise(found, "auto", "a.zip")
    assert sum(file.size for file in files) == 50 * 11
    assert len(list(dialogues(format, files, Reading()))) == 50
    assert len(opened) == 1
    assert opened[0]() is not None
    del found, files
    assert opened[0]() is None, "which closes its descriptor"


@pytest.mark.parametrize("limit", ["SMALL_TOTAL", "MAX_TOTAL"])
def test_a_bomb_of_many_small_members_is_refused(tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "a.zip", {f"{i}.log": b"a\n" * 50_000 for i in range(20)})
    assert len(input_files(path)[0]) == 20
    monkeypatch.setattr(inputs, limit, 1 << 20)
    monkeypatch.setattr(inputs, "MAX_RATIO", 10)
    with pytest.raises(ChatbotError, match=r"a\.zip would unpack to 2,000,000 bytes from .*refused as an archive bomb"):
        input_files(path)
