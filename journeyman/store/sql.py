"""The store in an SQL database: SQLite in WAL mode or PostgreSQL, shared by threads and processes."""

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, delete, func, select, tuple_
from sqlalchemy import Row as SqlRow

from journeyman.errors import InvalidInput
from journeyman.records import Exchange, Filter, Record, Tagging, WireExchange
from journeyman.store import databases, search
from journeyman.store.encoding import is_plain, storable, storable_json, written, written_exactly
from journeyman.store.fields import COUNTABLE, field_of, refuse_everything, shown
from journeyman.store.filters import Clauses
from journeyman.store.forgetting import remove_exchanges
from journeyman.store.inserting import insert_columns
from journeyman.store.migrations import MIGRATIONS, migrate, version
from journeyman.store.narrowing import few_exchanges, newest_among, phrases_of
from journeyman.store.payloads import read_chains, wire_exchange
from journeyman.store.phrases import newest_saying
from journeyman.store.places import found as found_here
from journeyman.store.places import kept
from journeyman.store.tables import TABLES, exchanges, kind_of, microseconds, table_of
from journeyman.store.tagging import apply_taggings
from journeyman.store.writing import put_exchanges

R = TypeVar("R", bound=Record)

_FORGET_AT_ONCE = 250
"""Records removed per transaction: others that write wait no longer than that takes."""


class Place(Protocol):
    """Where an installation keeps its things; `Settings` is one."""

    @property
    def home(self) -> Path:
        """The home folder."""

    @property
    def database(self) -> str:
        """URL of the store: `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`."""


def open_store(place: Place) -> "SqlStore":
    """The installation's store; its home folder is made when it is not there yet."""
    try:
        place.home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InvalidInput(
            f"cannot make the home folder {place.home} ({problem.strerror}); set JOURNEYMAN_HOME to a folder of yours"
        ) from problem
    return SqlStore(place.database, home=place.home)


class SqlStore:
    """Keeps records in SQLite or PostgreSQL. Safe for several threads and processes; see the `Store` protocol."""

    def __init__(self, url: str, busy_timeout: float = 30.0, home: Path | None = None) -> None:
        """Open or create the database; a write waits at most `busy_timeout` seconds for another process.

        Paths into the folder `home` are stored relative to it.
        """
        self._home = home
        self._busy_timeout = busy_timeout
        self._engine = databases.open_database(url, busy_timeout)
        self._where = databases.where_is(self._engine)
        self._dialect = self._engine.dialect.name
        with self._reading() as connection:
            found = version(connection)
        if found < len(MIGRATIONS):
            with self._writing() as connection:
                migrate(connection)
            if found:
                self.shrink()

    def put(self, *records: Record | WireExchange) -> None:
        """Keep records, all of them or none."""
        by_kind: dict[type[Record], list[Any]] = defaultdict(list)
        for record in records:
            # Asked of every captured call: the short way first.
            by_kind[Exchange if type(record) is WireExchange else kind_of(record)].append(record)
        calls = by_kind.pop(Exchange, [])
        rows = {kind: [_row(record, self._home) for record in several] for kind, several in by_kind.items()}
        with self._writing() as connection:
            for kind, some in rows.items():
                table = TABLES[kind]
                columns = dict(zip(table.c.keys(), zip(*some, strict=True), strict=True))
                insert_columns(connection, table.name, columns, " ON CONFLICT DO NOTHING")
            if calls:
                put_exchanges(connection, calls)
            if Tagging in by_kind:
                apply_taggings(connection, by_kind[Tagging])

    def get(self, kind: type[R], id: str) -> R | None:
        """The record with that id; None when there is none."""
        table = table_of(kind)
        with self._reading() as connection:
            rows = connection.execute(select(table).where(table.c.id == storable(id))).all()
            return next(_records(connection, kind, rows, self._home), None)

    def find(
        self, kind: type[R], where: Filter | None = None, after: str | None = None, limit: int = 1000
    ) -> Sequence[R]:
        """Records for which `where` holds, newest first."""
        if limit < 0:
            raise InvalidInput(f"cannot find {limit} records; the limit is 0 or more")
        table = table_of(kind)
        phrases: list[str] = []
        rest = where
        if kind is Exchange and self._dialect == "sqlite":
            Clauses(kind, self._dialect).clause(where)  # refuses what no filter can say
            phrases, rest = phrases_of(where)
        clause = Clauses(kind, self._dialect).clause(rest)
        self._index_if_searched(kind, where)
        with self._reading() as connection:
            query, at = select(table).where(clause), None
            if after is not None:
                at = connection.scalar(select(table.c.at).where(table.c.id == after))
                if at is None:
                    raise InvalidInput(f"no {kind.__name__} {after!r} to read on from; start again without `after`")
                query = query.where(tuple_(table.c.at, table.c.id) < tuple_(at, after))
            query = query.limit(limit)

            def fetch(numbers: Collection[int]) -> Sequence[SqlRow[Any]]:
                return connection.execute(newest_among(connection, query, numbers)).all()

            if phrases:
                rows = newest_saying(connection, phrases, fetch, limit, before=at)
            elif kind is Exchange and (few := few_exchanges(connection, rest)) is not None:
                rows = fetch(few)
            else:
                rows = connection.execute(query.order_by(table.c.at.desc(), table.c.id.desc())).all()
            return list(_records(connection, kind, rows, self._home))

    def count(self, kind: type[Record], where: Filter | None = None, by: str | None = None) -> dict[str, int]:
        """How many records hold, by the value of the field `by` ({'': n} without it)."""
        table = table_of(kind)
        if where is None and by is None:  # asked twice a second by every gateway: past the query builder
            with self._reading() as connection:
                return {"": int(connection.exec_driver_sql(f"SELECT count(*) FROM {table.name}").scalar_one())}
        clauses = Clauses(kind, self._dialect)
        query = select(func.count()).select_from(table).where(clauses.clause(where))
        self._index_if_searched(kind, where)
        with self._reading() as connection:
            if by is None:
                return {"": connection.scalar(query) or 0}
            field = field_of(kind, by)
            if field.type not in COUNTABLE:
                raise InvalidInput(f"cannot count {kind.__name__} records by {by}: its values hardly ever repeat")
            value = clauses.column(field).label("value")
            counted = connection.execute(query.add_columns(value).group_by(value))
            return {shown(found): number for number, found in counted}

    def forget(self, kind: type[Record], where: Filter) -> int:
        """Remove records for good (retention, erasure); how many went. An empty filter is refused.

        Some hundreds go at a time, so that others can write in between. When it is interrupted, those that went are
        gone and the rest is whole: call it again.
        """
        refuse_everything(where)
        table = table_of(kind)
        clause = Clauses(kind, self._dialect).clause(where)
        key = exchanges.c.number if kind is Exchange else table.c.id
        gone = 0
        while True:
            self._index_if_searched(kind, where)
            started = time.monotonic()
            with self._writing() as connection:
                chosen = connection.scalars(select(key).where(clause).limit(_FORGET_AT_ONCE)).all()
                if kind is Exchange:
                    remove_exchanges(connection, chosen)
                else:
                    connection.execute(delete(table).where(key.in_(chosen)))
            gone += len(chosen)
            if len(chosen) < _FORGET_AT_ONCE:
                return gone
            time.sleep(min(time.monotonic() - started, 0.1))

    def index_text(self) -> int:
        """Index the words of all that is stored, for `text ~`; how many exchanges there were.

        A search does this first when it is due; done in idle time, no search waits for it.
        """
        indexed = 0
        while self._index_is_behind():
            with self._writing() as connection:
                indexed += search.index_more(connection)
        return indexed

    def shrink(self) -> None:
        """Give the disk back what was forgotten, and what a search index still holds of it."""
        with self._explained(), self._engine.connect() as connection:
            databases.shrink(connection)

    def close(self) -> None:
        """Close the connections; another use opens new ones."""
        self._engine.dispose()

    def _index_if_searched(self, kind: type[Record], where: Filter | None) -> None:
        if kind is Exchange and where is not None and "text" in where.fields():
            self.index_text()

    def _index_is_behind(self) -> bool:
        with self._reading() as connection:
            return search.is_behind(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One consistent view of the database."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._explained(), databases.writing(self._engine) as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with databases.explained(self._where, self._busy_timeout):
            yield


def _row(record: Record, home: Path | None) -> tuple[Any, ...]:
    """A row of the record's table. Columns besides id, time and body repeat fields of the body, for the indexes."""
    body = kept(record.model_dump(mode="json"), home)
    plain, exact = written(body), None
    if b"\\u0000" in plain or not is_plain(body):
        plain, exact = written(storable_json(body)), written_exactly(body).decode()
    known = {"at": microseconds(record.at), "body": plain.decode(), "exact": exact}
    names = (column.name for column in TABLES[type(record)].c)
    values = (known[name] if name in known else getattr(record, name) for name in names)
    return tuple(storable(value) if isinstance(value, str) and value is not exact else value for value in values)


def _records(connection: Connection, kind: type[R], rows: Sequence[SqlRow[Any]], home: Path | None) -> Iterator[R]:
    if kind is Exchange:
        found, parts = read_chains(connection, [row.number for row in rows])
        yield from (wire_exchange(row, found, parts).exchange() for row in rows)  # type: ignore[misc]
    else:
        bodies = (json.loads(row.exact) if row.exact else row.body for row in rows)
        yield from (kind.model_validate(found_here(body, home)) for body in bodies)
