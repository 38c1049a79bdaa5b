"""Captures are bounded, counted and flushed, whatever the store does."""

import asyncio
import threading

import pytest

from journeyman.gateway.call import Call, Outcome
from journeyman.gateway.capture import Capture
from journeyman.gateway.validate import read_request
from journeyman.records import Exchange
from journeyman.registry.resolve import Target
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore

REQUEST = read_request(b'{"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}')
TARGET = Target(kind="base", model="tiny", base="tiny")
FAILED = Outcome("failed", 500, error="x")


class Gate(MemoryStore):
    """A store that takes nothing until its gate is opened, or refuses what it is told to refuse."""

    def __init__(self, refuse=lambda record: False):
        super().__init__()
        self.open = threading.Event()
        self.refuse = refuse
        self.puts = 0

    def put(self, *records):
        assert self.open.wait(10)
        self.puts += 1
        if any(self.refuse(record) for record in records):
            raise OSError("no space left on device")
        super().put(*records)


@pytest.fixture
def capture_into():
    made = []

    def make(store, **options):
        made.append(Capture(store, **options))
        made[-1].start()
        return made[-1]

    yield make
    for capture in made:
        capture.close()


def call(**more):
    return Call(request=REQUEST, target=TARGET, **more)


def test_many_calls_are_all_stored_once_and_few_writes_are_needed(capture_into):
    store = Gate()
    capture = capture_into(store)
    for _ in range(500):
        each = call()
        capture.record(each, Outcome("started"))
        capture.record(each, FAILED)
    store.open.set()
    assert capture.flush(10)
    assert capture.report() == {"stored": 500, "dropped": 0, "pending": 0, "last_error": None}
    assert store.count(Exchange, by="state") == {"failed": 500}
    assert store.puts < 20


def test_an_overflow_drops_and_counts_but_never_blocks_and_keeps_room_for_final_states(capture_into):
    store = Gate()
    capture = capture_into(store, limit=10)
    for _ in range(20):
        capture.record(call(), Outcome("started"))
    for _ in range(20):
        capture.record(call(), FAILED)
    report = capture.report()
    assert (report["dropped"], report["pending"]) == (15, 10)
    assert "wait for the store" in report["last_error"]
    store.open.set()
    assert capture.flush(10)
    assert capture.report()["stored"] == 5


def test_one_record_that_the_store_refuses_costs_only_itself(capture_into):
    store = Gate(refuse=lambda record: record.session == "bad")
    store.open.set()
    capture = capture_into(store)
    for session in ("a", "bad", "b"):
        capture.record(call(session=session), FAILED)
    assert capture.flush(20)
    report = capture.report()
    assert (report["stored"], report["dropped"]) == (2, 1)
    assert "no space left" in report["last_error"]
    assert {exchange.session for exchange in store.find(Exchange)} == {"a", "b"}


def test_a_store_that_comes_back_gets_everything(capture_into):
    refusals = iter([True, True])
    store = Gate(refuse=lambda record: next(refusals, False))
    store.open.set()
    capture = capture_into(store)
    capture.record(call(), FAILED)
    assert capture.flush(20)
    assert (capture.report()["stored"], capture.report()["dropped"]) == (1, 0)


def test_closing_stores_what_waits(tmp_path, capture_into):
    store = SqlStore(f"sqlite:///{tmp_path / 'a.db'}")
    capture = capture_into(store)
    for _ in range(300):
        capture.record(call(), FAILED)
    assert capture.close(20)
    assert store.count(Exchange) == {"": 300}
    capture.record(call(), FAILED)
    assert capture.report()["dropped"] == 1
    store.close()


def test_closing_on_a_store_that_hangs_gives_up_and_says_so(caplog, capture_into):
    store = Gate()
    capture = capture_into(store)
    capture.record(call(), FAILED)
    assert not capture.close(0.1)
    assert "in vain" in caplog.text
    store.open.set()


async def test_a_gateway_that_stops_has_stored_every_call(tmp_path, serving, upstream, engine):
    store = SqlStore(f"sqlite:///{tmp_path / 'b.db'}")
    async with serving(store, engine) as gateway, gateway.client() as client:
        asks = [
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": str(number)}])
            for number in range(50)
        ]
        await asyncio.gather(*asks)
    assert store.count(Exchange, by="state") == {"complete": 50}
    store.close()


async def test_a_broken_store_never_breaks_a_call_and_health_shows_the_loss(serving, upstream, engine, http):
    store = Gate(refuse=lambda record: True)
    store.open.set()
    async with serving(store, engine) as gateway, gateway.client() as client:
        reply = await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}])
        assert reply.choices[0].message.content == "Hello"
        await asyncio.to_thread(gateway.gateway.capture.flush, 20)
        _, health = await http("GET", f"{gateway.url}/healthz")
    assert health["captures"]["dropped"] == 1
    assert "no space left" in health["captures"]["last_error"]
