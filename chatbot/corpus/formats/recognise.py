"""Recognise the format of raw files, and read their dialogues. READERS names the module that reads each format.

To add a format (a WhatsApp export, say), write a module beside this one with `looks_like` and `read` (see
`dialogue.Format`), enter it in READERS, and add its name to `config.settings.FORMATS`, which the command line offers.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from . import (
    chat_log,
    chatgpt,
    chitchat,
    convokit,
    cornell,
    dailydialog,
    days,
    delimited,
    discord,
    headed,
    irc,
    json_file,
    jsonl,
    labels,
    matrix,
    messenger,
    parallel,
    parlai,
    parquet,
    signal,
    skype,
    slack,
    stamped,
    subtitles,
    telegram,
    transcript,
    whatsapp,
    yaml_file,
)
from .dialogue import Dialogue, Format, Head, in_pieces
from .privacy import Privacy

READERS: dict[str, Format] = {  # in the order in which they are asked whether a file is theirs
    "parquet": parquet,
    "chitchat": chitchat,
    "telegram": telegram,
    "messenger": messenger,
    "discord": discord,
    "slack": slack,
    "skype": skype,
    "matrix": matrix,
    "chatgpt": chatgpt,
    "convokit": convokit,
    "jsonl": jsonl,
    "json": json_file,
    "subtitles": subtitles,
    "signal": signal,
    "whatsapp": whatsapp,
    "irc": irc,
    "stamped": stamped,
    "headed": headed,
    "days": days,
    "dailydialog": dailydialog,
    "parlai": parlai,
    "delimited": delimited,
    "transcript": transcript,
    "yaml": yaml_file,
    "labels": labels,
    "log": chat_log,
}
# what people write to people: names and the like are left out of it by themselves, before messages become turns
EXPORTS = frozenset(
    (
        "telegram",
        "messenger",
        "discord",
        "slack",
        "signal",
        "whatsapp",
        "irc",
        "stamped",
        "headed",
        "days",
        "skype",
        "matrix",
    )
)
# published corpora come with other files about the corpus; only this one holds the dialogues
PUBLISHED = {"convokit": "utterances.jsonl", "chitchat": "dataset.json", "dailydialog": "dialogues_text.txt"}
EXAMPLE = "a folder with train.enc and train.dec, or --corpus prompts.txt,replies.txt"
UNKNOWN = "unknown"  # JSON that is no dialogue
TEXT_SUFFIXES = (
    *(".txt", ".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".log", ".tab", ".srt", ".vtt", ".md", ".yml", ".yaml"),
    *(".parquet", ""),
)
NO_CORPUS = re.compile(r"readme|licen[cs]e|copying|change|notice")


def recognise(files: list[InputFile], wanted: str, where: str, columns: str = "") -> tuple[str, list[InputFile]]:
    """Find the format (in READERS, `cornell` or `parallel`) and those of `files` that hold dialogues, in order.

    Args:
        wanted: the format that the user named, or `auto`.
        where: the path that was given, for messages.
        columns: what `--columns` says.

    Raises:
        ChatbotError: no file is of a supported format, or they are of several.
    """
    if wanted in ("auto", "cornell") and (pair := cornell.both_files(files, where, wanted == "cornell")):
        return "cornell", pair
    if wanted in ("auto", "parallel") and (pair := parallel.both_files(files) or files * (wanted == "parallel")):
        if len(pair) % 2:
            raise ChatbotError(f"{where}: the format parallel takes two files, of prompts and of replies: {EXAMPLE}")
        return "parallel", pair
    if len(files) > 1:
        files = [file for file in files if PurePosixPath(file.base).suffix in TEXT_SUFFIXES]
        files = [file for file in files if not NO_CORPUS.match(file.base)]
    found: defaultdict[str, list[InputFile]] = defaultdict(list)
    refused: list[ChatbotError] = []  # they matter only if no published corpus is here, whose other files they are
    for file in files:
        head = Head.of(file, columns)
        if head.text.strip(" \t\r\n\ufeff"):
            try:
                likely = (name for name, format in READERS.items() if format.looks_like(head))
                found[next(likely, UNKNOWN) if wanted == "auto" else wanted].append(file)
            except ChatbotError as error:
                refused.append(error)
        elif len(files) == 1:
            raise ChatbotError(f"{file.name} is empty")
    unknown = found.pop(UNKNOWN, [])
    if found.keys() & EXPORTS:
        found.pop("json", None)  # an export's lists of users and channels
    for name, base in PUBLISHED.items():
        if name in found:
            whole = [file for file in found[name] if file.base == base]
            return name, whole[:1] or found[name]
    if refused:
        raise refused[0]
    if not found:
        what = "only JSON in which no prompt with a reply and no turns are found" if unknown else "no text file to read"
        raise ChatbotError(f"{where} holds {what}; docs/formats.md shows the formats")
    if len(found) > 1:
        kinds = ", ".join(f"{files[0].name} ({name})" for name, files in sorted(found.items()))
        raise ChatbotError(f"{where} holds files of several formats: {kinds}; name one file, or give --format")
    return next(iter(found.items()))


def dialogues(format: str, files: list[InputFile], reading: Reading) -> Iterator[Dialogue]:
    """Yield the dialogues of `files`, as `recognise` returned them, none over MAX_TURNS turns long.

    Damaged records are counted in `reading` and end a dialogue.

    Raises:
        ChatbotError: a file cannot be read at all.
    """
    if format == "cornell":
        lines, conversations = files
        found = cornell.read(lines, conversations, reading)
    elif format == "parallel":
        pairs = zip(files[::2], files[1::2], strict=True)
        found = (dialogue for prompts, replies in pairs for dialogue in parallel.read(prompts, replies, reading))
    else:
        found = (dialogue for file in files for dialogue in READERS[format].read(file, reading))
    if reading.config.private and format not in EXPORTS:
        clean = Privacy((), reading.left_out).clean
        found = (dialogue._replace(turns=[turn and clean(turn) for turn in dialogue.turns]) for dialogue in found)
    return itertools.chain.from_iterable(map(in_pieces, found))
