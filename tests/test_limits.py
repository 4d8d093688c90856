"""The limits of every reader, as docs/limits.md has them: a file at each is read, one beyond it is refused."""

import io
import json
import os
import pickletools
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.config.settings import Config, CorpusConfig
from chatbot.corpus import figures, inputs, json_stream, preparation, reading, vocabulary
from chatbot.corpus.formats import (
    chitchat,
    columns,
    days,
    delimited,
    dialogue,
    headed,
    labels,
    messages,
    parquet,
    privacy,
    records,
    slack,
    stamped,
    whatsapp,
    yaml_file,
)
from chatbot.corpus.formats.recognise import dialogues
from chatbot.corpus.inputs import input_files
from chatbot.corpus.reading import Reading
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment import manifest
from chatbot.deployment.manifest import read_manifest
from chatbot.evaluation import examination
from chatbot.runs import archive, directory, pickled
from chatbot.runs.archive import plain_data
from chatbot.runs.directory import RunDirectory
from chatbot.system.errors import ChatbotError
from chatbot.system.files import read_json
from chatbot.system.seal import read_sealed, sealed

LIMITS = {  # what the page says
    (pickled, "MOST_OPERATIONS"): 4_194_304,
    (pickled, "MOST_VALUES"): 65_536,
    (archive, "MAX_PICKLE"): 32 << 20,
    (archive, "MAX_TABLE"): 1 << 20,
    (archive, "MAX_CODE"): 64 << 20,
    (vocabulary, "MAX_WORDS"): 262_144,
    (vocabulary, "MAX_CHARACTERS"): 4_194_304,
    (vocabulary, "MAX_BYTES"): 32 << 20,
    (manifest, "MAX_BYTES"): 4 << 20,
    (directory, "MAX_METRICS"): 64 << 20,
    (examination, "MAX_BYTES"): 4 << 20,
    (figures, "MAX_BYTES"): 8 << 20,
    (preparation, "MAX_CACHE"): 8 << 20,
    (inputs, "MAX_TABLE"): 4 << 20,
    (inputs, "MAX_FILES"): 10_000,
    (inputs, "MAX_DEPTH"): 4,
    (columns, "MOST_COLUMNS"): 1000,
    (columns, "LONGEST_NAME"): 80,
    (privacy, "LONGEST_NAME"): 80,
    (inputs, "MAX_RATIO"): 200,
    (inputs, "SMALL_MEMBER"): 16 << 20,
    (reading, "MAX_LINE"): 1 << 20,
    (dialogue, "MAX_TURNS"): 256,
    (json_stream, "MAX_VALUE"): 8 << 20,
    (json_stream, "MAX_DEPTH"): 8,
    (records, "MAX_PRODUCT"): 10_000,
    (delimited, "MAX_ROW"): 50,
    (yaml_file, "MAX_SIZE"): 8 << 20,
    (parquet, "ROWS"): 256,
    (parquet, "ROW"): 8,
    (whatsapp, "LONGEST"): 65_536,
    (stamped, "LONGEST"): 65_536,
    (headed, "LONGEST"): 65_536,
    (days, "LONGEST"): 65_536,
    (messages, "MAX_TURN"): 65_536,
    (messages, "MAX_NAMES"): 100_000,
    (slack, "MOST_KEPT"): 100_000,
    (chitchat, "MAX_MEMBER"): 4 << 20,
    (chitchat, "MAX_BEGINNING"): 1000,
}


def test_the_limits_are_those_that_the_page_names() -> None:
    assert {(module.__name__, name): getattr(module, name) for module, name in LIMITS} == {
        (module.__name__, name): value for (module, name), value in LIMITS.items()
    }
    client = (Path(__file__).parent.parent / "cpp" / "chatbot.cpp").read_text()
    assert "file_size(beside) <= 4 << 20" in client


def padded(content: dict[str, Any], size: int) -> bytes:
    """JSON of just so many bytes."""
    return json.dumps(content).encode().ljust(size)


def manifest_at(folder: Path) -> None:
    """Read a manifest; that it has no keys is said of one that was read."""
    try:
        read_manifest(folder)
    except ChatbotError as error:
        if "is missing" not in str(error):
            raise


READERS: dict[str, tuple[str, bytes, int, Callable[[Path], object]]] = {
    "settings": ("config.json", padded({}, 1 << 20), 1 << 20, Config.load),
    "manifest": (
        "manifest.json",
        padded({"format": 1, "files": {}, "golden": []}, 4 << 20),
        4 << 20,
        lambda path: manifest_at(path.parent),
    ),
    "figures": (
        "prepared.json",
        padded(sealed({}), 8 << 20),
        8 << 20,
        lambda path: read_sealed(path, figures.MAX_BYTES),
    ),
    "metrics": ("metrics.jsonl", b"\n" * (64 << 20), 64 << 20, lambda path: RunDirectory(path.parent).measurements()),
    "an evaluation": (
        "evaluation-test.json",
        padded({}, 4 << 20),
        4 << 20,
        lambda path: read_json(path, examination.MAX_BYTES),
    ),
}


@pytest.mark.parametrize("reader", list(READERS))
def test_a_file_at_its_limit_is_read_and_a_larger_one_is_not(reader: str, tmp_path: Path) -> None:
    name, content, most, read = READERS[reader]
    path = tmp_path / name
    path.write_bytes(content)
    assert path.stat().st_size == most
    read(path)
    path.write_bytes(content + b" ")
    with pytest.raises((ChatbotError, ValueError), match=f"more than {most:,} bytes"):
        read(path)


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_file_that_is_read_as_a_whole_is_a_regular_one(reader: str, kind: str, tmp_path: Path) -> None:
    name, content, _, read = READERS[reader]
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "private").write_bytes(content[:1000])
        path.symlink_to(tmp_path / "private" if kind == "link" else "/dev/zero")
    with pytest.raises((ChatbotError, ValueError), match=r"link|regular"):
        read(path)


def test_a_vocabulary_has_as_many_words_and_characters_as_it_may(tmp_path: Path) -> None:
    words = [*(f"w{i}" for i in range(vocabulary.MAX_WORDS - 3))]
    most = Vocabulary(["<pad>", "<sos>", "<eos>", *words])
    most.save(tmp_path / "vocabulary.txt")
    assert len(Vocabulary.load(tmp_path / "vocabulary.txt")) == vocabulary.MAX_WORDS
    with (tmp_path / "vocabulary.txt").open("a") as file:
        file.write("more\n")
    with pytest.raises(ChatbotError, match="262,145 lines"):
        Vocabulary.load(tmp_path / "vocabulary.txt")
    with pytest.raises(ChatbotError, match="--min-count"):
        Vocabulary([*most.tokens, "more"])
    long = ["<pad>", "<sos>", "<eos>", "x" * (vocabulary.MAX_CHARACTERS - 15)]
    Vocabulary(long).save(tmp_path / "vocabulary.txt")
    Vocabulary.load(tmp_path / "vocabulary.txt")
    with pytest.raises(ChatbotError, match="characters"):
        Vocabulary([*long, "y"])


def test_a_pickle_has_as_many_operations_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [1, "a", None, {"b": 2}]
    torch.save(data, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as made:
        most = sum(1 for _ in pickletools.genops(made.read("a/data.pkl"))) - 1  # the last one is counted as none
    monkeypatch.setattr(pickled, "MOST_OPERATIONS", most)
    assert plain_data(tmp_path / "a.pt") == data
    monkeypatch.setattr(pickled, "MOST_OPERATIONS", most - 1)
    with pytest.raises(ChatbotError, match="more than any checkpoint"):
        plain_data(tmp_path / "a.pt")


def test_a_pickle_has_as_many_values_at_once_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MOST_VALUES", 50)
    pickled.scan(io.BytesIO(b"\x80\x02" + b"]" * 50 + b"."))
    for piece in (b"]", b"(", b"}", b"N\x85", b"X\x01\0\0\0a"):
        with pytest.raises(ChatbotError, match="values at once"):
            pickled.scan(io.BytesIO(b"\x80\x02" + piece * 51 + b"."))


def test_code_unfolds_to_as_much_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/code/x.py", b" " * 5000)
    monkeypatch.setattr(archive, "MAX_CODE", 5000)
    archive.check_bundle_archive(tmp_path / "a.pt")
    monkeypatch.setattr(archive, "MAX_CODE", 4999)
    with pytest.raises(ChatbotError, match="far more than its size"):
        archive.check_bundle_archive(tmp_path / "a.pt")


def test_a_folder_has_as_many_files_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        for i in range(5):
            (tmp_path / place / f"{i}.log").write_text("hello\nyes\n")
    monkeypatch.setattr(inputs, "MAX_FILES", 10)
    assert len(input_files(tmp_path)[0]) == 10
    (tmp_path / "more.log").write_text("hello\nyes\n")
    with pytest.raises(ChatbotError, match="over 10 files"):
        input_files(tmp_path)


def test_a_folder_is_as_deep_as_it_may_be(tmp_path: Path) -> None:
    folder = tmp_path
    for name in "abcd":
        (folder / f"{name}.log").write_text("hello\nyes\n")
        folder = folder / name
        folder.mkdir()
    (folder / "too-deep.log").write_text("hello\nyes\n")
    assert [file.base for file in input_files(tmp_path)[0]] == ["a.log", "b.log", "c.log", "d.log"]


def test_a_header_has_as_many_columns_as_it_may(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for count, is_header in ((1000, True), (1001, False)):
        others = ",".join(f"x{i}" for i in range(count - 2))
        path.write_text(f"{others},prompt,reply\n" + "," * (count - 2) + "hello,yes\n")
        if is_header:
            assert [talk.turns for talk in dialogues("delimited", input_files(path)[0], Reading())] == [
                ["hello", "yes"]
            ]
        else:
            with pytest.raises(ChatbotError, match="no header"):
                list(dialogues("delimited", input_files(path)[0], Reading()))


def test_a_column_of_a_wide_table_is_asked_for_by_its_number(tmp_path: Path) -> None:
    path, wanted = tmp_path / "a.csv", CorpusConfig(columns="prompt=1,reply=1001")
    path.write_text("prompt," + "x," * 999 + "reply\nhello," + "," * 999 + "yes\n")
    found = dialogues("delimited", input_files(path)[0], Reading(config=wanted))
    assert [talk.turns for talk in found] == [["hello", "yes"]]


@pytest.mark.parametrize(("length", "is_header"), [(80, True), (81, False)])
def test_the_name_of_a_column_is_as_long_as_it_may_be(length: int, is_header: bool) -> None:
    name = "the prompt".ljust(length, "_")
    assert (columns.by_header([name, "reply"]) is not None) == is_header


@pytest.mark.parametrize(("length", "is_name"), [(80, True), (81, False)])
def test_a_name_that_is_left_out_is_as_long_as_it_may_be(length: int, is_name: bool) -> None:
    name = "A".ljust(length, "n")
    assert privacy.Privacy([name], Counter()).clean(f"hello {name}") == ("hello" if is_name else f"hello {name}")


def test_a_turn_of_labelled_lines_is_as_long_as_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MAX_LINE", 20)
    for more, bad in (("Q: of mine\n", 0), ("Q: of mine\nQ: and yours\nQ: too\n", 1), ("of mine\nand yours\ntoo\n", 1)):
        (tmp_path / "a.txt").write_text(f"Q: a question\n{more}A: an answer\nQ: so?\nA: yes\n")
        account = Reading()
        found = list(dialogues("labels", input_files(tmp_path / "a.txt")[0], account))
        assert account.bad == bad
        assert found[0].turns[0].startswith("a question of mine")


def test_a_link_in_a_folder_leads_to_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (tmp_path / "private.log").write_text("a secret\nof mine\n")
    (folder / "own.log").write_text("hello\nyes\n")
    (folder / "again.log").symlink_to("own.log")
    (folder / "out.log").symlink_to("../private.log")
    (folder / "endless.log").symlink_to("/dev/zero")
    found, refused = input_files(folder)
    assert [file.base for file in found] == ["again.log", "own.log"]
    assert [(Path(bad.file).name, "leads out" in bad.reason) for bad in refused] == [("out.log", True)]
    assert len(input_files(folder / "out.log")[0]) == 1, "a person named it"


def test_a_dialogue_of_chitchat_is_as_long_as_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 500)
    monkeypatch.setattr(chitchat, "MAX_MEMBER", 4000)
    good = '"g": {"messages": [[{"text": "hello", "sender": 1}], [{"text": "hi", "sender": 1}]]}'
    path = tmp_path / "dataset.json"
    for size, whole in ((3000, 3), (20_000, 2)):
        path.write_text(f'{{{good}, "k": {{"messages": [[{{"text": "{"x" * size}"}}], [{{"text": "b"}}]]}}, {good}}}')
        reading = Reading()
        assert len(list(chitchat.read(input_files(path)[0][0], reading))) == whole
        assert reading.bad == 3 - whole


def read_corpus(path: Path, format: str, *, private: bool = False) -> tuple[list[list[str | None]], Reading]:
    """The turns of a file, and the account of them."""
    account = Reading(config=CorpusConfig(private=private))
    return [found.turns for found in dialogues(format, input_files(path)[0], account)], account


MESSAGE = {
    whatsapp: ("01/02/2023, 10:{} - {}: ", "whatsapp"),
    stamped: ("10:{} {}: ", "stamped"),
    headed: ("2023-02-01 10:{} {}\n", "headed"),
    days: ("10:{}\t{}\t", "days"),
}


@pytest.mark.parametrize("format", MESSAGE, ids=[name for _, name in MESSAGE.values()])
def test_a_message_is_as_long_as_it_may_be(format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, name = MESSAGE[format]
    monkeypatch.setattr(format, "LONGEST", 100)
    for lines, damaged in ((2, 0), (40, 1)):
        day = "2023/02/01(Wed)\n" * (format is days)
        text = day + head.format("00", "Ann") + "a b c d e\n" * lines + head.format("01", "Bob") + "yes\n"
        (tmp_path / "a.txt").write_text(text)
        said, account = read_corpus(tmp_path / "a.txt", name)
        assert (account.bad > 0) == damaged
        assert said[0][1] == "yes"
        assert len(said[0][0] or "") < 130


def test_a_record_makes_as_many_pairs_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_PRODUCT", 6)
    for patterns, pairs in ((3, 6), (4, 6)):
        record = {"patterns": [f"p{i}" for i in range(patterns)], "responses": ["a", "b"]}
        (tmp_path / "a.json").write_text(json.dumps([record, record]))
        assert len(read_corpus(tmp_path / "a.json", "json")[0]) == 2 * pairs


def test_yaml_is_as_large_as_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yaml")
    text = "conversations:\n- - a\n  - b\n"
    (tmp_path / "a.yml").write_text(text)
    monkeypatch.setattr(yaml_file, "MAX_SIZE", len(text))
    assert read_corpus(tmp_path / "a.yml", "yaml")[0] == [["a", "b"]]
    monkeypatch.setattr(yaml_file, "MAX_SIZE", len(text) - 1)
    with pytest.raises(ChatbotError, match="MB of YAML"):
        read_corpus(tmp_path / "a.yml", "yaml")


@pytest.mark.parametrize("text", ["x" * 1000, None])
def test_parquet_unfolds_to_as_much_as_it_may(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as written

    rows = 20_000 if text else 400_000
    columns = {"prompt": pyarrow.array([text] * rows, pyarrow.string()), "reply": pyarrow.array(["b"] * rows)}
    written.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000, "alike in all rows"
    monkeypatch.setattr(parquet, "SMALL_MEMBER", 1 << 20)
    monkeypatch.setattr(parquet, "MAX_RATIO", 20)
    with pytest.raises(ChatbotError, match="refused as an archive bomb"):
        read_corpus(tmp_path / "a.parquet", "parquet")
    monkeypatch.setattr(parquet, "SMALL_MEMBER", 64 << 20)
    if text:
        assert len(read_corpus(tmp_path / "a.parquet", "parquet")[0]) == rows


def test_a_day_of_slack_keeps_as_many_messages_of_threads_as_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack, "MOST_KEPT", 2)
    said = [
        {
            "type": "message",
            "user": f"U{i}",
            "text": f"t{i}",
            "ts": f"{1700000000 + i}.1",
            "thread_ts": "1700000000.1",
        }
        for i in range(4)
    ]
    (tmp_path / "a.json").write_text(json.dumps(said))
    assert read_corpus(tmp_path / "a.json", "slack")[0] == [["t0", "t2", "t3"], ["t0", "t1"]]


def test_as_many_names_are_left_out_as_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_NAMES", 2)
    said = ["Ann: so Cleo it is", "Bea: and Ann", "Cleo: and Bea", "Ann: right"]
    (tmp_path / "chat.txt").write_text("".join(f"31/12/2023, 23:5{i} - {line}\n" for i, line in enumerate(said)))
    found, _ = read_corpus(tmp_path / "chat.txt", "whatsapp", private=True)
    assert found == [["so Cleo it is", "and", "and", "right"]]
