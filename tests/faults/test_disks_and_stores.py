"""The store away, the disk full: no caller notices; what is not kept is counted where somebody sees it."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.faults.conftest import Installation, Load

AWAY_SECONDS = float(os.environ.get("JOURNEYMAN_FAULTS_AWAY", "5"))
"""How long the store is away; the published figures take 60."""


async def through_it(installation: Installation, leave: Callable[[], None], come_back: Callable[[], None]) -> Load:
    """Calls before, while and after the store is away; all of them stored, and nobody noticed."""
    await installation.start()
    load = Load(installation)
    clients = [asyncio.create_task(load.client(f"client {number}")) for number in range(2)]
    await installation.ingests()
    installation.upstream.pace = 0.01
    leave()
    before = len(load.answered)
    await asyncio.sleep(AWAY_SECONDS)
    load.meanwhile = len(load.answered) - before
    report = (await installation.health())["ingester"]
    come_back()
    await asyncio.sleep(0.5)
    load.stopping = True
    await asyncio.gather(*clients)
    await installation.stop()
    await installation.drain()
    assert load.meanwhile > AWAY_SECONDS, "calls go on"
    assert not load.failed
    assert report["lag"] > AWAY_SECONDS / 2, "an operator sees that the store takes nothing"
    return load


@pytest.mark.timeout(300)
@pytest.mark.fault("SQLite held by another process")
async def test_another_process_holds_sqlite(installation, tally):
    holding: list[sqlite3.Connection] = []

    def leave() -> None:
        holding.append(sqlite3.connect(installation.home / "journeyman.db", isolation_level=None))
        holding[0].execute("BEGIN EXCLUSIVE")

    def come_back() -> None:
        holding[0].execute("ROLLBACK")
        holding[0].close()

    load = await through_it(installation, leave, come_back)
    stored = installation.stored()
    tally(load, stored, seconds=AWAY_SECONDS, answered_meanwhile=load.meanwhile)
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")


@pytest.mark.timeout(300)
@pytest.mark.fault("PostgreSQL down")
async def test_postgresql_is_down(installation, stoppable_postgres, tally):
    installation.settings["JOURNEYMAN_DATABASE_URL"] = stoppable_postgres.url
    load = await through_it(installation, stoppable_postgres.stop, stoppable_postgres.start)
    stored = installation.stored()
    tally(load, stored, seconds=AWAY_SECONDS, answered_meanwhile=load.meanwhile)
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own for a folder, of a few megabytes; the test is skipped where that is not allowed."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
    if not made or made.returncode:
        pytest.skip("NOT TESTED: a full disk; this needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill_up(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as filling, contextlib.suppress(OSError):
        while filling.write(b"x" * 4096):
            continue


@pytest.mark.fault("the spool's disk full")
async def test_the_spools_disk_is_full(installation, tally):
    with small_disk(installation.home / "spool", "1m") as spool:
        await installation.start()
        filler = spool / "filler"
        filler.write_bytes(b"x" * (600 << 10))
        load = Load(installation)
        async with aiohttp.ClientSession() as session:
            for number in range(60):
                await load.ask(session, f"call {number}", metadata={"filler": "x" * 20_000})
            filler.unlink()
            await asyncio.sleep(2.5)
            for number in range(60, 70):
                await load.ask(session, f"call {number}")
            health = await installation.health()
            async with session.get(f"{installation.url}/metrics") as answer:
                metrics = await answer.text()
        await installation.stop()
        await installation.drain()
        stored = installation.stored()
    dropped = health["spool"]["dropped_calls"]
    tally(load, stored, dropped)
    assert not load.failed
    assert 0 < dropped < 60
    assert f"journeyman_spool_dropped_calls {dropped}\n" in metrics
    assert len(stored) == len(load.sent) - dropped
    assert {f"call {number}" for number in range(60, 70)} <= set(stored), "kept again when there is room"
    assert {each.state for each in stored.values()} == {"complete"}


@pytest.mark.fault("the store's disk full")
async def test_the_stores_disk_is_full(installation, tally):
    with small_disk(installation.home, "6m") as home, small_disk(home / "spool", "20m"):
        await installation.start()
        load = Load(installation)
        async with aiohttp.ClientSession() as session:
            await load.ask(session, "before")
            await installation.ingests()
            filler = home / "filler"
            fill_up(filler)
            for number in range(60):
                await load.ask(session, f"call {number}", metadata={"filler": os.urandom(20_000).hex()})
            async with asyncio.timeout(30):
                while not (await installation.health())["ingester"]["last_error"]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
            filler.unlink()
            await load.ask(session, "after")
        await installation.stop()
        await installation.drain()
        stored = installation.stored()
    tally(load, stored)
    assert not load.failed
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")
