"""Text with a label before each turn: `User: Hi` and `Bot: Hello`, `Q:` and `A:`, or the names of those who speak.

A line without a label goes on with the turn before. Where the labels say who asks and who answers, only the answers
are learnt as replies.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterator

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import MAX_LINE, Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue, Head

LETTER = re.compile(r"\s*([QA])\s?\d{0,4}[.)]\s+")  # `Q.` and `A)`
HEADING = re.compile(r"#{1,6}\s+(?=[^\W\d_][\w ]{0,20}:?\s*$)")
LABEL = re.compile(r"\s*[*_\[]{0,2}([^\W\d_][\w .'’()-]{0,31}?)[*_\]]{0,2}\s?[:：][*_]{0,2}(?:\s+(.*)|$)")
NUMBER = re.compile(r"[ ._-]?\d+$")
ASKERS = {
    *("q", "question", "user", "human", "customer", "visitor", "client", "prompt", "instruction", "input", "person"),
    *("student", "you", "caller", "guest"),
}
ANSWERERS = {
    *("a", "answer", "bot", "chatbot", "assistant", "ai", "agent", "gpt", "chatgpt", "model", "response", "reply"),
    *("output", "system", "operator", "support"),
}
MAIL = {"from", "to", "subject", "date", "cc", "sent"}
MOST_LABELS = 40  # more different ones in the head of a file are words before a colon, not speakers


def looks_like(head: Head) -> bool:
    """Labels stand before most lines, each of a few; or before a third of them, if they say who asks and who answers.

    Raises:
        ChatbotError: there is one label alone, or they are those of e-mail.
    """
    labels = [found[1] for line in head.lines if (found := _label(line))]
    counts = Counter(map(_role, labels))
    if len(counts) > MOST_LABELS or not counts:
        return False
    if len(MAIL & counts.keys()) >= 2 and "subject" in counts:
        raise ChatbotError(f"{head.file.name} looks like e-mail, which is not read: write it as pairs (docs/data.md)")
    share = len(labels) / len(head.lines)
    if ASKERS & counts.keys() and ANSWERERS & counts.keys():
        return share * 3 >= 1
    often = [label for label, count in counts.items() if count >= 2]
    if len(counts) == 1 and share * 10 >= 4 and len(labels) > 2:
        raise ChatbotError(
            f"{head.file.name}: {labels[0]!r} is the only label before its lines: put one before each turn of "
            "the other speaker too, or cut it off (if it belongs to what is said, give --format log)"
        )
    few = len(counts) == 2 and len(head.lines) <= 6  # a file of a few lines
    most = 2 if share * 10 >= 9 else 3  # times that a label comes on average
    return share * 10 >= 6 and (few or (len(often) >= 2 and len(counts) * most <= len(labels)))


def _label(line: str) -> re.Match[str] | None:
    """The label and what stands behind it; `## User`, as Markdown has it, is one too."""
    if line.startswith("#") and (found := HEADING.match(line)):
        bare = line[found.end() :].strip(" :")
        line = f"{bare}:" if _role(bare) in ASKERS | ANSWERERS else line
    elif found := LETTER.match(line):
        line = f"{found[1]}: {line[found.end() :]}"
    return LABEL.match(line)


@functools.lru_cache(maxsize=1 << 12)  # few people speak, each of them often
def _role(label: str) -> str:
    """A label for comparing: `Q1`, `q 2` and `Q` are one; so are not `Human 1` and `Human 2`."""
    name = label.strip().casefold()
    bare = NUMBER.sub("", name)
    return bare if bare in ("q", "a", "question", "answer") else name


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the turns between blank lines as a conversation, or where these stand between turns, all of them."""
    roles = _speakers(file)
    answers = ANSWERERS if ASKERS & roles and ANSWERERS & roles and not reading.config.me else set()
    learnt = sorted(roles & answers)
    reading.layouts["labelled turns" + f"; learnt as replies: what {', '.join(learnt)} says" * bool(learnt)] += 1
    apart = _blank_lines_separate(Head.of(file).text)
    turns: list[list[str] | None] = []  # the lines of each, since joining them anew at every line would be quadratic
    speakers: list[str] = []
    start = size = 0  # where the turns begin that were not yielded yet; characters of the last turn
    for number, line in reading.lines(file):
        found = None if line == "\0" else _label(line)
        if line.startswith("===") or (apart and not line.strip()):
            yield from _dialogue(turns, speakers, start, answers, reading)
            turns, speakers, start = [], [], 0
        elif line == "\0":
            turns.append(None)
            speakers.append("")
        elif found and _role(found[1]) in roles:
            name, text = found[1].strip(), (found[2] or "").strip()
            reading.speakers[name] += 1
            if speakers and _role(speakers[-1]) == _role(name) and turns[-1] is not None:
                size = _add(text, turns[-1], size, file.name, number, reading)
                continue
            if len(turns) - start >= MAX_TURNS:
                yield from _dialogue(turns, speakers, start, answers, reading)
                turns, speakers = turns[-OVERLAP:], speakers[-OVERLAP:]
                start = len(turns) - 1
            turns.append([text])
            speakers.append(name)
            size = len(text)
        elif not turns:
            if line.strip():
                reading.damaged(file.name, number, "no label, and no turn before it")
        elif turns[-1] is not None:
            size = _add(line.strip(), turns[-1], size, file.name, number, reading)
    yield from _dialogue(turns, speakers, start, answers, reading)


def _speakers(file: InputFile) -> set[str]:
    """The labels that come twice or more, or all in a file of a few lines: others are words before a colon."""
    counts: Counter[str] = Counter()
    for _, line in Reading().lines(file):
        if (found := _label(line)) and (len(counts) < 100_000 or _role(found[1]) in counts):
            counts[_role(found[1])] += 1
    return {role for role, count in counts.items() if count > 1 or counts.total() <= 6 or role in ASKERS | ANSWERERS}


def _add(text: str, turn: list[str], size: int, file: str, number: int, reading: Reading) -> int:
    """Add a line to a turn, unless it is too long; the size that it has then."""
    if size > MAX_LINE:
        reading.damaged(file, number, f"a turn longer than {MAX_LINE:,} characters")
        return size
    turn.append(text)
    return size + len(text) + 1


def _blank_lines_separate(text: str) -> bool:
    """Whether two turns or more stand between blank lines, mostly."""
    blocks = [sum(_label(line) is not None for line in block.split("\n")) for block in re.split(r"\n\s*\n", text)]
    return sum(count >= 2 for count in blocks) > sum(count == 1 for count in blocks)


def _dialogue(
    turns: list[list[str] | None], speakers: list[str], start: int, answers: set[str], reading: Reading
) -> Iterator[Dialogue]:
    if len(turns) < start + 2:
        return
    learnt = None
    if reading.config.me:
        learnt = [reading.is_me(speaker) for speaker in speakers]
    elif answers:
        learnt = [_role(speaker) in answers for speaker in speakers]
    if learnt is None or any(learnt):
        yield Dialogue(
            "", "", [None if lines is None else " ".join(filter(None, lines)) for lines in turns], start, learnt
        )
