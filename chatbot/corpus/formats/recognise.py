"""Raw files of every supported format to a stream of conversations; the only room that knows formats.

A format is recognised by the content of its files (`recognise`) and read by one function (`conversations`). Readers
hold one conversation at a time; the two formats that must be put together from scattered lines (Cornell, ConvoKit)
keep them in a temporary database on disk when there are many.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...system.errors import ChatbotError
from ..inputs import InputFile, Reading
from . import tables
from .scattered import Texts, Threads
from .tables import PROMPT_KEYS, REPLY_KEYS, layout

CORNELL_LINES, CORNELL_CONVERSATIONS = "movie_lines.txt", "movie_conversations.txt"
WHOLE = {"convokit": "utterances.jsonl", "chitchat": "dataset.json", "dailydialog": "dialogues_text.txt"}
JSON_CHUNK = 1 << 20
JSON_MEMBER = 1 << 26  # characters that one conversation of a JSON object may have
MAX_TURNS = 256  # a longer conversation is read as several, the end of one being the context of the next
OVERLAP = 21  # turns of context that such a piece brings along: one for its first prompt, and CorpusConfig.context

TURNS_KEYS = ("turns", "messages", "dialog", "dialogue", "utterances", "conversation")
TEXT_SUFFIXES = (".txt", ".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".log", ".tab", "")
BLANK = b" \t\r\n\xef\xbb\xbf"
ARRAY = re.compile(r"\s*\[\s*(?:[\[{\"]|$)")  # and not the `[12:30] ann: hi` of a log
NO_CORPUS = re.compile(r"readme|licen[cs]e|copying|change|notice")


class Conversation(NamedTuple):
    """Turns of raw text, None for one that is missing: nothing answers it and it answers nothing.

    `film` and `key` name what must not be divided between training and held-out data.
    film: the film it is from, "" if there are none; key: a name of its own, "" if its text is its name;
    start: index of the first turn that is a prompt here (earlier ones are only context).
    """

    film: str
    key: str
    turns: list[str | None]
    start: int = 0


def recognise(files: list[InputFile], wanted: str, where: str) -> tuple[str, list[InputFile]]:
    """The format (`CorpusConfig.format`, never `auto`) and those of `files` that are read, in order.

    Raises:
        ChatbotError: nothing there is of a format that is known (or of the one `wanted`), or files disagree.
    """
    if wanted in ("auto", "cornell") and (pair := _cornell_files(files, where, wanted == "cornell")):
        return "cornell", pair
    if len(files) > 1:
        files = [file for file in files if file.suffix in TEXT_SUFFIXES and not NO_CORPUS.match(file.base)]
    heads = {file: file.head() for file in files}
    if len(files) == 1 and not heads[files[0]].strip(BLANK):
        raise ChatbotError(f"{files[0].name} is empty")
    found: dict[str, list[InputFile]] = {}
    refused: list[ChatbotError] = []
    for file, head in heads.items():
        if head.strip(BLANK):
            try:
                format = _format_of(file, head) if wanted == "auto" else wanted
            except ChatbotError as error:
                refused.append(error)  # it matters only if it is no file about a corpus that is here, too
            else:
                found.setdefault(format, []).append(file)
    unknown = found.pop("unknown", [])
    if not found and refused:
        raise refused[0]
    if not found:
        what = "only JSON that is neither an object a line nor chitchat" if unknown else "no text file to read"
        raise ChatbotError(f"{where} holds {what}; docs/data.md shows the formats")
    for name in ("convokit", "chitchat", "dailydialog"):
        if name in found:  # such a corpus comes with files about the corpus
            whole = [file for file in found[name] if file.base == WHOLE[name]]
            return name, whole[:1] or found[name]
    if refused:
        raise refused[0]
    if len(found) > 1:
        kinds = ", ".join(f"{files[0].name} ({name})" for name, files in sorted(found.items()))
        raise ChatbotError(f"{where} holds files of several formats: {kinds}; name one file, or give --format")
    return next(iter(found.items()))


def _cornell_files(files: list[InputFile], where: str, wanted: bool) -> list[InputFile]:
    """The two classic files, the ones nearest the top; a single one given by its path brings its neighbour."""
    if len(files) == 1 and not files[0].member and (wanted or b" +++$+++ " in files[0].head()):
        files = [InputFile(str(path), path) for path in sorted(files[0].path.parent.iterdir()) if path.is_file()]
        wanted = True
    pair = []
    for name in (CORNELL_LINES, CORNELL_CONVERSATIONS):
        same = [file for file in files if file.base == name]
        if same:
            pair.append(min(same, key=lambda file: file.name.count("/")))
    if len(pair) == 2:
        return pair
    if wanted or pair:
        raise ChatbotError(f"{where} must hold both {CORNELL_LINES} and {CORNELL_CONVERSATIONS}")
    return []


def _format_of(file: InputFile, head: bytes) -> str:
    """The format that the beginning of a file looks like; `unknown` for JSON of another kind.

    Raises:
        ChatbotError: it would pass for a log, but is an array of JSON or a table without a header.
    """
    text = head.decode("utf-8", "replace").lstrip("\ufeff")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    lines = [line for line in (lines[:-1] if len(lines) > 1 else lines) if line.strip()][:200]
    if not lines:
        return "log"
    if lines[0].lstrip().startswith(("{", "[")):
        if re.search(r'"messages"\s*:\s*\[\s*\[', text) and '"sender"' in text:
            return "chitchat"
        keys = {key for line in lines[:20] for key in _keys(line)}
        if ARRAY.match(text) and (not keys or lines[0].strip() == "["):
            raise ChatbotError(f"{file.name}:1: a JSON array: write one object a line instead (JSONL, docs/data.md)")
        if keys or file.base.endswith((".jsonl", ".ndjson")):
            return "convokit" if {"id", "text"} <= keys and keys & {"conversation_id", "root"} else "jsonl"
        if lines[0].lstrip().startswith("{"):
            return "unknown"
    if sum("__eou__" in line for line in lines) * 2 > len(lines):
        return "dailydialog"
    if layout(lines, file.base.endswith((".csv", ".tsv", ".tab"))):
        return "delimited"
    tabs, count = Counter(line.count("\t") for line in lines).most_common(1)[0]
    if tabs >= 2 and count * 2 > len(lines):
        raise ChatbotError(
            f"{file.name}:1: {tabs + 1} columns and no header: put a header line that names the prompt's and the "
            "reply's column, or keep two columns (if it is a chat log, give --format log)"
        )
    return "log"


def _keys(line: str) -> set[str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return set()
    return set(record) if isinstance(record, dict) else set()


def conversations(format: str, files: list[InputFile], reading: Reading) -> Iterator[Conversation]:
    """Read `files` (as `recognise` gave them). Damage is counted in `reading`; a conversation is cut where it is.

    Raises:
        ChatbotError: a file cannot be read at all.
    """
    if format == "cornell":
        return _cornell(files[0], files[1], reading)
    read = READERS[format]
    return (conversation for file in files for conversation in read(file, reading))


def _cornell(lines_file: InputFile, conversations_file: InputFile, reading: Reading) -> Iterator[Conversation]:
    """`L1 +++$+++ u0 +++$+++ m0 +++$+++ NAME +++$+++ text`, and `u0 +++$+++ u2 +++$+++ m0 +++$+++ ['L1', 'L2']`.

    As in the lineage a line of nothing but white space is no turn; so it is in ConvoKit's edition.
    """
    id_list = re.compile(r"\['([^'\\]+(?:', '[^'\\]+)*)'\]\s*")
    with Texts() as texts:
        add = texts.add
        for number, line in reading.lines(lines_file):
            fields = line.split(" +++$+++ ", 4)
            if len(fields) == 5:
                add(fields[0], fields[4] if fields[4].strip() else None)
            elif line not in ("\0", ""):
                reading.damaged(lines_file.name, number, "not five fields separated by ' +++$+++ '")
        for number, line in reading.lines(conversations_file):
            fields = line.split(" +++$+++ ")
            ids = id_list.fullmatch(fields[3]) if len(fields) == 4 else None
            if not ids:
                if line not in ("\0", ""):
                    reading.damaged(conversations_file.name, number, "not three fields and a list of line ids")
                continue
            names = ids[1].split("', '")
            turns = texts.get(names)
            if None in turns and (missing := texts.missing(names)):
                reading.damaged(conversations_file.name, number, "a line id that is unknown", f": {missing}")
            yield Conversation(fields[2], names[0], turns)


def _convokit(file: InputFile, reading: Reading) -> Iterator[Conversation]:
    """One utterance a line, in any order; each names its conversation and the utterance it replies to."""
    with Threads() as threads:
        for number, record in _records(file, reading):
            id, text = record.get("id"), record.get("text")
            conversation = record.get("conversation_id", record.get("root"))
            if not (isinstance(id, str) and isinstance(text, str) and isinstance(conversation, str)):
                reading.damaged(file.name, number, "no id, text and conversation_id")
                continue
            parent = record.get("reply-to", record.get("reply_to"))
            meta = record.get("meta")
            film = meta.get("movie_id") if isinstance(meta, dict) else None
            parent = str(parent) if parent is not None else None
            threads.add(conversation, id, parent, str(film or ""), text, number)
        for conversation, film, utterances in threads:
            yield from _chains(conversation, film, utterances, file.name, reading)


def _chains(
    key: str, film: str, utterances: list[tuple[str, str | None, str, int]], file: str, reading: Reading
) -> Iterator[Conversation]:
    """Rebuild who replied to whom. A tree of replies gives one chain for each leaf; no exchange comes twice."""
    by_id = {id: (parent, text if text.strip() else None) for id, parent, text, _ in utterances}
    if len(utterances) > 1 and all(parent is None for _, parent, _, _ in utterances):
        yield from _long(Conversation(film, key, [by_id[id][1] for id, _, _, _ in utterances]))  # the file's order
        return
    children: dict[str | None, list[str]] = {}
    for id, parent, _, number in utterances:
        if parent is not None and parent not in by_id:
            reading.damaged(file, number, "a reply to an utterance that is unknown", f": {parent}")
            parent = None
        children.setdefault(parent, []).append(id)
    reached = 0
    waiting: list[tuple[str, list[str | None]]] = [(id, []) for id in reversed(children.pop(None, []))]
    while waiting:
        id, turns = waiting.pop()
        start = max(len(turns) - 1, 0)
        turns = [*turns, by_id[id][1]]
        reached += 1
        while replies := children.get(id):
            waiting += [(reply, turns[-OVERLAP:]) for reply in reversed(replies[1:])]
            id = replies[0]
            turns.append(by_id[id][1])
            reached += 1
        yield from _long(Conversation(film, key, turns, start))
    if reached < len(utterances):
        number = max(number for _, _, _, number in utterances)
        reading.damaged(file, number, "replies in a circle", f" in conversation {key[:40]}")


def _long(conversation: Conversation) -> Iterator[Conversation]:
    """Cut a conversation of more than MAX_TURNS turns into pieces, without losing or repeating an exchange."""
    film, key, turns, start = conversation
    if len(turns) <= MAX_TURNS:
        yield conversation
        return
    while start < len(turns) - 1:
        first, end = max(start - OVERLAP + 1, 0), start + MAX_TURNS
        yield Conversation(film, key, turns[first:end], start - first)
        start = end - 1


def _delimited(file: InputFile, reading: Reading) -> Iterator[Conversation]:
    """A prompt and a reply a row, separated by tab, comma, semicolon or bar, quoted or not, with a header or not."""
    for prompt, reply in tables.pairs(file, reading):
        yield Conversation("", "", [prompt, reply])


def _records(file: InputFile, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in reading.lines(file):
        if line == "\0" or not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            yield number, record
        else:
            reading.damaged(file.name, number, "not a JSON object")


def _jsonl(file: InputFile, reading: Reading) -> Iterator[Conversation]:
    """`{"prompt": …, "reply": …}` or `{"turns": [...]}` a line; turns are texts or objects with a text."""
    for number, record in _records(file, reading):
        listed = next((record[key] for key in TURNS_KEYS if isinstance(record.get(key), list)), None)
        if listed is not None:
            turns = [_text_of(turn) for turn in listed if not (isinstance(turn, dict) and turn.get("role") == "system")]
        else:
            keys = [next((key for key in names if key in record), "") for names in (PROMPT_KEYS, REPLY_KEYS)]
            turns = [_text_of(record.get(key)) for key in keys]
        if None in turns or len(turns) < 2:
            reading.damaged(file.name, number, "neither a prompt and a reply nor two or more turns of text")
            continue
        yield from _long(Conversation("", "", turns))


def _text_of(turn: Any) -> str | None:
    if isinstance(turn, dict):
        turn = next((turn[key] for key in ("text", "content", "utterance", "value") if key in turn), None)
    return turn if isinstance(turn, str) else None


def _log(file: InputFile, reading: Reading) -> Iterator[Conversation]:
    """One utterance a line; a blank line or one that begins with `===` ends a conversation."""
    turns: list[str | None] = []
    start = 0
    for _, line in reading.lines(file):
        if line.strip() and not line.startswith("==="):
            turns.append(line if line != "\0" else None)
            if len(turns) - start >= MAX_TURNS:
                yield Conversation("", "", turns, start)
                turns = turns[-OVERLAP:]
                start = len(turns) - 1
            continue
        if len(turns) > start + 1:
            yield Conversation("", "", turns, start)
        turns, start = [], 0
    if len(turns) > start + 1:
        yield Conversation("", "", turns, start)


def _dailydialog(file: InputFile, reading: Reading) -> Iterator[Conversation]:
    """One conversation a line, each utterance ended by `__eou__`; its spaced apostrophes are closed up."""
    apostrophe = re.compile(r"(?<=\w) ?(['\u2019]) (?=(?:s|t|m|d|re|ve|ll)\b)", re.IGNORECASE)
    for number, line in reading.lines(file):
        if line == "\0" or not line.strip():
            continue
        turns: list[str | None] = [apostrophe.sub(r"\1", turn) for turn in line.split("__eou__") if turn.strip()]
        if "__eou__" not in line:
            reading.damaged(file.name, number, "no __eou__")
        elif len(turns) > 1:
            yield from _long(Conversation("", "", turns))


def _chitchat(file: InputFile, reading: Reading) -> Iterator[Conversation]:
    """`{id: {"messages": [[{"text": …}, …], …], …}, …}`: a turn is a list of messages, joined by a space."""
    for number, (key, value) in enumerate(_members_of_object(file, reading), 1):
        reading.records += 1
        try:
            turns: list[str | None] = [" ".join(message["text"] for message in turn) for turn in value["messages"]]
        except (TypeError, KeyError):
            reading.damaged(file.name, 0, "a conversation that is no list of turns of messages", f": {key[:40]}")
            continue
        yield from _long(Conversation("", key or str(number), turns))


def _members_of_object(file: InputFile, reading: Reading) -> Iterator[tuple[str, Any]]:
    """The members of one JSON object that may be far bigger than memory, one after the other.

    A malformed member is counted as damaged, and reading goes on at the next one that looks like a conversation.

    Raises:
        ChatbotError: it is no object, or conversations remain behind a malformed one and none can be told apart.
    """
    member = re.compile(r'(?<!\\)"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"messages"\s*:')
    decoder = json.JSONDecoder()
    space = re.compile(r"[\s,]*")
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    buffer, position, wanted, size = "", 0, JSON_CHUNK, 0
    with file.open() as stream:
        opened = False
        while True:
            data = stream.read(wanted)
            size += len(data)
            reading.advance(len(data))
            buffer, position = buffer[position:] + decode(data), 0
            if not opened:
                opened, position = buffer.lstrip("\ufeff \t\r\n").startswith("{"), buffer.find("{") + 1
                if not opened:
                    raise ChatbotError(f"{file.name} is not a JSON object of conversations")
            while True:
                position = space.match(buffer, position).end()  # type: ignore[union-attr]
                if buffer.startswith("}", position) and not buffer[position + 1 :].strip():
                    if not data:
                        return
                    break  # it is the object's end only if nothing follows
                try:
                    key, end = decoder.raw_decode(buffer, position)
                    colon = re.compile(r"\s*:\s*").match(buffer, end)
                    value, position = decoder.raw_decode(buffer, colon.end() if colon else end)
                except (ValueError, RecursionError):
                    if data and len(buffer) - position <= JSON_MEMBER:
                        break  # perhaps the rest of it is only not read yet
                    following = member.search(buffer, position + 1)
                    if not following and (data or buffer.count('"messages"', position) > 1):
                        offset = size - len(buffer[position:].encode())
                        raise ChatbotError(
                            f"{file.name}: malformed JSON (or a conversation of over 64 MB) at byte {offset:,}, and no "
                            "conversation can be made out behind it: correct it there"
                        ) from None
                    reading.records += 1
                    detail = f" after {buffer[position : position + 40]!r}"
                    reading.damaged(file.name, 0, "JSON that breaks off or is malformed", detail)
                    if not following:
                        return
                    position = following.start()
                    continue
                yield str(key), value
                wanted = JSON_CHUNK
            wanted = max(wanted, len(buffer) - position)


READERS: dict[str, Callable[[InputFile, Reading], Iterator[Conversation]]] = {
    "convokit": _convokit,
    "delimited": _delimited,
    "jsonl": _jsonl,
    "log": _log,
    "dailydialog": _dailydialog,
    "chitchat": _chitchat,
}
