"""ParlAI's text formats: `text:…<tab>labels:…<tab>episode_done:True`, and numbered lines of a prompt and a reply.

The second is PersonaChat's, with or without candidates and personas, and that of the bAbI dialogues.
"""

import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue, Head

FIELD = re.compile(r"(?:^|\t)(text|labels|eval_labels|episode_done):([^\t]*)")
NUMBERED = re.compile(r"(\d{1,6}) (.*)")
PERSONA = re.compile(r"(?:your|partner's) persona: ")


def looks_like(head: Head) -> bool:
    """Most lines have the fields; or most are numbered, beginning anew at 1, with tabs or personas behind."""
    fields = sum(line.startswith("text:") and "labels:" in line for line in head.lines)
    if fields * 2 > len(head.lines):
        return True
    numbered = [found for line in head.lines if (found := NUMBERED.match(line))]
    if not numbered or numbered[0][1] != "1" or len(numbered) * 10 < 9 * len(head.lines):
        return False
    return sum("\t" in found[2] or bool(PERSONA.match(found[2])) for found in numbered) * 5 > 4 * len(numbered)


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the episodes. Of several labels or candidates the first label alone is read; personas are left out."""
    turns: list[str | None] = []
    start, numbered = 0, not Head.of(file).begins_with("text:")
    reading.layouts["numbered lines of ParlAI" if numbered else "ParlAI's text and labels"] += 1
    for number, line in reading.lines(file):
        if line == "\0" or not line.strip():
            turns += [None] if line == "\0" and turns else []
            continue
        exchange = _numbered(line) if numbered else _fields(line)
        if exchange is None:
            reading.damaged(file.name, number, "no number and text" if numbered else "no text and labels")
            continue
        begins, ends, said = exchange
        if begins or len(turns) - start >= MAX_TURNS:
            if len(turns) > start + 1:
                yield Dialogue("", "", turns, start)
            turns = [] if begins else turns[-OVERLAP:]
            start = max(len(turns) - 1, 0)
        kept = [text for text in said if text]
        if not kept:
            reading.left_out["lines without an exchange"] += 1
        turns += kept if len(kept) == len(said) or not kept else [None]
        if ends:
            if len(turns) > start + 1:
                yield Dialogue("", "", turns, start)
            turns, start = [], 0
    if len(turns) > start + 1:
        yield Dialogue("", "", turns, start)


def _numbered(line: str) -> tuple[bool, bool, list[str]] | None:
    """Whether an episode begins, whether it ends, and what is said: nothing on a line about a persona."""
    found = NUMBERED.match(line)
    if not found:
        return None
    said = [text.strip() for text in found[2].split("\t")[:2]]
    return found[1] == "1", False, said if len(said) == 2 and not PERSONA.match(found[2]) else []


def _fields(line: str) -> tuple[bool, bool, list[str]] | None:
    fields = dict(FIELD.findall(line))
    reply = fields.get("labels", fields.get("eval_labels"))
    if "text" not in fields or reply is None:
        return None
    lines = [part for part in fields["text"].replace("\\n", "\n").split("\n") if not PERSONA.match(part)]
    said = [" ".join(lines).strip(), reply.split("|")[0].replace("\\n", " ").strip()]
    return False, fields.get("episode_done", "").lower() == "true", said
