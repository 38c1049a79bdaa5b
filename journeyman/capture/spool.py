"""Appends calls to the spool as raw bytes: a few microseconds each, no lock held for long, nothing raised.

A call's START is written at once, before its upstream is asked; what follows is gathered and written once in each tick
of the event loop. What was written survives the death of the process; the death of the machine may cost what the
system had not put on the disk yet, unless a caller asked for `synced`.
"""

import asyncio
import atexit
import errno
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import orjson

from journeyman.capture.frames import CallEnd, CallStart, Kind, frame, record_payload, start_payload
from journeyman.capture.segments import bytes_in, drop_oldest_archived, let_go, open_segment, segment_path, writer_name

_LOOK_EVERY_SECONDS = 1.0
"""How often the folder's size is looked at, and a disk that failed is tried again."""
_MOST_WAITING = 16 << 20
"""Bytes that are kept in memory while the disk takes none."""
_MADE_FREE = 64 << 20
"""Bytes of the archive that go at once when the disk is full."""
_WRITE_AT = 256 << 10
"""Bytes after which is written without waiting for the end of the tick."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

_living: "weakref.WeakSet[Spool]" = weakref.WeakSet()


class Spool:
    """One writer. No method raises; what cannot be kept is dropped whole, counted, and told by `report`.

    Safe for threads, and after a fork: the child writes segments of its own, and calls begun before stay the parent's.
    """

    def __init__(
        self, folder: Path, *, most_bytes: int = 2 << 30, segment_bytes: int = 64 << 20, writer: str = "gateway"
    ) -> None:
        self._folder, self._name = folder, writer
        self._most_bytes, self._segment_bytes = most_bytes, segment_bytes
        self._number = self._inherited = 0
        self._counts = {"calls": 0, "dropped_calls": 0, "dropped_bytes": 0, "write_errors": 0}
        self._last_error: str | None = None
        self._closed = False
        self._begin()
        _living.add(self)

    def _begin(self) -> None:
        """The state of a writer that has not written yet: of a fresh one, and of a forked child's."""
        self._lock = threading.Lock()
        self._writer = writer_name(self._name, os.getpid(), time.time_ns() // 1000)
        self._segments = 0
        self._descriptor: int | None = None
        self._size = 0
        self._not_synced: list[int] = []
        self._somebody_syncs = False
        self._names_synced = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._lost: set[int] = set()
        self._scheduled: asyncio.AbstractEventLoop | None = None
        self._failed_at: float | None = None
        self._looked_at = -_LOOK_EVERY_SECONDS
        self._in_folder = 0
        self._written = self._synced = 0
        self._sync_lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where it writes."""
        return self._folder

    def start(self, start: CallStart, body: bytes) -> int:
        """Write that a call begins; its number, or 0 when it was dropped."""
        try:
            payload = start_payload(start, body)
        except (TypeError, ValueError) as error:
            self._drop(len(body), f"what is known of a call cannot be written: {error}")
            return 0
        with self._lock:
            if not self._may_begin(len(payload)):
                return 0
            self._number += 1
            number = self._number
            self._put(frame(Kind.START, number, payload))
            if not self._write():
                # The START is still in memory: the last thing that was put there.
                self._waiting_bytes -= len(self._waiting.pop()) if self._waiting else 0
                self._counts["dropped_calls"] += 1
                self._counts["dropped_bytes"] += len(payload)
                return 0
            self._counts["calls"] += 1
            return number

    def chunk(self, call: int, data: bytes) -> None:
        """Keep bytes of a call's answer; a call without a number was dropped, and so are they."""
        if not data or not self._is_mine(call):
            return
        with self._lock:
            self._put_chunk(call, data)
        self._write_soon()

    def end(self, call: int, end: CallEnd, rest: bytes = b"") -> None:
        """Keep how a call ended, and with it the `rest` of its answer: written together."""
        if not self._is_mine(call):
            return
        with self._lock:
            if rest:
                self._put_chunk(call, rest)
            if call in self._lost:
                self._lost.discard(call)
                end = {**end, "lost": True}
            self._put(frame(Kind.END, call, orjson.dumps(end)))
        self._write_soon()

    def record(self, what: str, about: dict[str, Any], body: bytes) -> bool:
        """Write something that is no call; False when it could not be, and may be offered again."""
        payload = record_payload(what, about, body)
        with self._lock:
            if not self._may_begin(len(payload), call=False):
                return False
            self._put(frame(Kind.RECORD, 0, payload))
            if self._write():
                return True
            self._waiting_bytes -= len(self._waiting.pop()) if self._waiting else 0
            return False

    def flush(self) -> None:
        """Write all that waits."""
        with self._lock:
            self._scheduled = None
            self._write()

    def sync(self) -> None:
        """Return when all that was written so far is on the disk itself; many callers share one wait."""
        self.flush()
        self._sync(self._written)

    async def synced(self) -> None:
        """`sync`, without holding up the event loop."""
        self.flush()
        await asyncio.to_thread(self._sync, self._written)

    def report(self) -> dict[str, Any]:
        """Calls begun and dropped, bytes dropped, bytes in the folder that wait, and the last error, for `/healthz`."""
        waiting, archived = bytes_in(self._folder)
        return {
            **self._counts,
            "bytes_waiting": waiting,
            "bytes_archived": archived,
            "bytes_in_memory": self._waiting_bytes,
            "failing": self._failed_at is not None,
            "last_error": self._last_error,
        }

    def close(self) -> None:
        """Write what waits and let go of the segment. Calls after that are dropped, and counted."""
        with self._lock:
            if self._closed:
                return
            self._write()
            self._closed = True
            self._shut()
        _living.discard(self)

    def _sync(self, wanted: int) -> None:
        with self._sync_lock:
            if self._synced >= wanted:
                return
            descriptors: list[int] = []
            try:
                with self._lock:
                    self._somebody_syncs, reached = True, self._written
                    descriptors, self._not_synced = self._not_synced, []
                    if self._descriptor is not None:
                        # A copy: the segment may be closed meanwhile.
                        descriptors.append(os.dup(self._descriptor))
                    segments = self._segments
                for descriptor in descriptors:
                    os.fdatasync(descriptor)
                if self._names_synced < segments:
                    folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
                    descriptors.append(folder)
                    os.fsync(folder)
                    self._names_synced = segments
                self._synced = reached
            except OSError as error:
                with self._lock:
                    self._fail(f"the disk could not confirm what was written: {error}")
                    self._size = self._segment_bytes  # what follows goes to a new segment
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _is_mine(self, call: int) -> bool:
        return call > self._inherited and not self._closed

    def _may_begin(self, size: int, *, call: bool = True) -> bool:
        """Whether there is room for something new; otherwise it is counted as dropped. The lock is held."""
        reason = None
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_SECONDS:
            self._looked_at = now
            self._look()
        if self._closed:
            reason = "the spool is closed"
        elif self._failed_at is not None and now - self._failed_at < _LOOK_EVERY_SECONDS:
            reason = self._last_error
        elif self._in_folder + size > self._most_bytes:
            reason = f"{self._in_folder} bytes wait for the store already, the most that the settings allow"
        if reason is None:
            return True
        self._last_error = reason
        if call:
            self._counts["dropped_calls"] += 1
            self._counts["dropped_bytes"] += size
        return False

    def _look(self) -> None:
        try:
            waiting, archived = bytes_in(self._folder)
            if waiting + archived > self._most_bytes:
                archived -= drop_oldest_archived(self._folder, waiting + archived - self._most_bytes)
            self._in_folder = waiting
            if self._descriptor is not None and not os.fstat(self._descriptor).st_nlink:
                self._size = self._segment_bytes  # somebody removed the segment: nobody would read what is added to it
        except OSError as error:
            self._last_error = str(error)

    def _put_chunk(self, call: int, data: bytes) -> None:
        if self._failed_at is not None and self._waiting_bytes + len(data) > _MOST_WAITING:
            self._counts["dropped_bytes"] += len(data)
            self._lost.add(call)
            return
        self._put(frame(Kind.CHUNK, call, data))

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)

    def _write_soon(self) -> None:
        """At the end of this tick of the event loop; at once where there is none, or when much waits."""
        if self._waiting_bytes < _WRITE_AT:
            loop = asyncio._get_running_loop()
            if loop is not None:
                # A loop that was closed with the flush still to come is not waited for.
                if self._scheduled is not loop:
                    self._scheduled = loop
                    loop.call_soon(self.flush)
                return
        self.flush()

    def _write(self) -> bool:
        """Write what waits; False, and all of it still waits, when the disk does not take it. The lock is held."""
        if not self._waiting:
            return True
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        try:
            try:
                self._append(data)
            except OSError as error:
                if error.errno not in _FULL or not drop_oldest_archived(self._folder, _MADE_FREE):
                    raise
                self._append(data)
        except OSError as error:
            self._fail(f"{error.strerror or error}: {self._folder}")
            return False
        self._waiting.clear()
        self._waiting_bytes = 0
        self._size += len(data)
        self._in_folder += len(data)
        self._written += len(data)
        self._failed_at = None
        return True

    def _append(self, data: bytes) -> None:
        """All of it or nothing: the segment always ends with a whole frame."""
        if self._descriptor is None or self._size >= self._segment_bytes:
            self._open()
        descriptor = self._descriptor
        assert descriptor is not None
        done = 0
        try:
            while done < len(data):
                done += os.write(descriptor, data[done:] if done else data)
        except OSError:
            if done:
                try:
                    os.ftruncate(descriptor, self._size)
                except OSError:
                    # The torn frame is seen by its checksum. The segment stays held until there is a next one.
                    self._size = self._segment_bytes
            raise

    def _open(self) -> None:
        """Begin the next segment, and only then let go of the one before: a writer that holds none is dead."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = open_segment(segment_path(self._folder, self._writer, self._segments + 1))
        before = self._descriptor
        self._segments += 1
        self._descriptor, self._size = descriptor, 0
        if before is not None:
            let_go(before)
            self._not_synced.append(before)
            # Whoever asks first for durability may have written to the one before.
            while len(self._not_synced) > 1 and not self._somebody_syncs:
                os.close(self._not_synced.pop(0))

    def _shut(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        while self._not_synced:
            os.close(self._not_synced.pop())

    def _fail(self, said: str) -> None:
        self._counts["write_errors"] += 1
        self._last_error, self._failed_at = said, time.monotonic()

    def _drop(self, size: int, said: str) -> None:
        self._counts["dropped_calls"] += 1
        self._counts["dropped_bytes"] += size
        self._last_error = said

    def _forked(self) -> None:
        """In the child: the segment, and what waits to be written to it, are the parent's."""
        self._inherited = self._number
        self._shut()
        self._begin()


def _in_every_child() -> None:
    for spool in list(_living):
        spool._forked()


@atexit.register
def _before_exit() -> None:
    for spool in list(_living):
        spool.flush()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_every_child)
