"""Keeps rows that other rows of the same import look for, on disk: a call may be spread over several files."""

import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path

import orjson

from journeyman.capture.imports.rows import Json, encoded


class Beside:
    """A temporary table from keys to rows; gone when it is closed."""

    def __init__(self) -> None:
        """Make the table in the system's folder for temporary files."""
        self._folder = tempfile.TemporaryDirectory(prefix="journeyman-import-")
        self._table = sqlite3.connect(Path(self._folder.name) / "rows.db", isolation_level=None)
        # It needs to outlive nothing: no journal, no waiting for the disk.
        self._table.execute("PRAGMA journal_mode=OFF")
        self._table.execute("PRAGMA synchronous=OFF")
        self._table.execute("CREATE TABLE rows (key TEXT NOT NULL, row BLOB NOT NULL)")

    def keep(self, rows: Iterable[tuple[str, Json]]) -> None:
        """Keep rows under their keys, then make them quick to find."""
        self._table.execute("BEGIN")
        self._table.executemany("INSERT INTO rows VALUES (?, ?)", ((key, encoded(row)) for key, row in rows))
        self._table.execute("COMMIT")
        self._table.execute("CREATE INDEX by_key ON rows (key)")

    def find(self, key: str) -> list[Json]:
        """The rows that were kept under a key, in the order they came."""
        found = self._table.execute("SELECT row FROM rows WHERE key = ? ORDER BY rowid", (key,))
        return [orjson.loads(row) for (row,) in found]

    def close(self) -> None:
        """Remove the table."""
        self._table.close()
        self._folder.cleanup()
