import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.capture.frames import Damage, Frame, Kind, frame, read_frames, read_record, read_start
from journeyman.capture.segments import is_held, list_segments
from journeyman.capture.spool import Spool

START = {"id": "a", "at": 1, "api": "chat", "source": "gateway", "model": "m"}
END = {"state": "complete", "status": 200}


def frames_in(folder):
    found = []
    for segment in list_segments(folder):
        found += [each for _, each in read_frames(segment.path.read_bytes())]
    return found


def one_call(spool, answer=b"{}"):
    number = spool.start(START, b'{"model": "m"}')
    spool.chunk(number, answer)
    spool.end(number, END)
    return number


def test_a_call_is_three_frames(tmp_path):
    spool = Spool(tmp_path)
    number = one_call(spool, b"the answer")
    found = frames_in(tmp_path)
    assert [(each.kind, each.call) for each in found] == [(kind, number) for kind in (Kind.START, Kind.CHUNK, Kind.END)]
    assert read_start(found[0].payload) == (START, b'{"model": "m"}')
    assert found[1].payload == b"the answer"
    assert spool.report()["calls"] == 1


def test_a_start_is_on_the_disk_at_once_and_the_rest_in_one_write_a_tick(tmp_path):
    async def run():
        spool = Spool(tmp_path)
        numbers = [spool.start(START, b"{}") for _ in range(3)]
        assert len(frames_in(tmp_path)) == 3
        for number in numbers:
            spool.chunk(number, b"x")
            spool.end(number, END)
        assert len(frames_in(tmp_path)) == 3, "they wait for the end of the tick"
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(frames_in(tmp_path)) == 9

    asyncio.run(run())


def test_a_loop_that_ends_early_does_not_hold_back_what_the_next_one_writes(tmp_path):
    spool = Spool(tmp_path)
    number = spool.start(START, b"{}")
    first = asyncio.new_event_loop()

    async def ask():
        spool.chunk(number, b"x")

    first.run_until_complete(ask())
    first.close()

    async def end():
        spool.end(number, END)
        await asyncio.sleep(0)

    asyncio.run(end())
    assert [each.kind for each in frames_in(tmp_path)] == [Kind.START, Kind.CHUNK, Kind.END]


def test_a_record_stands_alone(tmp_path):
    spool = Spool(tmp_path)
    assert spool.record("feedback", {"by": "me"}, b"[1]")
    (found,) = frames_in(tmp_path)
    assert read_record(found.payload) == ("feedback", {"by": "me"}, b"[1]")


def test_segments_follow_each_other_and_only_the_last_is_held(tmp_path):
    spool = Spool(tmp_path, segment_bytes=500)
    for _ in range(10):
        one_call(spool)
    segments = list_segments(tmp_path)
    assert len(segments) > 2
    assert [is_held(segment.path) for segment in segments] == [False] * (len(segments) - 1) + [True]
    spool.close()
    assert not is_held(segments[-1].path)
    assert len(frames_in(tmp_path)) == 30


def test_beyond_the_budget_calls_are_dropped_whole_and_counted(tmp_path):
    spool = Spool(tmp_path, most_bytes=1000)
    kept = [one_call(spool, b"x" * 100) for _ in range(20)]
    assert 0 < sum(number > 0 for number in kept) < 20
    assert kept[-1] == 0
    report = spool.report()
    assert report["dropped_calls"] == kept.count(0)
    assert "wait for the store" in report["last_error"]
    assert len(frames_in(tmp_path)) == 3 * (20 - kept.count(0))


def test_a_closed_spool_drops_and_counts(tmp_path):
    spool = Spool(tmp_path)
    spool.close()
    assert one_call(spool) == 0
    assert not spool.record("feedback", {}, b"")
    assert spool.report()["dropped_calls"] == 1


def test_a_disk_that_takes_nothing_is_survived_and_used_again(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    spool = Spool(tmp_path)
    first = spool.start(START, b"{}")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, limit[1]))
        spool.chunk(first, b"y" * 300)
        spool.end(first, END)
        refused = spool.start(START, b"z" * 600)
        report = spool.report()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert refused == 0
    assert report["failing"]
    assert report["dropped_calls"] == 1
    assert all(isinstance(each, Frame) for each in frames_in(tmp_path)), "no torn frame stays"
    spool._failed_at = -100.0  # a second later
    assert one_call(spool) > 0
    kinds = [each.kind for each in frames_in(tmp_path) if each.call == first]
    assert kinds == [Kind.START, Kind.CHUNK, Kind.END], "what waited was written when the disk took it again"
    assert not spool.report()["failing"]


def test_a_folder_that_goes_away_is_no_error_of_the_caller(tmp_path):
    spool = Spool(tmp_path / "file" / "spool")
    (tmp_path / "file").write_text("not a folder")
    assert one_call(spool) == 0
    assert spool.report()["dropped_calls"] == 1
    assert spool.report()["last_error"]


def test_a_forked_child_writes_its_own_segment(tmp_path):
    spool = Spool(tmp_path)
    inherited = spool.start(START, b"{}")
    child = os.fork()
    if child == 0:
        spool.chunk(inherited, b"not mine to end")
        spool.end(inherited, END)
        one_call(spool, b"the child's")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    spool.chunk(inherited, b"mine")
    spool.end(inherited, END)
    segments = list_segments(tmp_path)
    assert len({segment.writer for segment in segments}) == 2
    by_writer = [[each.payload for _, each in read_frames(segment.path.read_bytes())] for segment in segments]
    assert any(b"the child's" in payloads for payloads in by_writer)
    assert sum(b"mine" in payloads for payloads in by_writer) == 1
    assert not any(b"not mine to end" in payloads for payloads in by_writer)


def test_what_waits_is_written_when_the_program_ends_without_a_word(tmp_path):
    program = f"""
        import asyncio
        from pathlib import Path
        from journeyman.capture.spool import Spool
        async def run():
            spool = Spool(Path({str(tmp_path)!r}))
            number = spool.start({START!r}, b"{{}}")
            spool.chunk(number, b"late")
            spool.end(number, {END!r})
            raise SystemExit(3)
        asyncio.run(run())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == 3
    assert [each.kind for each in frames_in(tmp_path)] == [Kind.START, Kind.CHUNK, Kind.END]


def test_threads_share_a_spool(tmp_path):
    spool = Spool(tmp_path)
    threads = [threading.Thread(target=lambda: [one_call(spool) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = frames_in(tmp_path)
    assert len(found) == 2400
    assert all(isinstance(each, Frame) for each in found)
    assert len({each.call for each in found}) == 800


async def test_synced_returns_when_it_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (synced.append(descriptor), real(descriptor)))
    spool = Spool(tmp_path)
    spool.start(START, b"{}")
    await spool.synced()
    assert len(synced) == 1
    await spool.synced()
    assert len(synced) == 1, "nothing new to write"


PAYLOADS = st.lists(st.binary(max_size=60), max_size=6)


@given(PAYLOADS, st.integers(0, 2000), st.integers(1, 255))
def test_one_changed_byte_costs_one_frame_at_most(payloads, position, change):
    written = [frame(Kind.CHUNK, number, payload) for number, payload in enumerate(payloads)]
    data = bytearray(b"".join(written))
    whole = [each for _, each in read_frames(bytes(data))]
    assert [each.payload for each in whole] == payloads
    if not data:
        return
    data[position % len(data)] ^= change
    found = [each for _, each in read_frames(bytes(data)) if isinstance(each, Frame)]
    assert len(found) == len(payloads) - 1
    assert [each for each in whole if each in found] == found


@given(PAYLOADS, st.integers(0, 500))
def test_a_torn_end_is_told_and_costs_nothing_before_it(payloads, missing):
    data = b"".join(frame(Kind.CHUNK, number, payload) for number, payload in enumerate(payloads))
    torn = data[: max(0, len(data) - missing)]
    found = list(read_frames(torn, complete=False))
    frames = [each for _, each in found if isinstance(each, Frame)]
    assert [each.payload for each in frames] == payloads[: len(frames)]
    if len(frames) < len(payloads) and torn[found[-1][0] if found else 0 :]:
        behind, damage = found[-1]
        assert isinstance(damage, Damage)
        assert damage.torn
        assert behind == damage.start


def test_frames_inside_a_body_are_not_read_while_it_is_being_written():
    """A caller could send bytes that look like frames: they must never be taken for ones."""
    inner = frame(Kind.START, 99, b"forged")
    outer = frame(Kind.START, 1, b"x" * 50 + inner + b"y" * 50)
    for cut in range(len(outer) - 60, len(outer)):
        found = [each for _, each in read_frames(outer[:cut], complete=False)]
        assert all(isinstance(each, Damage) and each.torn for each in found)


@pytest.mark.parametrize("size", [0, 1, 20, 21, 1000])
def test_noise_is_no_frame(size):
    noise = bytes((number * 37 + 11) % 251 for number in range(size))
    assert not [each for _, each in read_frames(noise) if isinstance(each, Frame)]
