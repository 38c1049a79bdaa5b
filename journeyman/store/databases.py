"""Opens the databases that records can be kept in, and says in plain words what one of them complains of."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from journeyman.errors import DiskFull, InvalidInput, JourneymanError
from journeyman.store.encoding import to_json

_PAGE_CACHE_KIB = 16 * 1024
"""Of each connection: what a process keeps of the database in its own memory; the system keeps the rest in its."""
_INCREMENTAL = 2
_LOCK = 0x6A6F7572
"""Names our lock among those of the database; a writer of exchanges holds it, as SQLite's writers hold the file's."""


def open_database(url: str, busy_timeout: float) -> Engine:
    """The engine for `sqlite:///PATH` or `postgresql://…`; InvalidInput for anything else."""
    try:
        place = make_url(url)
    except ArgumentError as problem:
        raise _cannot_keep(url) from problem
    name = place.get_backend_name()
    if name in ("postgresql", "postgres"):
        return _postgres(place, busy_timeout)
    if name == "sqlite" and place.database and place.database != ":memory:":
        return _sqlite(url, busy_timeout)
    raise _cannot_keep(place.render_as_string(hide_password=True))


def where_is(engine: Engine) -> str:
    """The database as errors name it: a path, or a URL without its password."""
    if engine.dialect.name == "sqlite":
        return engine.url.database or ""
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=True)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that takes the write lock at once: one that reads first could not get it later."""
    writer = engine.execution_options(begin="IMMEDIATE")
    with writer.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield connection


def shrink(connection: Connection) -> None:
    """Give pages that are free back to the disk; the text index is merged first, so that it forgets for good."""
    if connection.dialect.name == "postgresql":
        # Outside a transaction, as VACUUM must be.
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM")
        return
    raw: Any = connection.connection.driver_connection
    for table in ("exchange_words", "part_words"):
        raw.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")
    if raw.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL:
        # The driver's `execute` stops after the first page.
        raw.executescript("PRAGMA incremental_vacuum")
    else:
        raw.execute("PRAGMA auto_vacuum=INCREMENTAL")
        raw.execute("VACUUM")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextmanager
def explained(where: str, busy_timeout: float) -> Iterator[None]:
    """Errors of the database become ours, which say what is safe and what to do."""
    try:
        yield
    except DatabaseError as problem:
        raise _explanation(problem, where, busy_timeout) from problem


def _explanation(problem: DatabaseError, where: str, busy_timeout: float) -> Exception:
    text = str(problem.orig)
    if "database or disk is full" in text or "No space left on device" in text:
        return DiskFull(
            f"the disk that holds {where} is full. Nothing of this write was kept; what was stored before is safe. "
            "Free some space and try again"
        )
    if "locked" in text or "lock timeout" in text:
        return JourneymanError(
            f"another process kept {where} locked for more than {busy_timeout:g} seconds. Nothing was written; "
            "what was stored before is safe. Try again, or stop the process that holds it"
        )
    if "unable to open" in text or "readonly" in text or "read-only" in text:
        return InvalidInput(f"cannot open {where} for writing ({text}); check the folder and its permissions")
    if "not a database" in text or "malformed" in text:
        return JourneymanError(
            f"{where} is damaged or not a Journeyman database ({text}); nothing was changed. "
            "Restore it from a copy, or set JOURNEYMAN_HOME to another folder"
        )
    if problem.connection_invalidated or "connection" in text:
        return JourneymanError(
            f"the database {where} does not answer ({text.strip().splitlines()[0]}). Nothing of this write was kept; "
            "what was stored before is safe. Start it, check the URL, and try again"
        )
    return problem


def _sqlite(url: str, busy_timeout: float) -> Engine:
    engine = create_engine(url, json_serializer=to_json, connect_args={"timeout": busy_timeout}, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # Transactions are begun by us (below): the driver would begin one only at the first write, too late to read in.
        connection.isolation_level = None
        # Pages that are free again can be given back only if the file was made for it, before its first table.
        for pragma in (
            "auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON",
            f"cache_size=-{_PAGE_CACHE_KIB}", "wal_autocheckpoint=4000", "journal_size_limit=67108864",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")

    return engine


def _postgres(place: URL, busy_timeout: float) -> Engine:
    if find_spec("psycopg") is None:
        raise InvalidInput("records in PostgreSQL need the package psycopg: pip install 'journeyman[postgres]'")
    milliseconds = int(busy_timeout * 1000)
    engine = create_engine(
        place.set(drivername="postgresql+psycopg"),
        json_serializer=to_json,
        connect_args={"options": f"-c lock_timeout={milliseconds} -c client_encoding=UTF8 -c timezone=UTC"},
        pool_pre_ping=True,
        max_overflow=-1,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A reader looks several times and must see the same; a writer holds the lock and must see the newest.
        if connection.get_execution_options().get("begin") != "IMMEDIATE":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    return engine


def _cannot_keep(url: str) -> InvalidInput:
    return InvalidInput(
        f"cannot keep records in {url!r}; use sqlite:///PATH or postgresql://USER@HOST/DATABASE, "
        "or MemoryStore to keep nothing"
    )
