"""Brings what is in the spool into the store: joined, parsed, redacted, priced, once.

One ingester at a time works on a folder. It may die at any moment: a segment stays until all that it holds is in the
store, and what is stored twice is stored once, because every record has an id that follows from its call.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from journeyman.capture.archive import expire, put_aside, retire
from journeyman.capture.away import store_is_away
from journeyman.capture.frames import Damage, Frame, Kind, frame, read_record
from journeyman.capture.joining import EndedCall, Held, Joining, OpenCall
from journeyman.capture.metering import Meter
from journeyman.capture.options import Options, Stored
from journeyman.capture.parsing import parse, parse_unended
from journeyman.capture.segments import ASIDE, Segment, is_alive, is_held, list_segments, lock_folder, longest_waiting
from journeyman.capture.tail import Tail
from journeyman.capture.withdrawing import was_withdrawn
from journeyman.errors import Refused
from journeyman.prices import PriceList
from journeyman.records import Feedback, WireExchange
from journeyman.store.store import Store

REPORT = "ingester.json"
_LASTING_SECONDS = 2.0
"""A call that lasts longer is shown in the store before it ends."""
_PAUSES = (0.1, 0.5, 2.0)
_REPORT_SECONDS = 1.0
_SYNC_SECONDS = 1.0
"""About what the death of the machine may cost: so often raw calls are put on the disk itself."""
_PATIENCE_SECONDS = 60.0
"""After that, the records of a batch that the store does not take are offered to it one by one."""
_MOST_IN_VAIN = 3
_HOUR = 3600.0
_DUE_SECONDS = 5.0
"""So often it is looked for what others may have left; in every idle moment that would cost more than all the rest."""

_RECORD = int(Kind.RECORD)
"""Looked up for every frame, where an enumeration's member takes longer."""

log = logging.getLogger(__name__)


class StoreDown(Exception):
    """The store takes nothing at all; what is in hand stays in the spool."""


class _Work(NamedTuple):
    """Something that came whole, and becomes records; `raw` gives its frames, to be put aside under `name`."""

    make: Callable[[], Sequence["Stored"]]
    name: str
    raw: Callable[[], bytes]


class Ingester:
    """One folder's way into one store. `run_once` may be called from one thread at a time."""

    def __init__(self, folder: Path, store: Store, options: Options | None = None) -> None:
        self._folder, self._store = folder, store
        self._options = options or Options()
        self._meter = Meter(self._options.prices or PriceList({}))
        self._tails: dict[Path, Tail] = {}
        self._writers: dict[str, Joining] = {}
        self._held = Held()
        self._undone: _Work | None = None
        self._batch: list[Stored] = []
        self._refused_since: float | None = None
        self._counts = dict.fromkeys(("stored", "records", "killed", "erased", "damaged", "damaged_bytes", "aside"), 0)
        self._done_at = time.monotonic() - longest_waiting(folder)
        self._reported_at = self._synced_at = 0.0
        self._last_error: str | None = None
        self._lock: int | None = None
        self._chores_at = self._due_at = self._idle_at = 0.0
        self._stop = threading.Event()

    def run_once(self) -> int:
        """Store all that is there now; how many records that were. Refused when another ingester works here.

        StoreDown when the store takes nothing; call again later.
        """
        self._take_lock()
        began = time.monotonic()
        before = self._counts["stored"] + self._counts["records"]
        self._put_batch()
        self._do_undone()
        by_writer: dict[str, list[Segment]] = {}
        for segment in list_segments(self._folder):
            by_writer.setdefault(segment.writer, []).append(segment)
        for writer, segments in by_writer.items():
            self._read_writer(writer, segments)
        self._add_due()
        self._put_batch()
        self._done_at, self._last_error = began, None
        if began - self._synced_at > _SYNC_SECONDS:
            # From here, as the writers must not wait for it.
            self._synced_at = began
            for tail in self._tails.values():
                tail.sync()
        for writer, segments in by_writer.items():
            self._retire(writer, segments)
        self._do_chores()
        done = self._counts["stored"] + self._counts["records"] - before
        if done:
            self._idle_at = 0.0
        elif began - self._idle_at > _DUE_SECONDS:
            self._idle_at = began
            for task in self._options.idle:
                task()
        return done

    def report(self) -> dict[str, Any]:
        """Counts since the start of what was stored, killed, damaged, put aside; and the lag in seconds.

        The lag is the age of the oldest byte that may still be missing in the store.
        """
        # In this order and rounded up: `at` less the lag must be no later than that, however long this takes.
        at, waits = time.time(), time.monotonic() - self._done_at
        strays = sum(joining.strays for joining in self._writers.values())
        calls = sum(map(len, self._writers.values()))
        return {
            **self._counts, "strays": strays, "open_calls": calls, "lag": ceil(1000 * waits) / 1000,
            "last_error": self._last_error, "at": at, "pid": os.getpid(),
        }  # fmt: skip

    def write_report(self, *, now: bool = False) -> None:
        """Put the report of whoever works here beside the spool; not before the last one is a second old."""
        if self._lock is None or (not now and time.monotonic() - self._reported_at < _REPORT_SECONDS):
            return
        self._reported_at = time.monotonic()
        unfinished = self._folder / f"{REPORT}.partial"
        try:
            unfinished.write_bytes(orjson.dumps(self.report()))
            unfinished.replace(self._folder / REPORT)
        except OSError as error:
            self.note(error)

    def note(self, error: BaseException) -> None:
        """Show in the report what went wrong."""
        self._last_error = f"{type(error).__name__}: {error}"

    def stop(self) -> None:
        """End the waits of a `run_once` that is under way in another thread."""
        self._stop.set()

    def close(self) -> None:
        """Let others work on this folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        try:
            self._lock = lock_folder(self._folder)
        except BlockingIOError as error:
            raise Refused(
                f"another ingester works on {self._folder} already; nothing was read. "
                "What is captured is stored by that one"
            ) from error

    def _read_writer(self, writer: str, segments: Sequence[Segment]) -> None:
        joining = self._writers.setdefault(writer, Joining(self._held))
        # Asked before reading: what is written after that is read the next time.
        alive = is_alive(segments[-1])
        for segment in segments:
            complete = not alive or segment is not segments[-1]
            tail = self._tails.setdefault(segment.path, Tail(segment.path))
            try:
                for begins, found in tail.read(complete=complete):
                    if isinstance(found, Damage):
                        self._damaged(segment, begins, found)
                    else:
                        self._take(joining, segment, begins, found)
            except FileNotFoundError:
                continue
        if not alive:
            for call in joining.die():
                self._counts["killed"] += 1
                self._end(call)
        else:
            for lasting in joining.lasting(_LASTING_SECONDS):
                self._show(lasting)

    def _take(self, joining: Joining, segment: Segment, begins: int, found: Frame) -> None:
        if found.kind == _RECORD:
            name = f"{segment.path.name}-{begins}"
            self._do(_Work(partial(self._handled, found), name, partial(frame, *found)))
            return
        try:
            call = joining.take(found, segment.path, begins, segment.number)
        except ValueError as error:
            self._aside(frame(*found), f"{segment.path.name}-{begins}", error)
            return
        if call is not None:
            self._end(call)

    def _end(self, call: EndedCall) -> None:
        """What `_do` does, for a call: nothing is made for its failure unless it fails."""
        try:
            records = self._ended(call)
        except Exception as error:
            name = f"call-{call.start.get('id', 'unnamed')}"
            self._failed(_Work(partial(self._ended, call), name, call.frames), error)
        else:
            self._add(records)

    def _do(self, work: _Work) -> None:
        """Make records of it. What cannot be read is put aside; StoreDown when the store was asked, and is away."""
        try:
            records = work.make()
        except Exception as error:
            self._failed(work, error)
        else:
            self._undone = None
            self._add(records)

    def _failed(self, work: _Work, error: Exception) -> None:
        self._undone = work  # until it is in the batch, or aside
        if store_is_away(error):
            raise StoreDown(f"a call cannot be read now ({error}); it waits in the spool") from error
        self._aside(work.raw(), work.name, error)
        self._undone = None

    def _do_undone(self) -> None:
        if self._undone is not None:
            self._do(self._undone)

    def _ended(self, call: EndedCall) -> list[Stored]:
        """The records of a call that is over."""
        if was_withdrawn(call, self._store):
            return []
        if call.end is None:
            exchange = parse_unended(call.start, call.body, call.answer)
        else:
            exchange = parse(call.start, call.body, call.answer, call.end)
            if call.end.get("lost"):
                exchange.fidelity = "lossy"
                exchange.error = exchange.error or "part of the answer was not recorded: the disk did not take it"
        options = self._options
        if options.is_erased is not None and options.is_erased(exchange):
            self._counts["erased"] += 1
            return []
        cost = self._meter.price(exchange)
        if options.redactor is not None:
            exchange = options.redactor.wire(exchange)
        # Behind a fallback an engine may have answered after all: it counts for itself.
        books = call.start.get("books") and exchange.upstream != "engine"
        entry = self._meter.entry(exchange, cost) if books else None
        return [exchange] if entry is None else [exchange, entry]

    def _show(self, call: OpenCall) -> None:
        """A call that lasts: what is known of it, until its end replaces that."""
        exchange = parse_unended(call.start, call.body, b"")
        exchange.state, exchange.error = ("streaming" if call.pieces else "started"), None
        if self._options.is_erased is not None and self._options.is_erased(exchange):
            return
        self._add([exchange if self._options.redactor is None else self._options.redactor.wire(exchange)])

    def _handled(self, found: Frame) -> list[Stored]:
        what, about, body = read_record(found.payload)
        handler = (self._options.handlers or {}).get(what)
        if handler is None:
            raise ValueError(f"nothing here reads {what}")
        return [kept for record in handler(about, body) if (kept := self._kept(record)) is not None]

    def _kept(self, record: Stored) -> Stored | None:
        """A record that came whole, without what nobody may see; None when it was erased."""
        options = self._options
        if isinstance(record, Feedback) and options.redactor is not None:
            return options.redactor.feedback(record)
        if not isinstance(record, WireExchange):
            return record
        if options.is_erased is not None and options.is_erased(record):
            self._counts["erased"] += 1
            return None
        return record if options.redactor is None else options.redactor.wire(record)

    def _add_due(self) -> None:
        now = time.monotonic()
        if now - self._due_at < _DUE_SECONDS:
            return
        self._due_at = now
        for source in self._options.due:
            self._add([kept for record in source() if (kept := self._kept(record)) is not None])

    def _add(self, records: Sequence[Stored]) -> None:
        self._batch += records
        if len(self._batch) >= self._options.batch:
            self._put_batch()

    def _put_batch(self) -> None:
        """Store what is in hand. A record that the store refuses alone is put aside; StoreDown when it refuses all."""
        self.write_report()
        batch = self._batch
        if not batch:
            return
        for pause in (*_PAUSES, None):
            try:
                self._store.put(*batch)
            except Exception as error:  # whatever the store raises: nothing is lost, and the delay is shown
                self.note(error)
                self.write_report(now=True)
                log.warning("%d records could not be stored yet: %s", len(batch), error)
                if pause is not None and not self._stop.wait(pause):
                    continue
                self._put_singly(batch, error)
            else:
                self._count(batch)
            break
        self._batch, self._refused_since = [], None

    def _put_singly(self, batch: Sequence[Stored], error: Exception) -> None:
        """Find the records that the store refuses. As long as it takes none at all, the fault is the store's."""
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        down = StoreDown(f"the store takes nothing ({error}); {len(batch)} records wait in the spool")
        if store_is_away(error) and now - self._refused_since < _PATIENCE_SECONDS:
            raise down from error
        refused: list[tuple[Stored, Exception]] = []
        taken: list[Stored] = []
        for record in batch:
            try:
                self._store.put(record)
            except Exception as fault:
                refused.append((record, fault))
            else:
                taken.append(record)
            if not taken and sum(store_is_away(fault) for _, fault in refused) >= min(_MOST_IN_VAIN, len(batch)):
                raise down from error
        for record, why in refused:
            self._aside(_written(record), f"record-{record.id}", why)
        self._count(taken)

    def _count(self, stored: Sequence[Stored]) -> None:
        calls = sum(isinstance(each, WireExchange) for each in stored)
        self._counts["stored"] += calls
        self._counts["records"] += len(stored) - calls

    def _retire(self, writer: str, segments: Sequence[Segment]) -> None:
        """Let go of segments of which nothing is wanted any more."""
        joining = self._writers[writer]
        needed = joining.first_segment()
        for segment in segments:
            last = segment is segments[-1]
            if (needed is not None and segment.number >= needed) or (last and is_held(segment.path)):
                return
            tail = self._tails.get(segment.path)
            if tail is None or tail.at < segment.path.stat().st_size:
                return
            self._options.settle_store()
            retire(segment, self._options.keep_raw_days)
            del self._tails[segment.path]
        del self._writers[writer]

    def _damaged(self, segment: Segment, begins: int, found: Damage) -> None:
        size = found.end - found.start
        with segment.path.open("rb") as file:
            file.seek(begins)
            data = file.read(size)
        self._counts["damaged"] += 1
        self._counts["damaged_bytes"] += size
        # The same damage is met again after a restart, and is kept once.
        name = f"{segment.path.name}-{begins}-{hashlib.sha256(data).hexdigest()[:8]}"
        if not (self._folder / ASIDE / name).exists():
            put_aside(self._folder, name, data, "torn: the writer died in the middle" if found.torn else "damaged")
            log.warning("%s: %d bytes at %d hold no whole frame; they are kept aside", segment.path.name, size, begins)

    def _aside(self, data: bytes, name: str, error: Exception) -> None:
        self._counts["aside"] += 1
        log.error("%s was put aside: %s", name, error)
        put_aside(self._folder, name, data, f"{type(error).__name__}: {error}")

    def _do_chores(self) -> None:
        now = time.monotonic()
        if self._chores_at and now - self._chores_at < _HOUR:
            return
        self._chores_at = now
        expire(self._folder, self._options.keep_raw_days)
        for chore in self._options.chores:
            chore()


def _written(record: Stored) -> bytes:
    if isinstance(record, WireExchange):
        return orjson.dumps({name: getattr(record, name) for name in record.__slots__})
    return record.model_dump_json().encode()
