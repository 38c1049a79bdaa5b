"""The store in an SQL database: SQLite in WAL mode, shared by threads and processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, select, tuple_
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from journeyman.errors import DiskFull, InvalidInput, JourneymanError
from journeyman.records import Exchange, Filter, Record
from journeyman.store import exchanges
from journeyman.store.fields import COUNTABLE, field_of, refuse_everything, shown
from journeyman.store.filters import clause, column
from journeyman.store.migrations import MIGRATIONS, migrate, version
from journeyman.store.tables import TABLES, microseconds, storable, table_of, to_json

R = TypeVar("R", bound=Record)


class Place(Protocol):
    """Where an installation keeps its things; `Settings` is one."""

    @property
    def home(self) -> Path:
        """The home folder."""

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the store."""


def open_store(place: Place) -> "SqlStore":
    """The installation's store; its home folder is made when it is not there yet."""
    try:
        place.home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InvalidInput(
            f"cannot make the home folder {place.home} ({problem.strerror}); set JOURNEYMAN_HOME to a folder of yours"
        ) from problem
    return SqlStore(place.database)


class SqlStore:
    """Keeps records in SQLite. Safe for several threads and several processes; see the `Store` protocol."""

    def __init__(self, url: str, busy_timeout: float = 30.0) -> None:
        """Open or create the database; a write waits at most `busy_timeout` seconds for another process."""
        self._busy_timeout = busy_timeout
        self._engine = _engine(url, busy_timeout)
        self._where = self._engine.url.database or url
        with self._reading() as connection:
            current = version(connection) == len(MIGRATIONS)
        if not current:
            with self._writing() as connection:
                migrate(connection)

    def put(self, *records: Record) -> None:
        """Keep records, all of them or none."""
        tables = [table_of(type(record)) for record in records]
        with self._writing() as connection:
            for table, record in zip(tables, records, strict=True):
                if isinstance(record, Exchange):
                    exchanges.put_exchange(connection, record)
                else:
                    connection.execute(insert(table).on_conflict_do_nothing(), _row(record))

    def get(self, kind: type[R], id: str) -> R | None:
        """The record with that id; None when there is none."""
        table = table_of(kind)
        with self._reading() as connection:
            rows = connection.execute(select(table).where(table.c.id == storable(id))).all()
            return next(_records(connection, kind, rows), None)

    def find(self, kind: type[R], where: Filter | None = None, after: str | None = None, limit: int = 1000) -> list[R]:
        """Records for which `where` holds, newest first."""
        if limit < 0:
            raise InvalidInput(f"cannot find {limit} records; the limit is 0 or more")
        table = table_of(kind)
        query = select(table).where(clause(kind, where)).order_by(table.c.at.desc(), table.c.id.desc()).limit(limit)
        with self._reading() as connection:
            if after is not None:
                at = connection.scalar(select(table.c.at).where(table.c.id == after))
                if at is None:
                    raise InvalidInput(f"no {kind.__name__} {after!r} to read on from; start again without `after`")
                query = query.where(tuple_(table.c.at, table.c.id) < tuple_(at, after))
            return list(_records(connection, kind, connection.execute(query).all()))

    def count(self, kind: type[Record], where: Filter | None = None, by: str | None = None) -> dict[str, int]:
        """How many records hold, by the value of the field `by` ({'': n} without it)."""
        query = select(func.count()).select_from(table_of(kind)).where(clause(kind, where))
        with self._reading() as connection:
            if by is None:
                return {"": connection.scalar(query) or 0}
            field = field_of(kind, by)
            if field.type not in COUNTABLE:
                raise InvalidInput(f"cannot count {kind.__name__} records by {by}: its values hardly ever repeat")
            value = column(kind, field).label("value")
            counted = connection.execute(query.add_columns(value).group_by(value))
            return {shown(found): number for number, found in counted}

    def forget(self, kind: type[Record], where: Filter) -> int:
        """Remove records for good (retention, erasure); how many went. An empty filter is refused."""
        refuse_everything(where)
        table = table_of(kind)
        chosen = select(table.c.id).where(clause(kind, where))
        with self._writing() as connection:
            gone = connection.execute(delete(table).where(table.c.id.in_(chosen))).rowcount
            if kind is Exchange:
                exchanges.sweep(connection)
        return gone

    def close(self) -> None:
        """Close the connections; another use opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One consistent view of the database."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that takes the write lock at once: one that reads first could not get it later."""
        writer = self._engine.execution_options(begin="IMMEDIATE")
        with self._explained(), writer.begin() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as problem:
            raise _explanation(problem, self._where, self._busy_timeout) from problem


def _explanation(problem: DatabaseError, path: str, busy_timeout: float) -> Exception:
    text = str(problem.orig)
    if "database or disk is full" in text:
        return DiskFull(
            f"the disk that holds {path} is full. Nothing of this write was kept; what was stored before is safe. "
            "Free some space and try again"
        )
    if "locked" in text:
        return JourneymanError(
            f"another process kept {path} locked for more than {busy_timeout:g} seconds. Nothing was written; "
            "what was stored before is safe. Try again, or stop the process that holds it"
        )
    if "unable to open" in text or "readonly" in text:
        return InvalidInput(f"cannot open {path} for writing ({text}); check the folder and its permissions")
    if "not a database" in text or "malformed" in text:
        return JourneymanError(
            f"{path} is damaged or not a Journeyman database ({text}); nothing was changed. "
            "Restore it from a copy, or set JOURNEYMAN_HOME to another folder"
        )
    return problem


def _engine(url: str, busy_timeout: float) -> Engine:
    if not url.startswith("sqlite:///") or ":memory:" in url:
        raise InvalidInput(f"cannot keep records in {url!r}; use sqlite:///PATH, or MemoryStore to keep nothing")
    engine = create_engine(
        url,
        json_serializer=to_json,
        connect_args={"timeout": busy_timeout},
        max_overflow=-1,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # Transactions are begun by us (below): the driver would begin one only at the first write, too late to read in.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")

    return engine


def _row(record: Record) -> dict[str, Any]:
    """A row of the record's table. Columns besides id, time and body repeat fields of the body, for the indexes."""
    row: dict[str, Any] = {"id": record.id, "at": microseconds(record.at), "body": record.model_dump(mode="json")}
    for name in TABLES[type(record)].c.keys() - row.keys():
        value = getattr(record, name)
        row[name] = value if value is None else storable(value)
    return row


def _records(connection: Connection, kind: type[R], rows: Sequence[SqlRow[Any]]) -> Iterator[R]:
    if kind is Exchange:
        yield from exchanges.read_exchanges(connection, rows)  # type: ignore[misc]
    else:
        yield from (kind.model_validate(row.body) for row in rows)
