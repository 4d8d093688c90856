"""Utterances that stand scattered over a file, put together: in memory while few, on disk when many."""

import sqlite3
from collections.abc import Iterator

FEW = 1_000_000  # utterances held in memory; more go to a temporary database
BATCH = 10_000

Utterance = tuple[str, "str | None", str, int]  # id, the id it replies to, text, line number


class _Temporary:
    """A private database in a temporary file, which the system removes when it is closed or the process dies."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect("", isolation_level=None)  # "" is a temporary file, in memory while it is small
        database.execute("PRAGMA cache_size = -65536")  # KiB
        database.execute("PRAGMA journal_mode = OFF")
        return database

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def __exit__(self, *error: object) -> None:
        self.close()


class Texts(_Temporary):
    """Text (or None for "nothing") by id, for any number of them; of an id that comes twice the last one stands."""

    def __init__(self, few: int = FEW) -> None:
        super().__init__()
        self._few = few
        self._held: dict[str, str | None] = {}
        self._indexed = False

    def __enter__(self) -> "Texts":
        return self

    def add(self, id: str, text: str | None) -> None:
        self._held[id] = text
        if len(self._held) >= self._few:
            self._spill()

    def get(self, ids: list[str]) -> "list[str | None]":
        """The texts of `ids`, None where there is none."""
        if self._database is None:
            return list(map(self._held.get, ids))
        return [row[0] if row else None for row in map(self._find, ids)]

    def missing(self, ids: list[str]) -> str | None:
        """The first of `ids` that was never added; None if all were."""
        known = self._held.__contains__ if self._database is None else self._find
        return next((id for id in ids if not known(id)), None)

    def _find(self, id: str) -> "tuple[str | None] | None":
        assert self._database is not None
        if not self._indexed:
            self._spill()
            self._database.execute("CREATE INDEX by_id ON texts (id)")
            self._indexed = True
        row: tuple[str | None] | None = self._database.execute(
            "SELECT text FROM texts WHERE id = ? ORDER BY rowid DESC LIMIT 1", (id,)
        ).fetchone()
        return row

    def _spill(self) -> None:
        if self._database is None:
            self._database = self._opened()
            self._database.execute("CREATE TABLE texts (id TEXT, text TEXT)")
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO texts VALUES (?, ?)", self._held.items())
        self._database.execute("COMMIT")
        self._held.clear()


class Threads(_Temporary):
    """Utterances by conversation; iterated in the order in which the conversations were first seen."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[str, str, str | None, str, str, int]] = []

    def __enter__(self) -> "Threads":
        self._database = self._opened()
        self._database.execute(
            "CREATE TABLE utterances (conversation TEXT, id TEXT, parent TEXT, film TEXT, text TEXT, line INTEGER)"
        )
        return self

    def add(self, conversation: str, id: str, parent: str | None, film: str, text: str, line: int) -> None:
        # half a surrogate pair, which JSON can spell, is nothing that the database can hold
        conversation, id, film, text = (
            cell.encode("utf-8", "replace").decode() for cell in (conversation, id, film, text)
        )
        parent = parent and parent.encode("utf-8", "replace").decode()
        self._rows.append((conversation, id, parent, film, text, line))
        if len(self._rows) >= BATCH:
            self._write()

    def _write(self) -> None:
        assert self._database is not None
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO utterances VALUES (?, ?, ?, ?, ?, ?)", self._rows)
        self._database.execute("COMMIT")
        self._rows.clear()

    def __iter__(self) -> Iterator[tuple[str, str, list[Utterance]]]:
        """(conversation, film, its utterances in the order of the file)."""
        self._write()
        assert self._database is not None
        rows = self._database.execute(
            "SELECT conversation, film, id, parent, text, line FROM utterances JOIN"
            " (SELECT conversation, min(rowid) AS first FROM utterances GROUP BY conversation) USING (conversation)"
            " ORDER BY first, utterances.rowid"
        )
        current, of = None, ""
        gathered: list[Utterance] = []
        for conversation, film, *utterance in rows:
            if conversation != current:
                if current is not None:
                    yield current, of, gathered
                current, of, gathered = conversation, film, []
            gathered.append(tuple(utterance))
        if current is not None:
            yield current, of, gathered
