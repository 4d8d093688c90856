"""What hostile files cost: each shape is doubled thrice, and the growth of time and memory fitted.

    python bench/hostile.py [--size 131072] [--only WORD] [--json FILE]

Each shape is read in a process of its own, at SIZE bytes, and at twice, four and eight times as many. Growth is the
slope of log(time) over log(size): 1 is linear. Memory is what the process holds at most beyond what it held before,
less 8 MB, for each byte of the largest file. What grows by more than 1.4, or takes over a second of the process's own
time a megabyte or 300 bytes a byte, is marked, and then the exit code is 1.
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

STEPS = (1, 2, 4, 8)
MOST_GROWTH, MOST_SECONDS, MOST_BYTES = 1.4, 1.0, 300  # the second of a megabyte, the third of a byte
TALK = '"k": {"messages": [[{"text": "hello", "sender": 1}], [{"text": "hi", "sender": 1}]]}'
TELEGRAM = '{"messages": [{"type": "message", "date": "2023-01-01T10:00:00", "from": "a", '
SKYPE = '{"conversations": [{"MessageList": [{"from": "a", "messagetype": "Text", "content": "'
MATRIX = (
    '{"messages": [{"type": "m.room.message", "origin_server_ts": 1, "sender": "a", '
    '"content": {"msgtype": "m.text", "body": "'
)
CELL = '{"id": "%d", "conversation_id": "c", "reply-to": %s, "text": "hello"}\n'


class Shape(NamedTuple):
    """A kind of file: what reads it, its name, and its content at a size."""

    reader: str
    file: str
    content: Callable[[int], bytes]


def repeated(piece: str, before: str = "", behind: str = "") -> Callable[[int], bytes]:
    """A text of about a size that is one piece again and again."""
    return lambda size: (before + piece * max(1, size // len(piece)) + behind).encode("utf-8", "surrogatepass")


def utterances(parent: Callable[[int], str]) -> Callable[[int], bytes]:
    """ConvoKit's lines, of which each replies to what `parent` says."""
    return lambda size: "".join(CELL % (i, parent(i)) for i in range(max(1, size // len(CELL)))).encode()


def numbered(piece: str, before: str = "", behind: str = "") -> Callable[[int], bytes]:
    """The same, with numbers in the pieces: in each its own, and then that of the one before."""
    count = max(1, len(piece.format(10_000, 10_000)))
    return lambda size: (
        before + "".join(piece.format(i, i - 1) for i in range(1, max(2, size // count))) + behind
    ).encode()


def chinese(size: int) -> bytes:
    """A chat of WhatsApp in Chinese: each message is of somebody else and names him, with no spaces around."""
    names = (chr(0x4E00 + i // 1000) + chr(0x5E00 + i % 1000) for i in range(max(2, size // 48)))
    return "".join(f"1/2/23, 10:00 - {name}: 你好{name}吗\n" for name in names).encode()


def memo(size: int) -> bytes:
    """A pickle that remembers one value under many numbers."""
    return b"\x80\x02N" + b"".join(b"r" + i.to_bytes(4, "little") for i in range(size // 5)) + b"."


def pickled(piece: bytes) -> Callable[[int], bytes]:
    """The pickle of a checkpoint that is one operation again and again."""
    return lambda size: b"\x80\x02" + piece * (size // len(piece)) + b"K\x01."


def members(size: int) -> bytes:
    """An archive of empty files."""
    return zipped({f"{i}.log": b"" for i in range(max(1, size // 100))})


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip archive, compressed."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        file.seek(0)
        return file.read()


SHAPES = {
    "csv: a quote that is never closed": Shape("corpus", "a.csv", repeated('a","b\n', "prompt,reply\n")),
    "csv: an open quote a line": Shape("corpus", "a.csv", repeated('"a,b\n', "prompt,reply\n")),
    "csv: quotes of quotes": Shape("corpus", "a.csv", repeated('""",""\n', "prompt,reply\n")),
    "csv: commas": Shape("corpus", "a.csv", repeated(",,,,,,,\n", "prompt,reply\n")),
    "tsv: a quote a line": Shape("corpus", "a.tsv", repeated('"a\tb"\n', "prompt\treply\n")),
    "chitchat: malformed members": Shape(
        "corpus", "dataset.json", repeated('"k0": {"messages": [[{"text": "a" "x"}]]}, ', "{" + TALK + ", ", "}")
    ),
    "chitchat: spaces": Shape("corpus", "dataset.json", repeated(" ", "{" + TALK + ', "b"', "x")),
    "chitchat: members in members": Shape("corpus", "dataset.json", repeated('"k":{"messages":', "{" + TALK + ", ")),
    "chitchat: open lists": Shape("corpus", "dataset.json", repeated('"k":{"messages":["', "{" + TALK + ", ")),
    "chitchat: only the word": Shape("corpus", "dataset.json", repeated('"messages"', "{" + TALK + ", @")),
    "chitchat: backslashes": Shape("corpus", "dataset.json", repeated('\\"', "{" + TALK + ', "')),
    "convokit: a chain": Shape("corpus", "utterances.jsonl", utterances(lambda i: f'"{i - 1}"' if i else "null")),
    "convokit: a star": Shape("corpus", "utterances.jsonl", utterances(lambda i: '"0"' if i else "null")),
    "convokit: one id": Shape("corpus", "utterances.jsonl", repeated(CELL % (0, '"0"'), CELL % (0, "null"))),
    "convokit: replies to nobody": Shape("corpus", "utterances.jsonl", utterances(lambda i: f'"x{i}"')),
    "jsonl: nested": Shape("corpus", "a.jsonl", repeated("[" * 500 + "\n", '{"prompt": "a", "reply": "b"}\n')),
    "jsonl: turns": Shape("corpus", "a.jsonl", repeated('"a",', '{"turns": [', '"b"]}\n')),
    "transcript: one turn": Shape("corpus", "a.txt", repeated("b\n", "> a\n")),
    "transcript: no answers": Shape("corpus", "a.txt", repeated("> a\n", "> a\nb\n")),
    "log: marks": Shape("corpus", "a.log", repeated("'!'<.", "hello\n", "\nyes\n")),
    "log: one line": Shape("corpus", "a.log", repeated("a ", "hello\nyes\n")),
    "log: blank lines": Shape("corpus", "a.log", repeated("\n", "hello\nyes\n")),
    "whatsapp: one message": Shape(
        "corpus", "a.txt", repeated("a\n", "1/2/23, 10:00 - Ann: a\n1/2/23, 10:01 - Bob: b\n")
    ),
    "whatsapp: many names": Shape("corpus", "a.txt", numbered("1/2/23, 10:00 - N{}: a N{} b\n")),
    "whatsapp: many Chinese names": Shape("corpus", "a.txt", chinese),
    "whatsapp: digits and marks": Shape(
        "corpus", "a.txt", repeated("1 @ www.( <", "1/2/23, 10:00 - A: a\n1/2/23, 10:00 - B: ")
    ),
    "stamped: half a stamp": Shape("corpus", "a.txt", repeated("[12:30 (\n", "12:30 A: a\n12:31 B: b\n" * 99)),
    "headed: heads alone": Shape("corpus", "a.txt", repeated("[1/2/2023 9:04] a\n", "[1/2/2023 9:04] a\nb\n" * 99)),
    "days: days alone": Shape(
        "corpus", "a.txt", repeated("2023/05/12(Fri)\n", "2023/05/12(Fri)\n" + "1:00\ta\tb\n" * 99)
    ),
    "irc: half a name": Shape("corpus", "a.txt", repeated("[12:30] <", "[12:30] <a> b\n" * 99)),
    "subtitles: times alone": Shape("corpus", "a.srt", repeated("0:00:01,0 --> 0:00:02,0\n")),
    "subtitles: mark-up": Shape("corpus", "a.srt", repeated("<{\\[(#♪", "0:00:01,0 --> 0:00:02,0\n" * 3)),
    "labels: colons": Shape("corpus", "a.txt", repeated("Q: :\n", "Q: a\nA: b\n")),
    "labels: one speaker": Shape("corpus", "a.txt", repeated("Q: a\n", "Q: a\nA: b\n" * 99)),
    "labels: blanks": Shape("corpus", "a.txt", repeated("#" + " " * 60 + "\n", "Q: a\nA: b\n" * 99)),
    "parlai: numbers": Shape("corpus", "a.txt", repeated("2 a\tb\n", "1 a\tb\n")),
    "parlai: fields": Shape("corpus", "a.txt", repeated("\ttext:", "text:a\tlabels:b\n" * 3)),
    "telegram: pieces": Shape("corpus", "a.json", repeated('{"text": "a"}, ', TELEGRAM + '"text": [', '""]}]}')),
    "telegram: messages": Shape(
        "corpus", "a.json", repeated('{"type": "message", "text": 5}, ', TELEGRAM + '"text": "a"}, ', "{}]}")
    ),
    "messenger: half a message": Shape(
        "corpus", "a.json", repeated('{"sender_name": "a", "timestamp_ms": 1}, ', '{"messages": [', "{}]}")
    ),
    "slack: mark-up": Shape(
        "corpus", "a.json", repeated("<@", '[{"type": "message", "ts": "1700000000.1", "text": "', '"}]')
    ),
    "skype: quotations": Shape("corpus", "a.json", repeated("<quote", SKYPE, '"}]}]}')),
    "matrix: quotations": Shape("corpus", "a.json", repeated("> ", MATRIX, '"}}]}')),
    "chatgpt: one branch": Shape(
        "corpus", "a.json", numbered('"{}": {{"parent": "{}"}}, ', '[{"mapping": {', '"x": {"author": 1}}}]')
    ),
    "json: turns": Shape(
        "corpus", "a.json", repeated('{"role": "user", "content": "a"}, ', '[{"messages": [', "{}]}]")
    ),
    "json: nested": Shape("corpus", "a.json", repeated('[["a", "b"], ', '[["a", "b"], ')),
    "json: questions": Shape("corpus", "a.json", repeated('"is it so?": ["a", "b"], ', "{", '"x": "y"}')),
    "json: patterns": Shape(
        "corpus", "a.json", repeated('"a",', '[{"patterns": ["a", ', '"b"], "responses": ["a", "b"]}]')
    ),
    "csv: one column after the other": Shape("corpus", "a.csv", repeated("a,", "prompt,reply\n", "\n")),
    "csv: a header of names": Shape("corpus", "a.csv", repeated("text;", "text;", "\na;b\n")),
    "jsonl: one speaker": Shape(
        "corpus", "a.jsonl", repeated('{"role": "a", "content": "b"},', '{"messages": [', "{}]}\n")
    ),
    "csv: messages": Shape("corpus", "a.csv", repeated('"a",b,"31/31/2024"\n', "author,text,date\n")),
    "yaml: aliases": Shape("corpus", "a.yml", repeated("- *a\n", "conversations:\n- &a [a, b]\n")),
    "yaml: lists in lists": Shape("corpus", "a.yml", repeated("- ", "conversations:\n", "a\n")),
    "yaml: lists": Shape("corpus", "a.yml", repeated("- - a\n  - b\n", "conversations:\n")),
    "cornell: ids": Shape("corpus", "movie_lines.txt", repeated("L1 +++$+++ u +++$+++ m +++$+++ A +++$+++ a\n")),
    "vocabulary: short words": Shape("vocabulary", "vocabulary.txt", repeated("\n")),
    "vocabulary: one word": Shape("vocabulary", "vocabulary.txt", repeated("a", "<pad>\n<sos>\n<eos>\n", "\n")),
    "settings: lists": Shape("settings", "config.json", repeated("[],", '{"corpus": [', "[]]}")),
    "settings: digits": Shape("settings", "config.json", repeated("9", '{"corpus": {"max_length": ', "}}")),
    "manifest: lists": Shape("manifest", "manifest.json", repeated("[],", '{"format": 1, "files": [', "[]]}")),
    "metrics: lines": Shape("metrics", "metrics.jsonl", repeated('{"step": 1}\n')),
    "metrics: nested": Shape("metrics", "metrics.jsonl", repeated("[" * 500 + "\n")),
    "checkpoint: lists": Shape("checkpoint", "best.pt", pickled(b"]")),
    "checkpoint: dictionaries": Shape("checkpoint", "best.pt", pickled(b"}")),
    "checkpoint: marks": Shape("checkpoint", "best.pt", pickled(b"(")),
    "checkpoint: memo": Shape("checkpoint", "best.pt", memo),
    "checkpoint: tuples": Shape("checkpoint", "best.pt", pickled(b"N\x85")),
    "checkpoint: text": Shape("checkpoint", "best.pt", pickled(b"X\x01\0\0\0a")),
    "checkpoint: doubled lists": Shape("checkpoint", "best.pt", pickled(b"]q\0(h\0h\0h\0h\0e")),
    "zip: members": Shape("corpus", "a.zip", members),
    "zip: zeros": Shape("corpus", "a.zip", lambda size: zipped({"a.log": b"a\n" + b" " * 100 * size})),
    "typed: a line of marks": Shape("tokens", "a", repeated("'!<.,")),
    "typed: combining marks": Shape("tokens", "a", repeated("e\u0301\u0300")),
    "typed: halves of pairs": Shape("tokens", "a", repeated("\ud800")),
}


def read(reader: str, path: Path) -> None:
    """Read a file as the program does; a refusal is fine. Each reader loads what it needs, and torch few."""
    from chatbot.system.errors import ChatbotError

    with contextlib.suppress(ChatbotError):
        if reader == "corpus":
            from chatbot.corpus.formats.recognise import dialogues, recognise
            from chatbot.corpus.inputs import input_files
            from chatbot.corpus.reading import Reading

            found, _ = input_files(path)
            format, files = recognise(found, "auto", str(path))
            for _ in dialogues(format, files, Reading()):
                pass
        elif reader == "vocabulary":
            from chatbot.corpus.vocabulary import Vocabulary

            Vocabulary.load(path)
        elif reader == "settings":
            from chatbot.config.settings import Config

            Config.load(path)
        elif reader == "tokens":
            from chatbot.corpus.tokenizer import TOKENIZERS

            TOKENIZERS["english"].tokenize(path.read_bytes().decode("utf-8", "surrogatepass"))
        elif reader == "manifest":
            from chatbot.deployment.manifest import read_manifest

            read_manifest(path.parent)
        elif reader == "metrics":
            from chatbot.runs.directory import RunDirectory

            RunDirectory(path.parent).measurements()
        else:
            from chatbot.runs.checkpoint import Checkpoint

            Checkpoint.load(path)


def measured(reader: str, file: str, contents: list[bytes]) -> list[tuple[float, float]]:
    """For each content but the first, which is tiny: the process's own seconds, and the most bytes that it has held
    since then beyond those before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        if file == "movie_lines.txt":
            (Path(folder) / "movie_conversations.txt").write_text("u +++$+++ v +++$+++ m +++$+++ ['L1', 'L1']\n")
        write(path, contents[0])
        read(reader, path)  # what is loaded on first use is no part of it
        before, found = held(), []
        for content in contents[1:]:
            write(path, content)
            began = time.process_time()
            read(reader, path)
            found.append((time.process_time() - began, max(0.0, held(peak=True) - before)))
        return found


def write(path: Path, content: bytes) -> None:
    """The file; of a checkpoint the content is its pickle."""
    if path.suffix != ".pt":
        path.write_bytes(content)
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")


def held(peak: bool = False) -> float:
    """Bytes that this process holds, or held at most."""
    if peak or not Path("/proc/self/statm").exists():
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def slope(sizes: list[int], values: list[float]) -> float:
    """Of a line through the logarithms (least squares)."""
    xs, ys = [math.log(size) for size in sizes], [math.log(max(value, 1e-3)) for value in values]
    middle, level = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - middle) * (y - level) for x, y in zip(xs, ys, strict=True)) / sum((x - middle) ** 2 for x in xs)


def main() -> int:
    parser = argparse.ArgumentParser(description="measure what hostile files cost")
    parser.add_argument("--size", type=int, default=1 << 17, help="bytes of the smallest file")
    parser.add_argument("--only", default="", help="shapes with this in their name")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows, wrong = [], 0
    print(f"{'shape':36} {'growth':>7} {'s/MB':>7} {'bytes/byte':>11}")
    context = multiprocessing.get_context("spawn")
    for name, shape in SHAPES.items():
        if arguments.only not in name:
            continue
        contents = [shape.content(arguments.size * step) for step in STEPS]
        sizes = [len(content) for content in contents]
        if shape.file.endswith(".zip"):
            sizes = [arguments.size * step for step in STEPS]
        with context.Pool(1) as pool:
            found = pool.apply(measured, (shape.reader, shape.file, [shape.content(64), *contents]))
        seconds, memory = [s for s, _ in found], [m for _, m in found]
        growth = slope(sizes, seconds) if seconds[-1] > 0.05 else 0.0  # below that the clock tells nothing
        a_megabyte, a_byte = seconds[-1] / sizes[-1] * 1e6, max(0.0, memory[-1] - 8e6) / sizes[-1]
        bad = growth > MOST_GROWTH or a_megabyte > MOST_SECONDS or a_byte > MOST_BYTES
        wrong += bad
        rows.append({"shape": name, "growth": growth, "seconds_a_megabyte": a_megabyte, "bytes_a_byte": a_byte})
        print(f"{name:36} {growth:7.2f} {a_megabyte:7.2f} {a_byte:11.1f}{'  !' if bad else ''}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"size": arguments.size, "rows": rows}, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
