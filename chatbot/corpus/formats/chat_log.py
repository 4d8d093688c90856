"""A chat log: one utterance a line; a blank line or one that begins with `===` ends a dialogue.

Any text could be one. What looks like something else is refused, and what is left is shown before it is learnt.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue, Head

DASH = re.compile(r"\s*[-–—*•]\s+(?=\S)")
TIME = re.compile(r"\W{0,3}(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}[:.]\d{2})(?!\d)")
COUNTER = re.compile(r"\W{0,2}(\d{1,9})\W")
JSON = re.compile(r"\s*\[\s*(?:[\[{\"]|\]|$|-?[\d.]+\s*,)")  # and not the `[12:30]` of a chat
TAG = re.compile(r"\s*</?[a-zA-Z][^<>]*>")
YAML = re.compile(r"\s*(?:- - |-$|[\w -]{1,40}:(?:\s*$|\s*[|>]-?$))|---\s*$|%YAML")
HEADING = re.compile(r"#{1,6} \S")
ARROW = re.compile(r".*\S\s*(?:=>|->|→|==>|>>>|\|\|\|)\s*\S")
SPEAKER = re.compile(r"\s*[A-ZÀ-Þ][A-ZÀ-Þ0-9 .'’-]{1,30}\.?\s*")  # of a play: a name in capitals alone on a line
MODEL = re.compile(r"<\|[a-z_]{2,20}\|>|\[/?INST\]|</s>|\[SEP\]|<(?:sep|eos|eot)>")
NAMED = re.compile(r"([^\W\d_][\w .'’]{0,30}?)\s[-–—>]{1,2}\s+\S")
BINARY = {
    "%PDF": "a PDF",
    "{\\rtf": "rich text",
    "SQLite format 3": "a database",
    "\x7fELF": "a program",
    "\ufffdPNG": "a picture",
    "window.YTD": "JavaScript of Twitter's archive",
    "{1}{": "subtitles in frames (MicroDVD), which need the frames of the film: save them as .srt; this",
}


def looks_like(head: Head) -> bool:
    """Any text except JSON may be a chat log, so this format is asked last.

    Raises:
        ChatbotError: most lines begin with a time, a counter or a tag, or it is a table, YAML, or no text at all; the
            message says what to do.
    """
    for mark, what in BINARY.items():
        if head.begins_with(mark):
            raise ChatbotError(f"{head.file.name} is {what} and no text: export the dialogue as text or JSON")
    if head.begins_with("{") or JSON.match(head.text) or not head.lines:
        return False
    name, lines = head.file.name, head.lines

    def most(pattern: re.Pattern[str], share: float = 0.5) -> bool:
        return sum(pattern.match(line) is not None for line in lines) > share * len(lines)

    convert = "write it in one of the formats of docs/formats.md (if every line is an utterance, give --format log)"
    marks = [found[0] for line in lines if (found := MODEL.search(line))]
    if len(marks) * 2 > len(lines):
        raise ChatbotError(
            f"{name} has the marks of a language model's input ({marks[0]}): write it as JSON Lines of messages "
            "(docs/formats.md), or take the marks away"
        )
    if most(TAG) or head.begins_with("<!DOCTYPE", "<!doctype", "<html", "<HTML", "<?xml"):
        raise ChatbotError(f"{name} is HTML or XML: export the dialogue as JSON or text, or {convert}")
    if any("-->" in line for line in lines):
        raise ChatbotError(f"{name} has arrows as subtitles have, and no times that can be read: {convert}")
    _refuse_table(head, head.file.base.endswith((".csv", ".tsv", ".tab")), convert)
    if most(TIME, 0.3):
        raise ChatbotError(f"{name}: lines begin with a time, in no layout that is known: cut it off, or {convert}")
    numbers = [int(found[1]) for line in lines if (found := COUNTER.match(line))]
    if (
        len(numbers) * 3 > len(lines)
        and len(numbers) > 2
        and sum(map(int.__lt__, numbers, numbers[1:])) * 10 >= 7 * (len(numbers) - 1)
    ):
        raise ChatbotError(f"{name}: most lines begin with a counter: cut it off, or {convert}")
    if most(ARROW, 0.8) and len(lines) > 2:
        raise ChatbotError(f"{name}: most lines have an arrow between two texts: put a tab there, and they are pairs")
    named = Counter(found[1] for line in lines if (found := NAMED.match(line)))
    if named.total() * 5 > 4 * len(lines) and 1 < len(named) <= named.total() // 2 and len(lines) > 3:
        raise ChatbotError(
            f"{name}: the same names stand before a dash on most lines ({named.most_common(1)[0][0]}): put a colon "
            "instead of it (if they are what is said, give --format log)"
        )
    if most(HEADING, 0.15) and len(lines) > 3:
        raise ChatbotError(f"{name} has headings as Markdown has: put Q: and A: before the turns")
    names = Counter(line.strip() for line in lines if SPEAKER.fullmatch(line) and len(line.strip()) > 1)
    if len(lines) < 5 * names.total() and 5 * names.total() < 4 * len(lines) and max(names.values(), default=0) > 1:
        raise ChatbotError(
            f"{name} has names alone on their lines, as a play has ({names.most_common(1)[0][0]}): write them before "
            "what is said, with a colon (if they are what is said, give --format log)"
        )
    if most(YAML, 0.2) and any(DASH.match(line) for line in lines):
        raise ChatbotError(f"{name} looks like YAML of an unknown layout: {convert}")
    _refuse_table(head, _is_table(lines), convert)
    return True


def _refuse_table(head: Head, is_table: bool, convert: str) -> None:
    if is_table:
        raise ChatbotError(
            f"{head.file.name}:1: a table whose columns are not understood ({head.lines[0][:80]!r}): name them by "
            "--columns prompt=2,reply=3 (from 1), or of messages by --columns text=5,speaker=3; or put a header line "
            f"that names the prompt's and the reply's column (prompt,reply); or {convert}"
        )


def _is_table(lines: list[str]) -> bool:
    """Whether nearly all lines have the same number of separators, two or more; tabs and bars count from one."""
    for mark, fewest in (("\t", 1), ("|", 1), (";", 2), (",", 2)):
        count, often = Counter(line.count(mark) for line in lines).most_common(1)[0]
        if count >= fewest and len(lines) > 4 and often * 10 >= 9 * len(lines):
            return True
    return False


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the lines between two separators as a dialogue; a long one is cut here, since it may have no end."""
    lines = Head.of(file).lines
    dashed = sum(DASH.match(line) is not None for line in lines) * 5 > 4 * len(lines)
    reading.layouts["one utterance a line" + ", without the dash at its head" * dashed] += 1
    turns: list[str | None] = []
    start = 0
    for _, line in itertools.chain(reading.lines(file), [(0, "")]):  # the end of the file separates too
        if line.strip() and not line.startswith("==="):
            turns.append(None if line == "\0" else DASH.sub("", line, count=1) if dashed else line)
            if len(turns) - start >= MAX_TURNS:
                yield Dialogue("", "", turns, start)
                turns = turns[-OVERLAP:]
                start = len(turns) - 1
            continue
        if len(turns) > start + 1:
            yield Dialogue("", "", turns, start)
        turns, start = [], 0
