"""JSON Lines: each line is a record with a prompt and a reply or the turns of a dialogue, or each line is a message."""

import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...system.errors import ChatbotError
from ..inputs import InputFile
from ..reading import Reading
from .columns import ROLES
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import dates_in, moment, order_of
from .records import NO_TEXT, dialogues_of, parts_played, records_in, time_of, turn_of

PARENTS = {"parent_id", "in_reply_to", "in_reply_to_id", "in_response_to_tweet_id", "reply_to_id"}
TALK_KEYS = {*ROLES["conversation"], "dialog_id", "conv_idx"}


def looks_like(head: Head) -> bool:
    """Its first lines are objects or lists, one a line; a single line is a record, or the name says so."""
    if not head.begins_with("{", "["):
        return False
    first = [_record(line) for line in head.lines[:2]]
    if None in first or not first:
        return head.file.base.endswith((".jsonl", ".ndjson")) and head.begins_with("{")
    named = head.file.base.endswith((".jsonl", ".ndjson"))
    return len(first) == 2 or (named and dialogues_of(first[0], Reading()) is not None)


def keys(head: Head) -> set[str]:
    """All keys of the objects on the first lines, if they are an object a line."""
    found = [_record(line) for line in head.lines[:20]] if head.begins_with("{") else []
    return {key for record in found if isinstance(record, dict) for key in record}


def objects(file: InputFile, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of every line that is not blank."""
    for number, record in _records(file, reading, "not a JSON object"):
        if isinstance(record, dict):
            yield number, record
        else:
            reading.damaged(file.name, number, "not a JSON object")


def _records(file: InputFile, reading: Reading, otherwise: str) -> Iterator[tuple[int, Any]]:
    for number, line in reading.lines(file):
        if line == "\0" or not line.strip():
            continue
        if (record := _record(line)) is not None:
            yield number, record
        else:
            reading.damaged(file.name, number, otherwise)


def _record(line: str) -> Any:
    """The object or the list of a line; None for anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict | list) else None


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the dialogues of every line, or the conversations of a file of messages."""
    head = [record for line in Head.of(file).lines[:20] if (record := _record(line)) is not None]
    if are_messages(head, Reading(config=reading.config)):  # which counts nothing: all of it comes again
        talk = Talk.of(head, file.name)
        messages = functools.partial(_messages, file, talk)
        yield from conversations(messages, reading, "a message a line", talk.is_export, talk.answerers)
        return
    reading.layouts["a record a line"] += 1
    for number, record in _records(file, reading, "no JSON object or list"):
        for found in records_in(record, reading):
            if found is None:
                reading.damaged(file.name, number, NO_TEXT)
            yield from found or ()


def are_messages(records: list[Any], reading: Reading) -> bool:
    """Whether records are the messages of one dialogue, and none is a dialogue by itself."""
    if not records or any(dialogues_of(record, reading) for record in records):
        return False
    turns = [turn_of(record) for record in records]
    return sum(turn is not None for turn in turns) * 2 > len(records)


class Talk(NamedTuple):
    """What the first messages tell of all: whose are left out, who alone is learnt from, in which order dates stand,
    and whether people wrote them to each other."""

    left_out: set[str]
    answerers: set[str]
    order: str
    is_export: bool

    @classmethod
    def of(cls, records: list[Any], file: str) -> "Talk":
        """That of the messages at the head of a file.

        Raises:
            ChatbotError: they reply to each other by ids, and have no times that would put them in order.
        """
        speakers = {turn.speaker.lower() for record in records if (turn := turn_of(record))}
        times = [time_of(record) for record in records]
        order = order_of(dates_in(times))
        has_times = any(moment(time, order) is not None for time in times)
        if not has_times and sum(isinstance(it, dict) and not PARENTS.isdisjoint(it) for it in records) * 2 > len(
            records
        ):
            raise ChatbotError(
                f"{file}: its messages reply to each other by ids, in any order: write them as turns, or as ConvoKit "
                "has them (id, conversation_id, reply-to, text)"
            )
        return cls(*parts_played(speakers), order, has_times)


def _messages(file: InputFile, talk: Talk, reading: Reading) -> Iterator[Message]:
    for number, record in _records(file, reading, "no JSON object or list"):
        yield message(record, file.name, number, talk, reading)


def message(record: Any, file: str, line: int, talk: Talk, reading: Reading) -> Message:
    """The message that a record is, damaged if it has no text."""
    turn = turn_of(record)
    if turn is None and time_of(record) is not None:
        reading.left_out["messages without text"] += 1
        return Message("", "")
    if turn is None:
        reading.damaged(file, line, "a message without text")
        return Message("", None)
    text = " ".join(turn.text.replace("_comma_", ",").split())  # EmpatheticDialogues'
    if turn.speaker.lower() in talk.left_out:
        reading.left_out["turns of the system or of tools"] += 1
        text = ""
    elif not text:
        reading.left_out["messages without text"] += 1
    named = record.items() if isinstance(record, dict) else ()
    part_of = next((value for key, value in named if key.lower() in TALK_KEYS and isinstance(value, str | int)), "")
    return Message(turn.speaker[:80], text, moment(time_of(record), talk.order), str(part_of)[:80])
