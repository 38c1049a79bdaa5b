"""What is erased goes from the store with all that was said of it, from the raw archive, and does not come back."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import zstandard

from journeyman.capture.archive import archived, unpack
from journeyman.capture.erasure import Erasures, Target, erase, reach_of
from journeyman.capture.frames import Frame, Kind, frame, read_frames, read_start, record_payload, start_payload
from journeyman.capture.ingest import Ingester
from journeyman.capture.options import Options
from journeyman.capture.purging import purge_archive
from journeyman.capture.rereading import reread
from journeyman.capture.retention import apply_retention, would_remove
from journeyman.capture.spool import Spool
from journeyman.config import RetentionRule
from journeyman.errors import InvalidInput
from journeyman.records import Choice, Erasure, Exchange, Feedback, Filter, Tagging, Trajectory, WireExchange
from journeyman.records.message import assistant, user
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore

DAY = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture(params=["sql", "memory"])
def store(request, tmp_path):
    opened = SqlStore(f"sqlite:///{tmp_path / 'store.db'}") if request.param == "sql" else MemoryStore()
    yield opened
    opened.close()


def exchange(number, **fields):
    told = {
        "id": f"{number:032x}", "at": DAY + timedelta(minutes=number), "model": "m", "state": "complete",
        "messages": (user(f"q {number}"),), "choices": (Choice(message=assistant(f"a {number}")),),
    }  # fmt: skip
    return Exchange.model_validate({**told, **fields})


@pytest.fixture
def filled(store):
    """Ana's two sessions, one of them shared with Bo, and 500 calls without a session."""
    store.put(
        exchange(1, person="ana", session="own", external_id="x-1"),
        exchange(2, person="ana", session="shared"),
        exchange(3, person="bo", session="shared"),
        *[exchange(number, person="bo", tags={"odd": str(number % 2)}) for number in range(10, 510)],
        Feedback(exchange_id=f"{1:032x}", name="good", value=1, by="t"),
        Feedback(external_id="x-1", name="good", value=1, by="t"),
        Feedback(session="own", name="good", value=1, by="t"),
        Feedback(session="shared", name="good", value=1, by="t"),
        Feedback(exchange_id=f"{3:032x}", name="good", value=1, by="t"),
        Tagging(exchange_id=f"{2:032x}", tags={"a": "b"}, by="t"),
        Trajectory(scenario_id="s", model="m", session="own", messages=(user("q 1"),)),
        Trajectory(scenario_id="s", model="m", session="shared", messages=(user("q 2"),)),
    )
    return store


def numbers(store):
    return {kind.__name__: store.count(kind)[""] for kind in (Exchange, Feedback, Tagging, Trajectory)}


def test_a_person_goes_with_all_that_was_said_and_others_stay(filled):
    told = reach_of(filled, Target("person", "ana"))
    gone = erase(filled, Target("person", "ana"), "t")
    assert told == gone
    assert (gone.exchanges, gone.sessions, gone.feedback, gone.taggings, gone.trajectories) == (2, 1, 3, 1, 1)
    assert numbers(filled) == {"Exchange": 501, "Feedback": 2, "Tagging": 0, "Trajectory": 1}
    assert erase(filled, Target("person", "ana"), "t").nothing


def test_a_session_goes_whole(filled):
    gone = erase(filled, Target("session", "shared"), "t")
    assert (gone.exchanges, gone.sessions, gone.feedback, gone.trajectories) == (2, 1, 2, 1)
    assert filled.get(Exchange, f"{1:032x}") is not None


def test_feedback_on_a_session_without_calls_goes_too(store):
    store.put(Feedback(session="late", name="good", value=1, by="t"))
    assert erase(store, Target("session", "late"), "t").feedback == 1


def test_what_a_filter_finds_goes_in_batches_and_is_remembered_by_id_alone(filled):
    assert erase(filled, Target("filter", "tags.odd = 1"), "t").exchanges == 250
    kept = filled.find(Erasure)
    assert sum(len(each.exchanges) for each in kept) == 250
    assert max(len(each.exchanges) for each in kept) <= 200
    assert "odd" not in "".join(each.model_dump_json() for each in kept)


def test_the_name_of_the_person_is_nowhere_in_what_stays(filled):
    erase(filled, Target("person", "ana"), "t")
    assert "ana" not in "".join(each.model_dump_json() for each in filled.find(Erasure))


def test_the_witness_sees_everything_before_it_goes(filled):
    seen = []
    erase(filled, Target("person", "bo"), "t", witness=seen.extend)
    assert len(seen) == 501
    assert seen[0].reply.text


def test_erased_calls_are_known_by_id_and_older_ones_by_name(filled):
    erasures = Erasures(filled, fresh=0)
    one = WireExchange.of(exchange(1, person="ana", session="own"))
    assert not erasures.is_erased(one)
    erase(filled, Target("person", "ana"), "t")
    erase(filled, Target("session", "gone"), "t")
    other = WireExchange.of(exchange(7, person="ana"))
    assert erasures.is_erased(one)
    assert erasures.is_erased(WireExchange.of(exchange(1)))
    assert erasures.is_erased(other)
    assert erasures.is_erased(WireExchange.of(exchange(8, session="gone")))
    assert not erasures.is_erased(WireExchange.of(exchange(8, person="bo", session="shared")))
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert not erasures.is_erased(WireExchange.of(exchange(9, person="ana", at=later)))


def test_asking_what_was_erased_costs_little(filled):
    erase(filled, Target("person", "ana"), "t")
    erasures = Erasures(filled)
    one = WireExchange.of(exchange(900, person="bo", session="shared"))
    erasures.is_erased(one)
    begun = time.perf_counter()
    for _ in range(2000):
        erasures.is_erased(one)
    assert (time.perf_counter() - begun) / 2000 < 100e-6


def start(number, at=DAY, **fields):
    known = {"id": f"{number:032x}", "at": int(at.timestamp() * 1e6), "api": "chat", "source": "gateway", "model": "m"}
    return start_payload({**known, **fields}, fields.pop("body", b'{"messages": []}'))


def segment(folder, number, *frames):
    path = folder / "archive" / f"gateway-1-1-{number:06d}.spool.zst"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(b"".join(frame(*each) for each in frames)))
    return path


def kept(path):
    frames = [found for _, found in read_frames(zstandard.decompress(path.read_bytes(), 1 << 20))]
    assert all(isinstance(each, Frame) for each in frames)
    return [(each.kind, each.call) for each in frames]


def test_the_archive_is_rewritten_without_the_erased_calls(store, tmp_path):
    body = b'{"messages": [], "user": "ana"}'
    first = segment(
        tmp_path, 1,
        (Kind.START, 1, start(1)), (Kind.START, 2, start(2, person="ana")), (Kind.CHUNK, 1, b"x"),
        (Kind.CHUNK, 2, b"y"), (Kind.START, 3, start_payload(read_start(start(3))[0], body)),
        (Kind.RECORD, 0, record_payload("otlp/traces", {}, b"z")),
    )  # fmt: skip
    second = segment(
        tmp_path, 2, (Kind.CHUNK, 2, b"y"), (Kind.END, 1, b"{}"), (Kind.END, 2, b"{}"), (Kind.END, 3, b"{}")
    )
    untouched = segment(tmp_path, 3, (Kind.START, 4, start(4)), (Kind.END, 4, b"{}"))
    before = untouched.stat().st_mtime_ns, first.stat().st_mtime_ns
    store.put(exchange(2, person="ana"))
    erase(store, Target("person", "ana"), "t")
    erasures = Erasures(store)
    assert purge_archive(tmp_path, erasures) == 2
    assert kept(first) == [(Kind.START, 1), (Kind.CHUNK, 1), (Kind.RECORD, 0)]
    assert kept(second) == [(Kind.END, 1)]
    assert (untouched.stat().st_mtime_ns, first.stat().st_mtime_ns) == before
    # What a purged call had still to write is known when it comes into the archive later.
    third = segment(tmp_path, 4, (Kind.CHUNK, 2, b"late"), (Kind.CHUNK, 4, b"x"))
    assert purge_archive(tmp_path, erasures) == 0
    assert kept(third) == [(Kind.CHUNK, 4)]
    assert b"ana" not in (tmp_path / "archive" / "purged.json").read_bytes()


def test_from_the_spool_to_the_archive_nothing_erased_comes_back(store, tmp_path):
    """A real writer and a real ingester; calls end before and after the erasure, and the archive is read again."""
    erasures = Erasures(store, fresh=0)
    options = Options(is_erased=erasures.is_erased, keep_raw_days=1)
    ingester = Ingester(tmp_path, store, options)
    spool = Spool(tmp_path, segment_bytes=1)
    end = {"state": "complete", "status": 200}

    def begin(number, person):
        told = {"id": f"{number:032x}", "at": int(time.time() * 1e6), "api": "chat", "source": "gateway", "model": "m"}
        return spool.start(
            {**told, "person": person}, b'{"messages": [{"role": "user", "content": "secret %d"}]}' % number
        )

    answer = b'{"choices": [{"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}'
    stored, lasting, other = begin(1, "ana"), begin(2, "ana"), begin(3, "bo")
    for call in (stored, other):
        spool.chunk(call, answer)
        spool.end(call, end)
    spool.flush()
    ingester.run_once()
    assert store.count(Exchange, Filter.parse("state = complete")) == {"": 2}
    erase(store, Target("person", "ana"), "t")
    spool.chunk(lasting, answer)
    spool.end(lasting, end)
    late = begin(4, "ana")
    spool.chunk(late, answer)
    spool.end(late, end)
    spool.close()
    ingester.run_once()
    assert {each.id[-1] for each in store.find(Exchange)} == {"3", "4"}
    assert purge_archive(tmp_path, erasures) == 2
    raw = b"".join(unpack(path) for path in archived(tmp_path))
    assert [f"secret {number}".encode() in raw for number in (1, 2, 3, 4)] == [False, False, True, True]
    reread(tmp_path, store, options, older_than=None)
    assert {each.id[-1] for each in store.find(Exchange)} == {"3", "4"}
    ingester.close()


def test_a_lost_memory_of_purges_only_means_looking_again(store, tmp_path):
    path = segment(tmp_path, 1, (Kind.START, 1, start(1, session="s")))
    erase(store, Target("session", "s"), "t")
    (tmp_path / "archive" / "purged.json").write_text("{nonsense")
    assert purge_archive(tmp_path, Erasures(store)) == 1
    assert kept(path) == []
    assert purge_archive(tmp_path / "absent", Erasures(store)) == 0


def test_retention_removes_what_is_old_and_what_was_said_of_it(filled):
    rules = [RetentionRule(keep_days=10, where="tags.odd = 0"), RetentionRule(keep_days=30)]
    moment = DAY + timedelta(days=10, minutes=200)
    assert [each.exchanges for each in would_remove(filled, rules, moment)] == [95, 0]
    assert [each.exchanges for each in apply_retention(filled, rules, moment)] == [95, 0]
    assert numbers(filled)["Exchange"] == 408
    assert [each.exchanges for each in apply_retention(filled, rules, DAY + timedelta(days=31))] == [155, 253]
    assert numbers(filled)["Exchange"] == 0
    assert filled.count(Feedback) == {"": 3}


def test_a_rule_that_cannot_be_read_removes_nothing(filled):
    with pytest.raises(InvalidInput):
        apply_retention(filled, [RetentionRule(keep_days=1, where="state =")])
    with pytest.raises(ValueError, match="greater than 0"):
        RetentionRule(keep_days=0)
