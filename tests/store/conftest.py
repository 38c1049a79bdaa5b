"""Databases to keep records in: PostgreSQL is started here, once for all tests, from the programs of this machine."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

_no_postgres = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL server of our own, on a socket in a folder of its own; the URL of its first database."""
    programs = _programs()
    if programs is None:
        _skip(request, "PostgreSQL's programs (initdb, postgres) are not on this machine: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    try:
        # PostgreSQL refuses to be run by root.
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        data, log = folder / "data", folder / "log"
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "journeyman", "-A", "trust", "-E", "UTF8", "--no-sync",
             "--locale=C.UTF-8"],
            capture_output=True, text=True, cwd=folder, **as_user,
        )  # fmt: skip
        if made.returncode:
            _skip(request, f"initdb failed: {made.stderr.strip()[-300:]}")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c shared_buffers=32MB"
        control = [programs / "pg_ctl", "-D", data, "-l", log, "-w", "-t", "60"]
        started = subprocess.run(
            [*control, "-o", options, "start"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd=folder, **as_user,
        )  # fmt: skip
        if started.returncode:
            _skip(request, f"PostgreSQL did not start: {log.read_text()[-300:] if log.exists() else 'no log'}")
        try:
            yield f"postgresql://journeyman@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], capture_output=True, cwd=folder, **as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def _skip(request: pytest.FixtureRequest, reason: str) -> None:
    request.config.stash[_no_postgres] = reason
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses PostgreSQL carries the marker."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if "postgres" in getattr(item, "fixturenames", ()) or (callspec and "postgres" in callspec.params.values()):
            item.add_marker("postgres")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reason = config.stash.get(_no_postgres, None)
    if reason:
        terminalreporter.write_sep("!", "NOT TESTED: the store on PostgreSQL", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)
