"""PostgreSQL to test with, from the programs of this machine: one server for all tests, or one of a test's own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from tests.absences import skip_for_lack_of

_FIXTURES = ("postgres", "postgres_server", "stoppable_postgres")


class NoPostgres(Exception):
    """There is none on this machine, or it does not start."""


class PostgresServer:
    """A server on a socket in a folder of its own; it may be stopped and started again."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.url = f"postgresql://journeyman@/postgres?host={folder}"
        self._folder, self._log = folder, folder / "log"
        # PostgreSQL refuses to be run by root.
        is_root = os.geteuid() == 0
        user = pwd.getpwnam("nobody") if is_root else pwd.getpwuid(os.geteuid())
        os.chown(folder, user.pw_uid, user.pw_gid)
        self._as_user: dict[str, Any] = (
            {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if is_root else {}
        )
        data = folder / "data"
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "journeyman", "-A", "trust", "-E", "UTF8", "--no-sync",
             "--locale=C.UTF-8"],
            capture_output=True, text=True, cwd=folder, **self._as_user,
        )  # fmt: skip
        if made.returncode:
            raise NoPostgres(f"initdb failed: {made.stderr.strip()[-300:]}")
        self._control = [programs / "pg_ctl", "-D", data, "-l", self._log, "-w", "-t", "60"]

    def start(self) -> None:
        """Until it takes connections; NoPostgres when it does not."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        started = subprocess.run(
            [*self._control, "-o", f"{options} -c shared_buffers=32MB", "start"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder,
            **self._as_user,
        )  # fmt: skip
        if started.returncode:
            raise NoPostgres(f"PostgreSQL did not start: {self._log.read_text()[-300:] if self._log.exists() else ''}")

    def stop(self) -> None:
        """At once, as a crash does."""
        command = [*self._control, "-m", "immediate", "stop"]
        subprocess.run(command, capture_output=True, cwd=self._folder, **self._as_user)


@contextmanager
def _running() -> Iterator[PostgresServer]:
    programs = _programs()
    if programs is None:
        raise NoPostgres("PostgreSQL's programs (initdb, postgres) are not on this machine: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    try:
        server = PostgresServer(programs, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serving(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    try:
        with _running() as server:
            yield server
    except NoPostgres as reason:
        skip_for_lack_of("the store on PostgreSQL", str(reason), request.config)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the first database of a server that all tests share."""
    for server in _serving(request):
        yield server.url


@pytest.fixture
def stoppable_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of the test's own."""
    yield from _serving(request)


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database."""
    server = create_engine(postgres_server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE test TEMPLATE template0")
    yield postgres_server.replace("/postgres?", "/test?")
    with server.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE test WITH (FORCE)")
    server.dispose()


def _programs() -> Path | None:
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    if shutil.which("pg_config"):
        told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
        found.append(Path(told.stdout.strip()))
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    whole = (folder for folder in found if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")))
    return next(whole, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses PostgreSQL carries the marker."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        asked = {*getattr(item, "fixturenames", ()), *(map(str, callspec.params.values()) if callspec else ())}
        if asked.intersection(_FIXTURES):
            item.add_marker("postgres")
