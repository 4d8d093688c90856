"""Hostile text and hostile numbers, each by its name: what `test_fuzz` finds by chance stands here for good."""

import contextlib
import io
import operator
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from chatbot.__main__ import main
from chatbot.chat.bot import Chatbot
from chatbot.chat.terminal import converse
from chatbot.config.settings import Config, DecodingConfig
from chatbot.corpus.figures import load_figures
from chatbot.corpus.formats.recognise import dialogues, recognise
from chatbot.corpus.inputs import input_files
from chatbot.corpus.reading import Reading
from chatbot.corpus.sources import resolve
from chatbot.corpus.vocabulary import Vocabulary
from chatbot.deployment import onnx as exchange
from chatbot.deployment.manifest import read_manifest
from chatbot.deployment.torchscript import export, load_bundle
from chatbot.runs.archive import check_bundle_archive, plain_data
from chatbot.runs.checkpoint import Checkpoint
from chatbot.runs.directory import RunDirectory
from chatbot.runs.tutorial import import_checkpoint
from chatbot.serving.lines import answer_file, answer_lines, line_ends
from chatbot.system.errors import LONGEST, ChatbotError, printable, shown
from chatbot.system.files import read_whole

MEGABYTE = 1 << 20
PLANES = ["".join(map(chr, range(start, start + 0x10000, 61))) for start in range(0, 0x110000, 0x10000)]
STEERING = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b1m\x00\x08\r\x7f\u202e\u2028"
TEXTS = [
    "",
    "\x00",
    "hel\x00lo",
    STEERING,
    f"hello {STEERING} you",
    "\ud800 \udfff\ud800 hello",
    "\u0300" * 5000,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 hello",
    "'" * 3000 + "!" * 3000,
    "<" * 5000,
    "1.2," * 3000,
    *PLANES,
]


@pytest.fixture
def bot(trained: RunDirectory) -> Chatbot:
    return Chatbot.load(trained.path, decoding=DecodingConfig(method="greedy"))


def clean(text: str) -> bool:
    """Whether it holds nothing that steers a terminal, but line ends."""
    return printable(text) == text.replace("\n", "\\n")


# what is shown


def test_what_steers_a_terminal_is_spelt_out() -> None:
    assert (
        printable("a\x1b[2J\n\x9b\u202e\ud800é\U0001f600\u200d") == "a\\x1b[2J\\n\\x9b\\u202e\\ud800é\U0001f600\u200d"
    )
    for code in range(0x110000):
        character = chr(code)
        if not character.isprintable() and printable(character) == character:
            assert code > 0x7F  # spaces, joiners, private use, unassigned: no terminal obeys them
    assert printable(printable(STEERING)) == printable(STEERING)


def test_an_error_is_one_short_line_whatever_it_quotes() -> None:
    error = ChatbotError(f"cannot read {STEERING}" + "x" * 10_000_000 + "\nthe end")
    assert len(str(error)) == LONGEST
    assert str(error).endswith("\\nthe end")
    assert clean(str(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # as from a worker process


def test_a_value_is_named_without_being_walked_through() -> None:
    laughs: list = ["ha"]
    for _ in range(60):
        laughs = [laughs] * 10
    assert [shown(value) for value in (laughs, 10**5000, -(10**40), 7, "x" * 999, None, 2.5)] == [
        "a list",
        "a huge number",
        "a huge number",
        "7",
        repr("x" * 80),
        "None",
        "2.5",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["chat", "\x1b[2Jrun"],
        ["chat", "\x1b[2Jrun.pt"],
        ["train", "--corpus", "\x1b[2J\nx"],
        ["prepare", "--config", "\x1b[2J"],
        ["evaluate", "--split", "\x1b[2J"],
        ["chat", "--\x1b[2J"],
        ["\x1b[2J"],
        ["import-checkpoint", "\x1b[2J", "run"],
    ],
)
def test_a_mistake_echoes_no_control_characters(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: Any = main(arguments)
    except SystemExit as left:  # of the parser of words
        code = left.code
    assert code == 2
    line = capsys.readouterr().err
    assert "[2J" in line
    assert line.count("\n") == 1
    assert clean(line)


def test_the_summary_of_a_corpus_echoes_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a\x1b[2J\udcff.tsv"  # a name of bytes that are no UTF-8
    rows = "".join(f"hello {i}\tyes \x1b[31m {i % 3}\n" for i in range(40))
    file.write_bytes(rows.encode() + b"\x1b[2J damaged\n" + b"caf\xe9\tyes\n")
    command = ["prepare", "--corpus", str(file), "--data-dir", str(tmp_path / "data"), "--min-count", "1", "--stats"]
    assert main([*command, "--max-bad-fraction", "1"]) == 0
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "damaged" in said
    assert "\\x1b[2J" in said
    assert clean(said.replace("\r", ""))  # of the progress bar


# text to answer


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_any_text_is_answered_with_plain_text(bot: Chatbot, method: str) -> None:
    for text in TEXTS:
        assert clean(bot.reply(text, decoding=DecodingConfig(method=method)))
        assert all(word.isascii() and word.isprintable() for word in bot.unknown_words(text))


def test_a_terminal_is_never_sent_what_was_typed(
    bot: Chatbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [
        f"/{STEERING}",
        f"/beam {STEERING}",
        f"/attention {tmp_path}/{STEERING[:20]}.png",
        "/nbest 3",
        "/attention",
    ]
    typed = iter([*TEXTS, *commands, f"/{'9' * 10_000}", "/beam " + "9" * 5000, "/nbest 1000000000000", "hello"])

    def read(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(sys, "stdin", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    log = io.StringIO()
    converse(bot, f"runs/{STEERING}", log=log)
    shown = capsys.readouterr()
    assert "I never learnt" in shown.err
    assert shown.out.count("\n") > len(PLANES)
    for text in (shown.out, shown.err, log.getvalue()):
        assert clean(text)


def test_a_pipe_gets_a_line_of_plain_text_for_every_line(bot: Chatbot) -> None:
    lines = [text.encode("utf-8", "surrogatepass").replace(b"\n", b" ") for text in TEXTS]
    lines += [bytes(range(256)).replace(b"\n", b""), b"how are you? " * (10 * MEGABYTE // 13), b"\xff" * 10 * MEGABYTE]
    lines += [b"x" * 100_000 + b" how are you?"]
    out = io.StringIO()
    answer_lines(bot, io.BytesIO(b"\n".join(lines)), out)
    replies = out.getvalue().split("\n")[:-1]
    assert replies == [bot.reply(line.decode("utf-8", "replace")) for line in lines]
    assert all(map(clean, replies))
    assert replies[-1] == bot.reply("qxzvwk how are you?")


class Endless(io.RawIOBase):
    """A line of so many bytes, made as it is read."""

    def __init__(self, size: int) -> None:
        self.left, self.asked = size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(self.left, len(buffer))
        buffer[:size] = b"a" * size
        self.left -= size
        return size


@pytest.mark.parametrize("most", [1, 3, 10])
def test_of_every_line_the_end_comes(most: int) -> None:
    data = b"abc\n\nabcdefghijklmnop\n" + b"x" * 10 + b"\n" + b"y" * 9 + b"\n\n\nlast one without an end"
    assert list(line_ends(io.BytesIO(data), most)) == [line[-most:] for line in data.splitlines(keepends=True)]
    assert list(line_ends(io.BytesIO(b""), most)) == []


@pytest.mark.parametrize("reader", ["pipe", "file"])
def test_a_line_without_an_end_takes_no_memory(
    reader: str, bot: Chatbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = io.BufferedReader(Endless(50 * MEGABYTE))
    bot.reply("hello")  # what is loaded on first use is no part of it
    tracemalloc.start()
    try:
        if reader == "pipe":
            answer_lines(bot, endless, io.StringIO())
        else:
            path, original = tmp_path / "prompts.txt", Path.open
            path.write_bytes(b"")
            monkeypatch.setattr(
                Path, "open", lambda self, *how, **more: endless if self == path else original(self, *how, **more)
            )
            assert answer_file(bot, path, tmp_path / "replies.tsv", 4) == 1
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
    finally:
        tracemalloc.stop()


class Failing(io.BytesIO):
    def readline(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError(5, "Input/output error")
        return super().readline(size)


def test_an_input_that_fails_half_way_is_named_as_such(
    bot: Chatbot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ChatbotError, match="cannot read the input: Input/output error"):
        answer_lines(bot, Failing(b"hello\nhello\n"), io.StringIO())
    path, original = tmp_path / "prompts.txt", Path.open
    path.write_bytes(b"hello\nhello\n")
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, *how, **more: Failing(b"hello\nyou\n") if self == path else original(self, *how, **more),
    )
    with pytest.raises(ChatbotError, match=r"cannot read .*prompts\.txt: Input/output error"):
        answer_file(bot, path, tmp_path / "replies.tsv", 4)
    assert [file.name for file in tmp_path.iterdir()] == ["prompts.txt"]


def test_a_file_of_hostile_lines_becomes_a_table_of_plain_text(bot: Chatbot, tmp_path: Path) -> None:
    lines = [text.encode("utf-8", "surrogatepass").replace(b"\n", b" ") for text in TEXTS]
    (tmp_path / "prompts.txt").write_bytes(b"\n".join([*lines, b"z" * 10 * MEGABYTE + b" how are you?"]))
    assert answer_file(bot, tmp_path / "prompts.txt", tmp_path / "replies.tsv", 8) == len(lines) + 1
    table = (tmp_path / "replies.tsv").read_bytes().decode("utf-8")
    rows = [row.split("\t") for row in table.split("\n")[:-1]]
    assert [reply for _, reply in rows] == [
        bot.reply(line.decode("utf-8", "replace")) for line in [*lines, b"zzz how are you?"]
    ]
    assert clean(table.replace("\t", " "))
    assert len(rows[-1][0]) < 50_000


def test_a_conversation_holds_no_more_than_is_read(bot: Chatbot) -> None:
    talk = bot.conversation(log=io.StringIO())
    assert talk.say("x " * 5 * MEGABYTE + "how are you?") == bot.reply("x " * 500 + "how are you?")
    assert max(map(len, talk.turns)) <= 10_000


def test_the_exported_file_bears_any_text(trained: RunDirectory, tmp_path: Path, bot: Chatbot) -> None:
    export(trained.load_chosen(), tmp_path / "export")
    module = load_bundle(tmp_path / "export" / "chatbot.pt").module
    texts = [text for text in TEXTS if text.isprintable() or "\ud800" not in text]
    texts = [text.encode("utf-8", "replace").decode() for text in texts] + ["how are you? " * (10 * MEGABYTE // 13)]
    assert module.reply_batch(texts) == [bot.reply(text) for text in texts]
    for text in texts[:6]:
        assert all(clean(reply) for reply, _ in module.reply_nbest(text, 2))
    with pytest.raises((UnicodeEncodeError, RuntimeError)):  # half a pair is no text to torch: an error as any other
        module.reply("\ud800")


# files that ask for more than they are


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
@pytest.mark.parametrize(
    "read",
    [
        lambda folder: Vocabulary.load(folder / "zero"),
        lambda folder: Config.load(folder / "zero"),
        lambda folder: read_manifest(folder),
        lambda folder: load_figures(folder),
        lambda folder: Checkpoint.load(folder / "zero"),
        lambda folder: Chatbot.load(folder / "zero"),
        lambda folder: import_checkpoint(folder / "zero", RunDirectory(folder / "run"), corpus="cornell"),
        lambda folder: exchange._opened(folder / "zero"),
    ],
)
def test_an_endless_file_is_read_to_its_limit_only(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatbot.corpus.vocabulary.MAX_BYTES", 1 << 20)
    for name in ("zero", "manifest.json", "prepared.json"):
        (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises((ChatbotError, ValueError)):
        read(tmp_path)
    with pytest.raises(ValueError, match="no regular file"):
        read_whole(Path("/dev/null"), 3)


def archive_of(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_pickle(path: Path, change: Callable[[bytes], bytes]) -> None:
    """A checkpoint whose pickle is changed, with checksums that are right."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content = {name: change(data) if name.endswith("data.pkl") else data for name, data in content.items()}
    path.write_bytes(archive_of(content))


def refused(path: Path) -> str:
    with pytest.raises(ChatbotError) as caught:
        Checkpoint.load(path).build_model()
    assert clean(str(caught.value))
    return str(caught.value)


def test_a_weight_that_is_larger_than_the_file_is_refused(trained: RunDirectory, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    checkpoint = Checkpoint.load(trained.best)
    for lie in (torch.zeros(1).expand(1 << 40), torch.zeros(1, 1).expand(len(checkpoint.vocabulary), 32)):
        checkpoint.model = {**checkpoint.model, "encoder.embedding.weight": lie}
        checkpoint.save(path)
        assert "form that weights do not have" in refused(path)
    torch.save({"format": 1, "model": {"a": torch.zeros(7)}}, path)
    assert b"K\x07tq" in path.read_bytes()
    with_pickle(path, lambda data: data.replace(b"K\x07tq", b"\x8a\x06\0\0\0\0\0\x01tq"))  # 1 << 40 of them
    refused(path)


def test_a_pickle_that_asks_for_400_gigabytes_gets_none(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "best.pt"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = b"\x8a\x06" + struct.pack("<Q", 400 << 30)[:6]
    for call in (b"cbuiltins\nbytearray\n" + size + b"\x85R.", b"ctorch\nTensor\n" + size + b"\x85R."):
        torch.save({"format": 1, "model": {}}, path)
        with_pickle(path, lambda data, call=call: b"\x80\x02" + call)
        refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("part", ["config", "format", "step", "perplexity", "prompts", "vocabulary", "model"])
def test_nested_lists_without_end_are_refused_at_once(part: str, trained: RunDirectory, tmp_path: Path) -> None:
    laughs: list = [5]
    for _ in range(60):  # 10 ** 60 numbers in a kilobyte
        laughs = [laughs] * 10
    path = tmp_path / "best.pt"
    data = torch.load(trained.best, weights_only=True)
    torch.save({**data, part: {"model": {"hidden_size": laughs}} if part == "config" else laughs}, path)
    refused(path)
    if part == "prompts":
        torch.save({**data, part: [[5] * 3000] * 3000}, path)
        assert "too many" in refused(path)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    members = {"archive/data.pkl": b"\x80\x02N."} | {f"archive/data/{i}": b"x" * 1000 * (i == 0) for i in range(9)}
    content = bytearray(archive_of(members))
    end = content.rindex(b"PK\x05\x06")
    first = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    entry = bytes(content[first : content.index(b"PK\x01\x02", first + 1)])
    table = b"".join(entry[:-1] + b"%d" % i for i in range(9))  # nine names for the first one's bytes
    start = content.index(b"PK\x01\x02")
    record = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 10, 10, len(table) + first - start, start, 0)
    (tmp_path / "shared.pt").write_bytes(bytes(content[:first]) + table + record)
    assert end > first
    with pytest.raises(ChatbotError, match="far more than its size"):
        plain_data(tmp_path / "shared.pt")
    with pytest.raises(ChatbotError, match="far more than its size"):
        check_bundle_archive(tmp_path / "shared.pt")


def read_corpus(path: Path) -> list[Any]:
    format, files = recognise(input_files(path)[0], "auto", str(path))
    return list(dialogues(format, files, Reading()))


def test_archives_of_rare_kinds_and_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for way in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", way) as archive:
            archive.writestr("a.tsv", b"hello\tyes\n" * 99)
        with pytest.raises(ChatbotError, match="unsupported archive"):
            read_corpus(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name in (".", "./.", "b.tsv"):
            archive.writestr(name, b"hello\tyes\n")
    assert len(read_corpus(path)) == 1
    assert len(input_files(path)[1]) == 2


def test_a_table_of_contents_without_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive_of({f"{i:0>200}.log": b"a\nb\n" for i in range(700)}))
    content = path.read_bytes()
    size = len(content) - 22 - content.index(b"PK\x01\x02")
    # a second last record, in a comment or in a field of the first, names another table: which one is read is bounded
    empty = b"PK\x05\x06" + b"\0" * 18
    hidden = content[:-2] + struct.pack("<H", len(empty)) + empty
    for archive in (content, content[:-2] + b"\4\0PK\x05\x06", hidden):
        path.write_bytes(archive)
        monkeypatch.setattr("chatbot.corpus.inputs.MAX_TABLE", size)
        with contextlib.suppress(ChatbotError):  # some are no archives to zipfile
            assert len(input_files(path)[0]) in (0, 700)
        monkeypatch.setattr("chatbot.corpus.inputs.MAX_TABLE", size - 1)
        with contextlib.suppress(ChatbotError):
            assert not input_files(path)[0]
    path.write_bytes(content)
    with pytest.raises(ChatbotError, match=f"a table of contents of over {size - 1:,} bytes"):
        input_files(path)


@pytest.mark.parametrize("name", ["~nobody-has-this-name", "a\0b", "\ud800", "x" * 5000, ""])
def test_a_corpus_that_can_be_no_path_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ChatbotError, match="no corpus"):
        resolve(name, tmp_path)


def test_offsets_that_do_not_rise_are_refused(tmp_path: Path) -> None:
    import numpy as np
    from test_batches import SOME, write

    from chatbot.corpus.prepared import PairDataset

    for wrong in ([0, 2, 1], [-5, 2, 3], [0, 1 << 60, 3], [0, 2, 1 << 40]):
        folder = write(tmp_path, SOME)
        offsets = np.fromfile(folder / "train.offsets", "<i8")
        offsets[:3] = wrong
        offsets.tofile(folder / "train.offsets")
        pairs = PairDataset(folder, "train")
        for read in (
            operator.itemgetter(0),
            lambda pairs: pairs.lengths(np.arange(4)),
            lambda pairs: list(pairs.replies()),
        ):
            with pytest.raises(ChatbotError, match=r"offsets .* are damaged"):
                read(pairs)


def test_a_whole_program_survives_a_hostile_pipe(trained: RunDirectory) -> None:
    lines = b"\x1b[2Jhello\n\xff\xfe\0\n" + "\U0010ffff\n".encode() + b"\xed\xa0\x80 hello\n" + b"a" * 3 * MEGABYTE
    command = [sys.executable, "-m", "chatbot", "chat", str(trained.path)]
    done = subprocess.run(command, input=lines, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 5
    assert clean(done.stdout.decode())
