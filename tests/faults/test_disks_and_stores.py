"""The store away, the disk full: no caller notices; what is not kept is counted where somebody sees it."""

import asyncio
import os
import shutil
import sqlite3
import subprocess

import aiohttp
import pytest

from tests.faults.conftest import Load

AWAY_SECONDS = float(os.environ.get("JOURNEYMAN_FAULTS_AWAY", "5"))
"""How long the store is away; the published figures take 60."""


@pytest.mark.timeout(300)
async def test_the_store_is_away_for_a_while(installation, upstream, tally):
    await installation.start()
    load = Load(installation)
    clients = [asyncio.create_task(load.client(f"client {number}")) for number in range(2)]
    await asyncio.sleep(0.5)
    holding = sqlite3.connect(installation.home / "journeyman.db", isolation_level=None)
    holding.execute("BEGIN EXCLUSIVE")
    upstream.pace = 0.01
    before = len(load.answered)
    await asyncio.sleep(AWAY_SECONDS)
    during = len(load.answered) - before
    holding.execute("ROLLBACK")
    holding.close()
    load.stopping = True
    await asyncio.gather(*clients)
    await installation.stop()
    await installation.drain()
    stored = installation.stored()
    tally(load, stored, seconds=AWAY_SECONDS, answered_meanwhile=during)
    assert during > AWAY_SECONDS
    assert not load.failed
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")


@pytest.fixture
def small_spool(installation):
    """A spool on a disk of one megabyte."""
    mount, spool = shutil.which("mount"), installation.home / "spool"
    spool.mkdir(parents=True)
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", spool], check=False)
    if not made or made.returncode:
        pytest.skip("NOT TESTED: a full disk; this needs the right to mount one")
    yield spool
    subprocess.run(["umount", "-l", spool], check=True)


async def test_the_disk_is_full(installation, upstream, small_spool, tally):
    await installation.start()
    filler = small_spool / "filler"
    filler.write_bytes(b"x" * (600 << 10))
    load = Load(installation)
    async with aiohttp.ClientSession() as session:
        for number in range(60):
            await load.ask(session, f"call {number}", metadata={"filler": "x" * 20_000})
        health = await installation.health()
        filler.unlink()
        await asyncio.sleep(2.5)
        for number in range(60, 70):
            await load.ask(session, f"call {number}")
    await installation.stop()
    await installation.drain()
    stored = installation.stored()
    dropped = health["spool"]["dropped_calls"]
    tally(load, stored, dropped=dropped)
    assert not load.failed
    assert dropped > 0
    assert len(stored) == len(load.sent) - dropped
    assert {f"call {number}" for number in range(60, 70)} <= set(stored), "kept again when there is room"
