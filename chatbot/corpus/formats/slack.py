"""Slack's export: a JSON array of messages for each day of a channel, alone, or all of them in a folder or an archive.

What is said in a thread is a conversation of its own. Names come from the messages or from `users.json`.
"""

import dataclasses
import functools
import html
import re
from collections.abc import Iterator
from typing import Any

from ..inputs import InputFile
from ..json_stream import Path, values
from ..reading import Reading
from .dialogue import Dialogue, Head
from .messages import Message, conversations
from .moments import moment

TIME = re.compile(r'"ts"\s*:\s*"\d{9,}\.\d+"')
PEOPLES = (None, "thread_broadcast", "me_message", "file_share")  # other subtypes are of bots and of the program
MARK = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")
MOST_KEPT = 100_000  # messages of threads in one day


def looks_like(head: Head) -> bool:
    return head.begins_with("[") and '"type"' in head.text and '"text"' in head.text and bool(TIME.search(head.text))


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield the conversations of one day, those of threads behind the channel's own."""
    names = _users(file, reading)
    messages = functools.partial(_messages, file, names)
    yield from conversations(messages, reading, "Slack's export", names=names.values())


def _enters(path: Path) -> bool:
    return path == ()


def _users(file: InputFile, reading: Reading) -> dict[str, str]:
    """Names by ids, of the `users.json` beside the channels; empty if there is none. It is read once for all days."""
    place = str(file.path if file.archive else file.path.parent)
    if place in reading.names:
        return reading.names[place]
    found: list[InputFile] = []
    if file.archive:
        members = [member for member in file.archive.namelist() if member.split("/")[-1] == "users.json"]
        found = [dataclasses.replace(file, name=f"{file.path}/{member}", member=member) for member in members]
    else:
        beside = [folder / "users.json" for folder in (file.path.parent, file.path.parent.parent)]
        found = [InputFile(str(path), path) for path in beside if path.is_file()]
    names = reading.names[place] = {}
    for _, user in values(found[0], Reading(), _enters) if found else ():
        if isinstance(user, dict) and isinstance(user.get("id"), str):
            names[user["id"]] = _name(user.get("profile"), user) or user["id"]
    return names


def _name(*records: Any) -> str:
    found = [
        record[key]
        for record in records
        if isinstance(record, dict)
        for key in ("real_name", "display_name", "name", "username")
        if isinstance(record.get(key), str) and record[key].strip()
    ]
    return found[0][:80] if found else ""


def _messages(file: InputFile, names: dict[str, str], reading: Reading) -> Iterator[Message]:
    threads: dict[str, list[Message]] = {}
    kept = 0
    for path, value in values(file, reading, _enters):
        reading.records += 1
        if not isinstance(value, dict) or not isinstance(value.get("text", ""), str):
            reading.damaged(file.name, 0, "no message with a text", f": number {path[-1] if path else 0}")
            yield Message("", None)
        elif value.get("subtype") not in PEOPLES or value.get("bot_id"):
            reading.left_out["messages of bots and of the program"] += 1
        elif not (text := _text(value.get("text", ""), names)):
            reading.left_out["media"] += 1
        else:
            user, time = str(value.get("user", "unknown")), value.get("ts")
            message = Message(names.get(user) or _name(value.get("user_profile")) or user, text, moment(time))
            thread = value.get("thread_ts")
            if isinstance(thread, str) and kept < MOST_KEPT:
                threads.setdefault(thread, []).append(message._replace(time=None, talk=thread))
                kept += 1
                if thread != time:
                    continue
            yield message
    for messages in threads.values():
        if len(messages) > 1:
            yield from messages


def _text(text: str, names: dict[str, str]) -> str:
    """The text as people read it: names for ids, labels for links, no mark-up."""
    text = MARK.sub(lambda mark: _plain(mark[1], mark[2], mark[3], names), text)
    return " ".join(html.unescape(text).split())


def _plain(kind: str, target: str, label: str | None, names: dict[str, str]) -> str:
    if kind == "@":
        return "@" + (label or names.get(target, target))
    return ("#" if kind == "#" else "") + (label or target)
