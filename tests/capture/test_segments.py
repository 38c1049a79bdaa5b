"""Segments under real writers: who lives, what is on the disk, and whose bytes go first when it is full."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from journeyman.capture.frames import HEADER, Damage, Frame, Kind, frame, read_frames
from journeyman.capture.segments import ARCHIVE, bytes_in, is_alive, list_segments
from journeyman.capture.spool import Spool

START = {"id": "a", "at": 1, "api": "chat", "source": "gateway", "model": "m"}
END = {"state": "complete", "status": 200}


def one_call(spool, answer=b"{}"):
    number = spool.start(START, b'{"model": "m"}')
    spool.chunk(number, answer)
    spool.end(number, END)
    return number


def test_a_writer_never_looks_dead_while_it_goes_from_segment_to_segment(tmp_path):
    spool, looks, done = Spool(tmp_path, segment_bytes=1), [], threading.Event()
    one_call(spool)

    def look():
        while not done.is_set():
            looks.append(is_alive(list_segments(tmp_path)[-1]))

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(300):
        one_call(spool)
    done.set()
    watcher.join()
    assert len(looks) > 20
    assert all(looks)
    assert spool.report()["write_errors"] == 0
    spool.close()
    assert not is_alive(list_segments(tmp_path)[-1])


def test_what_was_written_before_a_change_of_segment_is_synced_too(tmp_path, monkeypatch):
    synced, real = set(), os.fdatasync

    def watched(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", watched)
    spool = Spool(tmp_path, segment_bytes=1)
    one_call(spool)  # three writes: three segments
    spool.sync()
    inodes = [segment.path.stat().st_ino for segment in list_segments(tmp_path)]
    assert set(inodes[-2:]) <= synced
    for _ in range(5):
        one_call(spool)
    spool.sync()
    inodes = [segment.path.stat().st_ino for segment in list_segments(tmp_path)]
    assert set(inodes[3:]) <= synced, "once somebody asked, all of them"


def test_a_segment_that_somebody_removed_is_not_written_on(tmp_path):
    spool = Spool(tmp_path)
    one_call(spool)
    list_segments(tmp_path)[0].path.unlink()
    spool._looked_at = -100.0  # a second later
    assert one_call(spool) > 0
    (segment,) = list_segments(tmp_path)
    assert len(list(read_frames(segment.path.read_bytes()))) == 3


def test_two_writers_share_a_folder_and_its_budget(tmp_path):
    first = Spool(tmp_path, most_bytes=100_000)
    program = f"""
        from pathlib import Path
        from journeyman.capture.spool import Spool
        spool = Spool(Path({str(tmp_path)!r}), writer="client")
        for _ in range(100):
            number = spool.start({START!r}, b"x" * 1000)
            spool.end(number, {END!r})
    """
    assert one_call(first) > 0
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    assert len({segment.writer for segment in list_segments(tmp_path)}) == 2
    first._looked_at = -100.0
    assert one_call(first) == 0, "the other one has filled the folder"
    assert "wait for the store" in first.report()["last_error"]


def test_the_archive_goes_before_calls_are_dropped(tmp_path):
    (tmp_path / ARCHIVE).mkdir()
    for number in range(4):
        kept = tmp_path / ARCHIVE / f"gateway-1-1-{number:06d}.spool.zst"
        kept.write_bytes(b"z" * 40_000)
        os.utime(kept, (number, number))
    spool = Spool(tmp_path, most_bytes=100_000)
    assert one_call(spool) > 0
    assert sorted(path.name[-14:-10] for path in (tmp_path / ARCHIVE).iterdir()) == ["0002", "0003"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("NOT TESTED: a full disk; this needs the right to mount one")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_costs_the_archive_first_then_calls_and_never_a_torn_frame(small_disk):
    (small_disk / ARCHIVE).mkdir()
    kept = small_disk / ARCHIVE / "gateway-1-1-000001.spool.zst"
    kept.write_bytes(b"z" * 500_000)
    spool = Spool(small_disk)
    numbers = [one_call(spool, b"y" * 10_000) for _ in range(200)]
    assert not kept.exists()
    began = sum(number > 0 for number in numbers)
    assert 80 < began < 200, "more than fits beside the archive"
    report = spool.report()
    assert report["dropped_calls"] == 200 - began
    assert "No space left" in report["last_error"]
    found = [each for segment in list_segments(small_disk) for _, each in read_frames(segment.path.read_bytes())]
    assert all(isinstance(each, Frame) for each in found)
    for segment in list_segments(small_disk):
        with segment.path.open("r+b") as file:  # the ingester would have removed it
            file.truncate(0)
    spool._failed_at = -100.0
    assert one_call(spool) > 0, "it is used again when there is room"
    assert not spool.report()["failing"]
    spool.close()


def test_bytes_of_both_kinds_are_told_apart(tmp_path):
    spool = Spool(tmp_path)
    one_call(spool)
    (tmp_path / ARCHIVE).mkdir()
    (tmp_path / ARCHIVE / "x.spool.zst").write_bytes(b"1234")
    waiting, archived = bytes_in(tmp_path)
    assert archived == 4
    assert waiting == list_segments(tmp_path)[0].path.stat().st_size


def test_reading_on_behind_damage_takes_no_longer_for_what_looks_like_headers(tmp_path):
    looks_so = HEADER.pack(1 << 20, 1, Kind.CHUNK, 5) * 120_000
    written = frame(Kind.CHUNK, 1, looks_so)
    damaged = bytearray(written + frame(Kind.CHUNK, 2, b"behind"))
    damaged[100] ^= 1
    began = time.monotonic()
    found = [each for _, each in read_frames(bytes(damaged))]
    assert time.monotonic() - began < 20
    assert [type(each) for each in found] == [Damage, Frame]
    assert found[1].payload == b"behind"
