import json
import os
import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from journeyman.capture.archive import archived, unpack
from journeyman.capture.embedded import IngesterThread
from journeyman.capture.frames import Frame, read_frames
from journeyman.capture.ingest import Ingester, StoreDown
from journeyman.capture.options import Options
from journeyman.capture.segments import list_segments
from journeyman.capture.spool import Spool
from journeyman.config import PriceRule
from journeyman.errors import Refused
from journeyman.prices import PriceList
from journeyman.records import Exchange, Feedback, UsageEntry
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore

BODY = json.dumps({"model": "openai/gpt", "messages": [{"role": "user", "content": "hello"}], "seed": 3}).encode()
ANSWER = json.dumps(
    {
        "id": "r1", "model": "gpt", "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    }
).encode()  # fmt: skip


def start(number, **more):
    base = {"id": f"{number:032x}", "at": 1_790_000_000_000_000 + number, "api": "chat", "source": "gateway"}
    return {**base, "model": "openai/gpt", "upstream": "openai", "served": "gpt", **more}


def call(spool, number, answer=ANSWER, ended=True, **more):
    at = spool.start(start(number, **more), BODY)
    spool.chunk(at, answer)
    if ended:
        spool.end(at, {"state": "complete", "status": 200, "latency": 0.5, "streamed": False})
    return at


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool", segment_bytes=2000)
    yield spool
    spool.close()


@pytest.fixture
def store():
    return MemoryStore()


def ingester(spool, store, **options):
    return Ingester(spool._folder, store, Options(**{"keep_raw_days": 0, **options}))


class Broken(MemoryStore):
    """A store that is away for a while, or refuses certain records."""

    def __init__(self):
        super().__init__()
        self.away = 0
        self.refuses = set()

    def put(self, *records):
        if self.away > 0:
            self.away -= 1
            raise OSError("the store is away")
        if any(record.id in self.refuses for record in records):
            raise ValueError("a record that no store can take")
        super().put(*records)

    def get(self, kind, id):
        if self.away > 0:
            self.away -= 1
            raise OSError("the store is away")
        return super().get(kind, id)


def test_what_ended_is_stored_and_its_segments_go(spool, store):
    for number in range(20):
        call(spool, number)
    work = ingester(spool, store)
    assert work.run_once() == 20
    found = store.find(Exchange)
    assert len(found) == 20
    assert found[0].state == "complete"
    assert found[0].reply.content == "hi"
    assert found[0].usage.total_tokens == 12
    assert found[0].latency == 0.5
    assert len(list_segments(spool._folder)) == 1, "the living writer's own segment stays"
    spool.close()
    work.run_once()
    assert list_segments(spool._folder) == []
    assert work.run_once() == 0


def test_stored_twice_is_stored_once(spool, store):
    for number in range(5):
        call(spool, number, books=True)
    first = ingester(spool, store)
    first.run_once()
    first.close()
    again = ingester(spool, store)
    again.run_once()
    assert store.count(Exchange) == {"": 5}
    assert store.count(UsageEntry) == {"": 5}


def test_a_call_whose_writer_died_is_killed_with_what_it_had(spool, store):
    call(spool, 1, answer=ANSWER[:20], ended=False)
    work = ingester(spool, store)
    work.run_once()
    assert store.find(Exchange) == [], "its writer lives"
    spool.close()
    work.run_once()
    (found,) = store.find(Exchange)
    assert found.state == "killed"
    assert work.report()["killed"] == 1


def test_a_call_that_lasts_is_shown_before_it_ends(spool, store, monkeypatch):
    monkeypatch.setattr("journeyman.capture.ingest._LASTING_SECONDS", 0.0)
    at = call(spool, 1, ended=False)
    work = ingester(spool, store)
    work.run_once()
    assert store.find(Exchange)[0].state == "streaming"
    spool.end(at, {"state": "complete", "status": 200})
    work.run_once()
    assert [found.state for found in store.find(Exchange)] == ["complete"]


def test_prices_and_bookings(spool, store):
    prices = PriceList({"gpt": PriceRule(input=Decimal(2), output=Decimal(10))})
    call(spool, 1, books=True, key="k1", tags={"a": "b"})
    call(spool, 2)
    ingester(spool, store, prices=prices).run_once()
    assert {found.cost_usd for found in store.find(Exchange)} == {4e-05}
    (entry,) = store.find(UsageEntry)
    assert (entry.request, entry.key, entry.source, entry.picodollars) == (f"{1:032x}", "k1", "answer", 40_000_000)


def test_records_go_to_their_handlers_and_unknown_ones_aside(spool, store):
    spool.record("note", {"by": "me"}, b"good")
    spool.record("strange", {}, b"bytes")
    spool.record("note", {}, b"")
    work = ingester(
        spool,
        store,
        handlers={
            "note": lambda about, body: [Feedback(id="f", session="s", name=body.decode(), value=1, by=about["by"])]
        },
    )
    work.run_once()
    assert [found.name for found in store.find(Feedback)] == ["good"]
    assert work.report()["aside"] == 2
    why = [json.loads(path.read_text())["why"] for path in (spool._folder / "aside").glob("*.why")]
    assert any("strange" in each for each in why)


def test_a_store_that_is_away_loses_nothing(spool, monkeypatch):
    monkeypatch.setattr("journeyman.capture.ingest._PAUSES", (0.0, 0.0))
    store = Broken()
    for number in range(30):
        call(spool, number)
    work = ingester(spool, store, batch=7)
    store.away = 25
    failures = 0
    while store.away:
        try:
            work.run_once()
        except StoreDown:
            failures += 1
    assert failures > 1
    work.run_once()
    assert store.count(Exchange) == {"": 30}
    assert work.report()["aside"] == 0
    assert work.report()["stored"] == 30


def test_one_record_that_the_store_refuses_costs_only_itself(spool, monkeypatch):
    monkeypatch.setattr("journeyman.capture.ingest._PAUSES", (0.0,))
    store = Broken()
    store.refuses = {f"{4:032x}"}
    for number in range(10):
        call(spool, number)
    work = ingester(spool, store)
    work.run_once()
    assert store.count(Exchange) == {"": 9}
    assert work.report()["aside"] == 1
    kept = [path for path in (spool._folder / "aside").iterdir() if path.suffix != ".why"]
    assert json.loads(kept[0].read_bytes())["id"] == f"{4:032x}"


def test_damage_is_counted_kept_aside_and_skipped(spool, store):
    spool._segment_bytes = 1 << 20
    for number in range(10):
        call(spool, number)
    spool.close()
    (segment,) = list_segments(spool._folder)
    data = bytearray(segment.path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.path.write_bytes(bytes(data) + b"torn")
    work = ingester(spool, store)
    work.run_once()
    report = work.report()
    assert report["damaged"] == 2
    assert store.count(Exchange)[""] >= 9
    assert any(path.read_bytes() == b"torn" for path in (spool._folder / "aside").iterdir())
    assert list_segments(spool._folder) == []


def test_stored_segments_are_kept_compressed_for_their_days(spool, store):
    for number in range(20):
        call(spool, number)
    spool.close()
    raw = {segment.path.name: segment.path.read_bytes() for segment in list_segments(spool._folder)}
    work = ingester(spool, store, keep_raw_days=1)
    work.run_once()
    kept = archived(spool._folder)
    assert {path.name.removesuffix(".zst"): unpack(path) for path in kept} == raw
    old = time.time() - 2 * 86400
    os.utime(kept[0], (old, old))
    work._chores_at = 0.0
    work.run_once()
    assert archived(spool._folder) == kept[1:]


def test_two_ingesters_do_not_work_on_one_folder(spool, store):
    first, second = ingester(spool, store), ingester(spool, store)
    first.run_once()
    with pytest.raises(Refused, match="another ingester"):
        second.run_once()
    first.close()
    second.run_once()


def test_erased_calls_do_not_come_back(spool, store):
    for number in range(4):
        call(spool, number)
    work = ingester(spool, store, is_erased=lambda exchange: exchange.id == f"{2:032x}")
    work.run_once()
    assert store.count(Exchange) == {"": 3}
    assert work.report()["erased"] == 1


def test_a_large_answer_is_read_from_where_it_lies(spool, store):
    work = ingester(spool, store)
    work._held.most = 100
    at = spool.start(start(1), BODY)
    half = len(ANSWER) // 2
    spool.chunk(at, ANSWER[:half])
    spool.chunk(at, ANSWER[half:])
    spool.end(at, {"state": "complete", "status": 200})
    work.run_once()
    (found,) = store.find(Exchange)
    assert found.reply.content == "hi"
    assert found.messages[0].content == "hello"
    assert work._held.now == 0


def test_a_frame_larger_than_one_reading(spool, store, monkeypatch):
    monkeypatch.setattr("journeyman.capture.tail._READ", 64)
    for number in range(3):
        call(spool, number)
    ingester(spool, store).run_once()
    assert store.count(Exchange) == {"": 3}


def test_a_thread_settles_what_was_written_before(spool, store):
    thread = IngesterThread(ingester(spool, store))
    thread.start()
    for number in range(50):
        call(spool, number)
        if number % 10 == 0:
            assert thread.settle(10)
            assert store.count(Exchange)[""] >= number + 1
    assert thread.close()
    assert store.count(Exchange) == {"": 50}


WRITER = """
import sys, os
from pathlib import Path
from journeyman.capture.spool import Spool
sys.path.insert(0, {tests!r})
spool = Spool(Path({folder!r}), segment_bytes=20000)
number = {first}
while True:
    start = {{"id": f"{{number:032x}}", "at": 1790000000000000 + number, "api": "chat", "source": "gateway",
              "model": "openai/gpt", "upstream": "openai", "served": "gpt"}}
    at = spool.start(start, {body!r})
    os.write(1, b"s")
    spool.chunk(at, {answer!r})
    spool.end(at, {{"state": "complete", "status": 200}})
    os.write(1, b"e")
    number += 1
"""


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_no_call_that_it_began(tmp_path):
    folder = tmp_path / "spool"
    store = MemoryStore()
    sent = ended = 0
    draw = random.Random(0)
    for round_number in range(20):
        program = WRITER.format(
            tests=str(Path(__file__).parent), folder=str(folder), first=round_number * 1_000_000, body=BODY,
            answer=ANSWER,
        )  # fmt: skip
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        writer.stdout.read(1)
        time.sleep(draw.random() * 0.05)
        writer.send_signal(signal.SIGKILL)
        told = writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        sent += 1 + told.count(b"s")
        ended += told.count(b"e")
    work = Ingester(folder, store, Options(keep_raw_days=0))
    work.run_once()
    states = store.count(Exchange, by="state")
    # One more may have been begun, or ended, than its writer lived to say.
    assert sent <= sum(states.values()) <= sent + 20
    assert ended <= states["complete"] <= ended + 20
    assert set(states) <= {"complete", "killed"}
    assert states.get("killed", 0) <= 20
    assert list_segments(folder) == []


INGESTER = """
import sys
from pathlib import Path
from journeyman.capture.ingest import Ingester
from journeyman.capture.options import Options
from journeyman.store.sql import SqlStore
work = Ingester(Path({folder!r}), SqlStore({url!r}), Options(batch=5))
print("ready", flush=True)
while True:
    work.run_once()
"""


@pytest.mark.slow
def test_an_ingester_killed_at_any_moment_stores_every_call_once(tmp_path):
    folder, url = tmp_path / "spool", f"sqlite:///{tmp_path / 'store.db'}"
    SqlStore(url).close()
    spool = Spool(folder, segment_bytes=5000)
    draw, number = random.Random(1), 0
    for _ in range(20):
        program = INGESTER.format(folder=str(folder), url=url)
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        process.stdout.readline()
        until = time.monotonic() + 0.02 + draw.random() * 0.2
        while time.monotonic() < until:
            for _ in range(5):
                call(spool, number, books=True)
                number += 1
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    spool.close()
    store = SqlStore(url)
    work = Ingester(folder, store, Options())
    work.run_once()
    assert store.count(Exchange) == {"": number}
    assert store.count(UsageEntry) == {"": number}
    assert store.count(Exchange, by="state") == {"complete": number}
    assert list_segments(folder) == []
    assert all(isinstance(each, Frame) for path in archived(folder) for _, each in read_frames(unpack(path)))
    store.close()
