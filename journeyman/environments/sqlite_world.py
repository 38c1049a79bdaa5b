"""A world's state in SQLite, copied in milliseconds: its image is bytes, and each fork is opened from them.

An image can be kept, hashed and opened again elsewhere; forks share nothing, not even a file.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from journeyman.errors import InvalidInput

Snapshot = dict[str, list[list[Any]]]


class SqliteWorld:
    """One database in memory. It may be used from any thread, from one at a time."""

    def __init__(self, image: bytes | None = None) -> None:
        """Empty, or as `image` has it; InvalidInput for bytes that are no database."""
        self._connection = _connect()
        if image is None:
            return
        try:
            self._connection.deserialize(image)
            self._connection.execute("select count(*) from sqlite_schema").fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            raise InvalidInput(f"{len(image)} bytes are no image of a SQLite database ({error})") from error

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query, or the effect of a statement."""
        return self._connection.execute(sql, values).fetchall()

    def run_many(self, script: str) -> None:
        """Statements in a row, such as a schema. InvalidInput inside `tried`, which a script would end."""
        if self._connection.in_transaction:
            raise InvalidInput("a change of this world is under way, and a script would keep it; run its statements")
        self._connection.executescript(script)

    def image(self) -> bytes:
        """The database as it stands. InvalidInput inside `tried`: what is not kept yet would not be in it."""
        if self._connection.in_transaction:
            raise InvalidInput("a change of this world is under way; keep it or take it back before a copy is made")
        return self._connection.serialize()

    def fork(self, n: int) -> "list[SqliteWorld]":
        """`n` independent copies, all from one image."""
        image, forks = self.image(), list[SqliteWorld]()
        ((holds_keys,),) = self.run("pragma foreign_keys")
        for _ in range(n):
            forks.append(SqliteWorld(image))
            # It belongs to the connection, not to the image.
            forks[-1].run(f"pragma foreign_keys = {holds_keys}")
        return forks

    @contextmanager
    def tried(self) -> Iterator[None]:
        """While inside, changes are tried out; when it is left, they are taken back."""
        self._connection.execute("savepoint tried")
        try:
            yield
        finally:
            self._connection.execute("rollback to tried")
            self._connection.execute("release tried")

    def snapshot(self) -> Snapshot:
        """Every row of every table as JSON, sorted: to compare two worlds, or to keep as an outcome's state."""
        tables = self.run(
            "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%' order by name"
        )
        rows = {name: [[_plain(value) for value in row] for row in self.run(f'select * from "{name}"')]
                for (name,) in tables}  # fmt: skip
        return {name: sorted(found, key=repr) for name, found in rows.items()}

    def digest(self) -> str:
        """Tells worlds apart by their rows, however the pages of the file lie."""
        return hashlib.sha256(repr(self.snapshot()).encode()).hexdigest()

    def close(self) -> None:
        """Free it."""
        self._connection.close()


def _connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
