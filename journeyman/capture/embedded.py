"""An ingester with everything that the settings ask of it, and a thread to run it in."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from journeyman.capture import feedback
from journeyman.capture.erasure import Erasures
from journeyman.capture.ingest import Ingester, StoreDown
from journeyman.capture.options import Options
from journeyman.capture.otlp.handlers import OtlpHandlers
from journeyman.capture.purging import purge_archive
from journeyman.capture.redact import redactor_of
from journeyman.capture.retention import apply_retention
from journeyman.config import Settings
from journeyman.errors import Refused
from journeyman.prices import PriceList
from journeyman.store.store import Store

_IDLE_SECONDS = 0.05
_DOWN_SECONDS = 1.0
_SQLITE = "sqlite:///"

log = logging.getLogger(__name__)


def ingester_for(settings: Settings, store: Store) -> Ingester:
    """The ingester of an installation."""
    return Ingester(settings.spool, store, options_for(settings, store))


def options_for(settings: Settings, store: Store) -> Options:
    """How an installation's calls become records: its prices, redaction, handlers, erasures and retention."""
    erasures, otlp = Erasures(store), OtlpHandlers(store)
    index = getattr(store, "index_text", None)  # a store in memory has no index
    return Options(
        prices=PriceList(settings.prices),
        redactor=redactor_of(settings.redaction, settings.home),
        handlers={**otlp.handlers(), feedback.FEEDBACK: feedback.handle_feedback},
        is_erased=erasures.is_erased,
        due=[otlp.settle],
        idle=[index] if index else [],
        chores=[
            partial(purge_archive, settings.spool, erasures),
            *([partial(apply_retention, store, settings.retention)] if settings.retention else []),
        ],
        settle_store=partial(_settle, settings.database),
        keep_raw_days=settings.capture.keep_raw_days,
    )


def _settle(database: str) -> None:
    """SQLite in WAL mode leaves the last commits to the system; PostgreSQL has them on the disk itself."""
    if not database.startswith(_SQLITE):
        return
    path = Path(database.removeprefix(_SQLITE))
    for written in (path.with_name(path.name + "-wal"), path):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(written, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def run_until(ingester: Ingester, stopping: threading.Event, settled: Callable[[bool], None] | None = None) -> None:
    """Ingest what comes until `stopping`, and once more then; reports itself every second, and outlives any failure.

    `settled` is told after each look whether all that was found is in the store.
    """
    while True:
        last = stopping.is_set()
        done, pause = 0, _IDLE_SECONDS
        try:
            done = ingester.run_once()
            if settled:
                settled(True)
        except Refused as busy:
            ingester.note(busy)
            pause = _DOWN_SECONDS
        except StoreDown as down:
            ingester.note(down)
            pause = _DOWN_SECONDS
        except Exception as error:  # a full disk, a folder that went: nothing is lost, and it is tried again
            log.exception("the ingester stumbled; trying again")
            ingester.note(error)
            pause = _DOWN_SECONDS
        ingester.write_report(now=last)
        if last:
            return
        if not done:
            stopping.wait(pause)


class IngesterThread:
    """An ingester inside this process, for an embedded gateway: fine for some hundred calls a second."""

    def __init__(self, ingester: Ingester) -> None:
        self._ingester = ingester
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._rounds = 0
        self._thread = threading.Thread(target=self._run, name="ingester", daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def settle(self, timeout: float) -> bool:
        """Wait until all that was written to the spool before is in the store; False when that takes longer."""
        with self._changed:
            # The round that is under way may have looked before.
            wanted = self._rounds + 2
            return self._changed.wait_for(lambda: self._rounds >= wanted or not self._thread.is_alive(), timeout)

    def report(self) -> dict[str, Any]:
        """The ingester's own."""
        return self._ingester.report()

    def close(self, timeout: float = 10.0) -> bool:
        """Store what is there, and end; False, and a line in the log, when that took longer."""
        self._stopping.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._ingester.stop()
            log.error("waited %g s for the store to take the last records, in vain; they wait in the spool", timeout)
            return False
        return True

    def _run(self) -> None:
        run_until(self._ingester, self._stopping, self._settled)
        self._ingester.close()

    def _settled(self, done: bool) -> None:
        with self._changed:
            self._rounds += 1
            self._changed.notify_all()
