"""ConvoKit's `utterances.jsonl`: one utterance a line, in any order, each naming the utterance that it replies to.

Such a corpus may be larger than memory (Reddit's is), so a database in a temporary file groups the utterances by
conversation. The system removes the file when it is closed or the process dies.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any

from ..inputs import InputFile
from ..reading import Reading
from .dialogue import OVERLAP, Dialogue, Head
from .jsonl import keys, objects

Utterance = tuple[str, str | None, str, int]  # id, the id that it replies to, text, line number
REDDIT = {"id", "parent_id", "link_id", "body"}  # of a comment
TABLE = "CREATE TABLE utterances (conversation TEXT, film TEXT, id TEXT, parent TEXT, text TEXT, line INTEGER)"
BY_CONVERSATION = (  # conversations in the order in which they begin; a join instead of the window takes quadratic time
    "SELECT conversation, film, id, parent, text, line FROM utterances"
    " ORDER BY min(rowid) OVER (PARTITION BY conversation), rowid"
)


def looks_like(head: Head) -> bool:
    """Utterances have an id, a text and a conversation; those of OpenAssistant are named otherwise."""
    found = keys(head)
    named = {"id", "text"} <= found and not found.isdisjoint(("conversation_id", "root"))
    return named or {"message_id", "parent_id", "text", "message_tree_id"} <= found or found >= REDDIT


def read(file: InputFile, reading: Reading) -> Iterator[Dialogue]:
    """Yield every chain of replies; memory holds one conversation at a time."""
    reading.layouts["ConvoKit's utterances, ordered by who replies to whom"] += 1
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as database:  # "": a temporary file
        database.execute("PRAGMA cache_size = -65536")  # KiB
        database.execute("PRAGMA journal_mode = OFF")
        database.execute(TABLE)
        database.execute("BEGIN")
        database.executemany("INSERT INTO utterances VALUES (?, ?, ?, ?, ?, ?)", _rows(file, reading))
        database.execute("COMMIT")
        for key, group in itertools.groupby(database.execute(BY_CONVERSATION), key=lambda row: row[0]):
            rows = list(group)
            yield from _chains(key, rows[0][1], [row[2:] for row in rows], file.name, reading)


def _rows(file: InputFile, reading: Reading) -> Iterator[tuple[str | int | None, ...]]:
    """Yield the rows of the table. Old corpora have `root` and `reply_to` for `conversation_id` and `reply-to`."""
    for number, record in objects(file, reading):
        if record.keys() >= REDDIT:
            record = _of_reddit(record)
        id, text = record.get("id", record.get("message_id")), record.get("text")
        conversation = record.get("conversation_id", record.get("root", record.get("message_tree_id")))
        if not (isinstance(id, str) and isinstance(text, str) and isinstance(conversation, str)):
            reading.damaged(file.name, number, "no id, text and conversation_id")
            continue
        parent, meta = record.get("reply-to", record.get("reply_to", record.get("parent_id"))), record.get("meta")
        film = meta.get("movie_id") if isinstance(meta, dict) else None
        cells = (conversation, str(film or ""), id, None if parent is None else str(parent), text)
        # JSON can hold half a surrogate pair, the database cannot
        yield *(cell and cell.encode("utf-8", "replace").decode() for cell in cells), number


def _of_reddit(comment: dict[str, Any]) -> dict[str, Any]:
    """A comment of Reddit's archives, whose ids have their kind before them only where they are referred to."""
    parent = str(comment["parent_id"])
    text = "" if comment["body"] in ("[deleted]", "[removed]") else comment["body"]
    reply_to = parent if parent.startswith("t1_") else None
    return {"id": f"t1_{comment['id']}", "conversation_id": comment["link_id"], "reply-to": reply_to, "text": text}


def _chains(key: str, film: str, utterances: list[Utterance], file: str, reading: Reading) -> Iterator[Dialogue]:
    """Rebuild who replied to whom. A tree of replies gives one chain for each leaf; no exchange is in two of them."""
    texts: dict[str, str | None] = {}
    parents: dict[str, tuple[str | None, int]] = {}
    for id, parent, text, number in utterances:
        if id in texts:  # visiting it again would loop for ever if it replies to itself
            reading.damaged(file, number, "an id that comes twice", f": {id[:40]}")
        else:
            texts[id], parents[id] = text if text.strip() else None, (parent, number)
    if len(texts) > 1 and all(parent is None for parent, _ in parents.values()):
        yield Dialogue(film, key, list(texts.values()))  # the file's order
        return
    replies: dict[str | None, list[str]] = {}
    for id, (parent, number) in parents.items():
        if parent is not None and parent not in texts:
            reading.damaged(file, number, "a reply to an utterance that is unknown", f": {parent[:40]}")
            parent = None
        replies.setdefault(parent, []).append(id)
    # chains to follow: the first utterance, and the turns before it, whose pairs another chain has yielded
    waiting: list[tuple[str, list[str | None]]] = [(id, []) for id in reversed(replies.pop(None, []))]
    while waiting:
        id, turns = waiting.pop()
        start = max(len(turns) - 1, 0)
        turns = [*turns, texts[id]]
        while following := replies.pop(id, None):
            waiting += [(other, turns[-OVERLAP:]) for other in reversed(following[1:])]
            id = following[0]
            turns.append(texts[id])
        yield Dialogue(film, key, turns, start)
    if replies:  # no chain from a first utterance reached them
        number = max(number for _, number in parents.values())
        reading.damaged(file, number, "replies in a circle", f" in conversation {key[:40]}")
