"""What goes wrong around the ingester: the store, the disk, a poisonous call, its own process."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from journeyman.capture.frames import Frame, Kind, read_frames, read_start
from journeyman.capture.ingest import Ingester, StoreDown
from journeyman.capture.options import Options
from journeyman.capture.segments import list_segments
from journeyman.capture.spool import Spool
from journeyman.records import Exchange
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore
from tests.capture.test_ingest import ANSWER, BODY, call, start


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "home" / "spool", segment_bytes=2000)
    yield spool
    spool.close()


def ingester(spool, store, **options):
    return Ingester(spool._folder, store, Options(**{"keep_raw_days": 0, **options}))


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr("journeyman.capture.ingest._PAUSES", (0.0,))


class ReadOnly(MemoryStore):
    """A store that can be read, and takes nothing while `full`."""

    full = True

    def put(self, *records):
        if self.full:
            raise OSError("No space left on device")
        super().put(*records)


@pytest.mark.parametrize("calls", [1, 30])
def test_calls_wait_while_another_process_holds_the_database(spool, tmp_path, monkeypatch, calls):
    """Also when the store's patience is at its end, and ours, too: nothing is put aside that only has to wait."""
    monkeypatch.setattr("journeyman.capture.ingest._PATIENCE_SECONDS", 0.0)
    store = SqlStore(f"sqlite:///{tmp_path / 'store.db'}", busy_timeout=0.05)
    ingesting = ingester(spool, store)
    holding = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    holding.execute("BEGIN IMMEDIATE")
    for number in range(calls):
        call(spool, number)
    spool.flush()
    for _ in range(2):
        with pytest.raises(StoreDown, match="locked"):
            ingesting.run_once()
    assert "locked" in ingesting.report()["last_error"]
    holding.execute("ROLLBACK")
    ingesting.run_once()
    assert ingesting.report()["aside"] == 0
    assert {each.id for each in store.find(Exchange, limit=calls + 1)} == {f"{number:032x}" for number in range(calls)}
    holding.close()
    ingesting.close()
    store.close()


class Poison:
    """A redactor that fails at some calls."""

    def wire(self, exchange):
        if int(exchange.id, 16) % 3 == 0:
            raise RuntimeError("a rule that breaks")
        return exchange


@pytest.mark.parametrize("calls", [1, 30])
def test_a_store_that_can_be_read_but_not_written_gets_all_of_it_later(spool, monkeypatch, calls):
    monkeypatch.setattr("journeyman.capture.ingest._PATIENCE_SECONDS", 0.0)
    store = ReadOnly()
    for number in range(calls):
        call(spool, number)
    work = ingester(spool, store)
    for _ in range(5):
        with pytest.raises(StoreDown, match="wait in the spool"):
            work.run_once()
    assert work.report()["aside"] == 0
    store.full = False
    assert work.run_once() == calls
    assert store.count(Exchange) == {"": calls}


def test_the_calls_of_a_dead_writer_wait_for_a_store_that_is_away(spool):
    store = ReadOnly()
    for number in range(20):
        call(spool, number, ended=False)
    spool.close()
    work = ingester(spool, store, batch=3)
    with pytest.raises(StoreDown):
        work.run_once()
    assert list_segments(spool._folder)
    store.full = False
    work.run_once()
    assert store.count(Exchange, by="state") == {"killed": 20}
    assert list_segments(spool._folder) == []


def test_a_call_that_cannot_be_read_lies_aside_whole_with_the_reason(spool):
    store = MemoryStore()
    for number in range(9):
        call(spool, number)
    work = ingester(spool, store, redactor=Poison())
    work.run_once()
    assert store.count(Exchange) == {"": 6}
    assert work.report()["aside"] == 3
    aside = spool._folder / "aside"
    frames = [found for _, found in read_frames((aside / f"call-{3:032x}").read_bytes())]
    assert [found.kind for found in frames] == [Kind.START, Kind.CHUNK, Kind.END]
    assert read_start(frames[0].payload) == (start(3), BODY)
    assert frames[1].payload == ANSWER
    assert "a rule that breaks" in json.loads((aside / f"call-{3:032x}.why").read_text())["why"]


def test_a_call_for_which_the_store_must_be_asked_waits_until_it_can_be(spool):
    store, away = MemoryStore(), True

    def is_erased(exchange):
        if away:
            raise OSError("the store is away")
        return False

    for number in range(5):
        call(spool, number)
    work = ingester(spool, store, is_erased=is_erased)
    for _ in range(3):
        with pytest.raises(StoreDown):
            work.run_once()
    away = False
    work.run_once()
    assert store.count(Exchange) == {"": 5}
    assert work.report()["aside"] == 0


def test_a_disk_without_room_to_put_aside_loses_nothing(spool):
    store = MemoryStore()
    call(spool, 3)
    work = ingester(spool, store, redactor=Poison())
    in_the_way = spool._folder / "aside"
    in_the_way.write_text("no folder can be made here")
    for _ in range(3):
        with pytest.raises(OSError):  # noqa: PT011 - whatever the system says
            work.run_once()
    in_the_way.unlink()
    work.run_once()
    assert isinstance(next(read_frames((spool._folder / "aside" / f"call-{3:032x}").read_bytes()))[1], Frame)


def test_a_full_disk_keeps_no_archive_but_gets_emptier(spool):
    store = MemoryStore()
    for number in range(20):
        call(spool, number)
    spool.close()
    (spool._folder / "archive").write_text("no folder can be made here")
    ingester(spool, store, keep_raw_days=7).run_once()
    assert store.count(Exchange) == {"": 20}
    assert list_segments(spool._folder) == []


def test_bodies_of_calls_under_way_take_bounded_memory(spool):
    store = MemoryStore()
    work = ingester(spool, store)
    work._held.most = 10 * len(BODY)
    numbers = [call(spool, number, ended=False) for number in range(200)]
    work.run_once()
    assert work._held.now <= 10 * len(BODY)
    for number in numbers:
        spool.end(number, {"state": "complete", "status": 200})
    work.run_once()
    found = store.find(Exchange)
    assert len(found) == 200
    assert {each.reply.content for each in found} == {"hi"}
    assert {each.messages[0].content for each in found} == {"hello"}
    assert work._held.now == 0


def test_raw_calls_are_put_on_the_disk_itself_about_every_second(spool, monkeypatch):
    synced, real = [], os.fdatasync
    monkeypatch.setattr(
        os, "fdatasync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), real(descriptor))
    )
    work = ingester(spool, MemoryStore())
    call(spool, 1)
    work.run_once()
    assert synced == [list_segments(spool._folder)[0].path.stat().st_ino]
    call(spool, 2)
    work.run_once()
    assert len(synced) == 1, "not a second later"
    work._synced_at = -100.0
    work.run_once()
    work._synced_at = -100.0
    work.run_once()
    assert len(synced) == 2, "nothing came since"


def test_a_clock_that_goes_back_changes_nothing(spool):
    store = MemoryStore()
    for number in range(10):
        call(spool, number, at=1_790_000_000_000_000 - number * 3_600_000_000)
    ingester(spool, store).run_once()
    assert store.count(Exchange, by="state") == {"complete": 10}


def process(home, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "journeyman.capture", "--home", str(home)], stdin=subprocess.PIPE,
        env={**os.environ, "JOURNEYMAN_HOME": str(home)}, **how,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["its input closes", "SIGTERM"])
def test_the_process_stores_what_waits_and_tells_how_it_goes_until_it_is_asked_to_end(spool, tmp_path, how):
    running = process(tmp_path / "home")
    for number in range(50):
        call(spool, number)
    told = spool._folder / "ingester.json"
    until = time.monotonic() + 30
    while (not told.exists() or json.loads(told.read_bytes())["stored"] < 50) and time.monotonic() < until:
        time.sleep(0.05)
    for number in range(50, 60):
        call(spool, number)
    if how == "SIGTERM":
        running.send_signal(signal.SIGTERM)
    running.stdin.close()
    assert running.wait(20) == 0
    report = json.loads(told.read_bytes())
    assert report["stored"] == 60
    assert report["lag"] < 5
    store = SqlStore(f"sqlite:///{tmp_path / 'home' / 'journeyman.db'}")
    assert store.count(Exchange) == {"": 60}
    store.close()
