import json
import time

import pytest

from journeyman.capture.catching_up import missing_in_store
from journeyman.capture.embedded import IngesterThread
from journeyman.capture.ingest import Ingester
from journeyman.capture.options import Options
from journeyman.capture.spool import Spool
from journeyman.records import Exchange
from journeyman.store.memory import MemoryStore

BODY = json.dumps({"model": "openai/gpt", "messages": [{"role": "user", "content": "hello"}]}).encode()


class Away(MemoryStore):
    """A store that takes nothing."""

    def put(self, *records):
        raise OSError("the store is away")


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def call(spool, number):
    at = spool.start(
        {
            "id": f"{number:032x}", "at": 1_790_000_000_000_000 + number, "api": "chat", "source": "gateway",
            "model": "openai/gpt", "upstream": "openai", "served": "gpt",
        },
        BODY,
    )  # fmt: skip
    spool.end(at, {"state": "failed", "status": 500, "latency": 0.5, "streamed": False})
    spool.flush()


def running(folder, store):
    thread = IngesterThread(Ingester(folder, store, Options(keep_raw_days=0)))
    thread.start()
    return thread


def test_what_was_captured_before_is_in_the_store_after(spool):
    store = MemoryStore()
    thread = running(spool._folder, store)
    for round in range(3):
        for number in range(50):
            call(spool, round * 50 + number)
        assert missing_in_store(spool._folder) is None
        assert store.count(Exchange)[""] == (round + 1) * 50
    assert thread.close()


def test_nothing_captured_is_nothing_missing(tmp_path):
    assert missing_in_store(tmp_path / "spool") is None


def test_without_an_ingester_it_says_what_to_do(spool):
    call(spool, 1)
    assert "journeyman ingest" in missing_in_store(spool._folder)


def test_a_store_that_is_away_is_not_waited_for_without_end(spool):
    thread = running(spool._folder, Away())
    call(spool, 1)
    said = missing_in_store(spool._folder, patience=0.5)
    assert "waited 0.5 s" in said
    assert "safe" in said
    thread._ingester.stop()
    thread.close(timeout=5)


def test_a_report_claims_no_more_than_is_stored_however_long_it_takes_to_write(spool, monkeypatch):
    ingester = Ingester(spool.folder, MemoryStore(), Options())
    ingester.run_once()
    done_at = time.time()
    ticks, wall, monotonic = iter(range(1, 1000)), time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: wall() + next(ticks))
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + next(ticks))
    report = ingester.report()
    monkeypatch.undo()
    assert report["at"] - report["lag"] <= done_at
    ingester.close()


def test_an_ingester_that_has_just_begun_does_not_claim_what_waits(spool):
    call(spool, 1)
    waited_from = time.time()
    time.sleep(0.01)
    report = Ingester(spool.folder, MemoryStore(), Options()).report()
    assert report["at"] - report["lag"] <= waited_from
