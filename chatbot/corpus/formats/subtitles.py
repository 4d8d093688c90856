"""Subtitles, .srt, .vtt and .ass: a turn is what stands on the screen at once, or goes on from one time to the next.

Counters, times, mark-up, lyrics and what describes a sound are left out. A dash begins the turn of another speaker.
"""

import html
import re
from collections.abc import Iterator

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import MAX_TURNS, OVERLAP, Dialogue, Head

MOMENT = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
TIMES = re.compile(rf"\s*{MOMENT}\s*-->\s*{MOMENT}(?:\s.*)?")
PAUSE = 10.0  # seconds; a longer one begins a new conversation
MARK_UP = re.compile(r"<(?!v[ .])[^<>]{0,80}>|\{\\[^{}]{0,80}\}")
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^<>]{1,60})>")
NO_WORDS = re.compile(r"\[[^\[\]]{0,200}\]|\([^()]{0,200}\)|[♪♫][^♪♫]*[♪♫]?|#[^#]*#|^\s*#.*")
ROLLS = re.compile(r"<\d\d:\d\d:\d\d\.\d{3}>")  # captions that a machine wrote, word by word
NAMED = re.compile(r"([^\W\d_][\w .'’-]{0,40}):\s+")  # where most of what is said begins so
ASS = re.compile(
    r"Dialogue:\s*[^,]*,(\d{1,3}):(\d\d):(\d\d)\.(\d\d),(\d{1,3}):(\d\d):(\d\d)\.(\d\d),[^,]*,([^,]*),(?:[^,]*,){4}(.*)"
)
SPEAKER = re.compile(r"([A-Z][A-Z0-9 .'-]{1,30}):\s+")
DASH = re.compile(r"\s*[-–—‐]\s*(?=\S)")
NOT_ENDED = re.compile(r"(?:[\w,;:'’-]|\.\.\.|…)$")


def looks_like(head: Head) -> bool:
    """It begins with `WEBVTT`, or two of its first lines hold times and an arrow, or the only one of a short file."""
    if head.text.lstrip().startswith("[Script Info]"):
        return True  # SubStation's
    times = sum(TIMES.fullmatch(line) is not None for line in head.lines)
    return times > 0 and (head.begins_with("WEBVTT") or times >= 2 or len(head.lines) < 6)


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield what is said without a pause of over PAUSE seconds as a conversation."""
    reading.layouts[f"subtitles; a pause of {PAUSE:g} seconds begins a new conversation"] += 1
    turns: list[str | None] = []
    start, ended, speaker = 0, 0.0, ""
    head = Head.of(file)
    cues = _events if head.begins_with("[Script Info]") else _cues
    named = sum(NAMED.match(line) is not None for line in head.lines)
    speakers = NAMED if named * 2 > sum("-->" in line for line in head.lines) else SPEAKER
    rolls, shown = ROLLS.search(head.text) is not None, ""
    for begins, ends, said in cues(file, speakers, reading):
        if rolls:  # each time shows the line before again
            said = _new(said, shown)
            shown = said[-1][1] if said else shown
        if turns and not 0 <= begins - ended + PAUSE <= 2 * PAUSE:
            if len(turns) > start + 1:
                yield Dialogue("", "", turns, start)
            turns, start, speaker = [], 0, ""
        ended = ends
        for name, text in said:
            last = turns[-1] if turns else None
            if last and ((name and name == speaker) or (not name and _goes_on(last, text))):
                turns[-1] = f"{last} {text}"
            else:
                turns.append(text)
            speaker = name
        if len(turns) - start >= MAX_TURNS:
            yield Dialogue("", "", turns, start)
            turns = turns[-OVERLAP:]
            start = len(turns) - 1
    if len(turns) > start + 1:
        yield Dialogue("", "", turns, start)


def _new(said: list[tuple[str, str]], shown: str) -> list[tuple[str, str]]:
    """What is not shown already."""
    (name, text), *others = said
    text = text.removeprefix(shown).strip() if text.startswith(shown) else text
    return [(name, text), *others] if text else others


def _events(
    file: InputFile, speaker: re.Pattern[str], reading: Reading
) -> Iterator[tuple[float, float, list[tuple[str, str]]]]:
    """The same of SubStation's lines, `Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,Hello.`"""
    for number, line in reading.lines(file):
        if found := ASS.match(line):
            begins, ends = _seconds(found.groups()[:4], 100), _seconds(found.groups()[4:8], 100)
            lines = re.split(r"\\[Nn]", found[10])
            if said := _turns(lines, speaker, reading):
                yield begins, ends, [(found[9].strip() or name, text) for name, text in said]
        elif line.startswith("Dialogue:"):
            reading.damaged(file.name, number, "times that are none")


def _goes_on(last: str, text: str) -> bool:
    """Whether a text goes on with the sentence before."""
    return bool(NOT_ENDED.search(last)) and not text[:1].isupper() and len(last) < 1000


def _cues(
    file: InputFile, speaker: re.Pattern[str], reading: Reading
) -> Iterator[tuple[float, float, list[tuple[str, str]]]]:
    """Yield beginning and end of each cue in seconds, and who says what in it."""
    begins = ends = 0.0
    lines: list[str] | None = None  # of the cue; None outside of one
    for number, line in reading.lines(file):
        if times := TIMES.fullmatch(line):
            if lines and (said := _turns(lines[:-1] if lines[-1].strip().isdigit() else lines, speaker, reading)):
                yield begins, ends, said
            begins, ends = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
            lines = []
        elif not line.strip() or line == "\0":
            if lines and (said := _turns(lines, speaker, reading)):
                yield begins, ends, said
            lines = None
        elif lines is not None:
            if len(lines) < 50:
                lines.append(line)
            else:
                reading.damaged(file.name, number, "a line of no cue")
        elif "-->" in line:
            reading.damaged(file.name, number, "times that are none")
    if lines and (said := _turns(lines, speaker, reading)):
        yield begins, ends, said


def _seconds(parts: tuple[str | None, ...], unit: int = 1000) -> float:
    hours, minutes, seconds, rest = (int(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds + rest / unit


def _turns(lines: list[str], speaker: re.Pattern[str], reading: Reading) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    dashed = sum(DASH.match(MARK_UP.sub("", line)) is not None for line in lines) >= 2
    for line in lines:
        line = html.unescape(MARK_UP.sub("", line))
        voice = VOICE.search(line)
        line, count = NO_WORDS.subn(" ", VOICE.sub("", line))
        if count:
            reading.left_out["sounds and lyrics"] += count
        dash = DASH.match(line)
        line = DASH.sub("", line, count=1) if dash else line
        named = speaker.match(line.strip())
        name = voice[1].strip() if voice else named[1] if named else ""
        line = " ".join((line.strip()[named.end() :] if named else line).split())
        if name:
            reading.speakers[name] += 1
        if not line:
            continue
        if said and not name and not (dash and dashed):
            said[-1] = said[-1][0], f"{said[-1][1]} {line}"
        else:
            said.append((name, line))
    return said
