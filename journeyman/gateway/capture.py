"""Keeps every call without being in its way: a bounded queue in memory, and one thread that writes to the store."""

import logging
import threading
from collections import deque
from typing import Any

from journeyman.gateway.call import Call, Outcome, exchange_of
from journeyman.store.store import Store

_BATCH = 200
_RETRY_AFTER_SECONDS = (0.1, 0.5, 2.0)

log = logging.getLogger(__name__)


class Capture:
    """The queue and its writer. `record` returns at once and never raises; what cannot be kept is counted and shown."""

    def __init__(self, store: Store, limit: int = 10_000) -> None:
        self._store = store
        self._limit = limit
        self._waiting: deque[tuple[Call, Outcome]] = deque()
        self._changed = threading.Condition()
        self._in_hand = 0
        self._closed = False
        self._stored = self._dropped = 0
        self._last_error: str | None = None
        self._thread = threading.Thread(target=self._write, name="capture", daemon=True)

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def record(self, call: Call, outcome: Outcome) -> None:
        """Keep this state of a call. When the queue is full, a call's last state is counted as dropped."""
        # The last state is the one that counts, so half of the queue is reserved for it.
        limit = self._limit if outcome.final else self._limit // 2
        with self._changed:
            if len(self._waiting) + self._in_hand < limit and not self._closed:
                self._waiting.append((call, outcome))
                self._changed.notify_all()
            elif outcome.final:
                self._dropped += 1
                self._last_error = "closed" if self._closed else f"{self._limit} records wait for the store already"

    def report(self) -> dict[str, Any]:
        """Calls stored and dropped, records that wait, and the last error, for `/healthz`."""
        with self._changed:
            return {
                "stored": self._stored,
                "dropped": self._dropped,
                "pending": len(self._waiting) + self._in_hand,
                "last_error": self._last_error,
            }

    def flush(self, timeout: float) -> bool:
        """Wait until what was recorded so far is stored or dropped; False when that takes longer than `timeout` s."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._in_hand, timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Take nothing more, store what waits, end the writer; False, and a line in the log, when it took longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.error("waited %g s for the store to take the last records, in vain: %s", timeout, self.report())
        return not self._thread.is_alive()

    def _write(self) -> None:
        while batch := self._next_batch():
            self._keep(batch)
            with self._changed:
                self._in_hand = 0
                self._changed.notify_all()

    def _next_batch(self) -> list[tuple[Call, Outcome]]:
        """What waits, of each call its last state only; empty when there is nothing more to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            taken = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            self._in_hand = len(taken)
        return list({call.id: (call, outcome) for call, outcome in taken}.values())

    def _keep(self, batch: list[tuple[Call, Outcome]]) -> None:
        """All at once; when that keeps failing, one by one, so that a bad record costs only itself."""
        for pause in _RETRY_AFTER_SECONDS:
            if self._put(batch):
                return
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause)
        for call, outcome in batch:
            if not self._put([(call, outcome)]) and outcome.final:
                with self._changed:
                    self._dropped += 1

    def _put(self, batch: list[tuple[Call, Outcome]]) -> bool:
        try:
            self._store.put(*(exchange_of(call, outcome) for call, outcome in batch))
        except Exception as error:  # whatever the store raises: the calls must go on, and the loss must show
            log.warning("%d captured records could not be stored: %s", len(batch), error)
            with self._changed:
                self._last_error = f"{type(error).__name__}: {error}"
            return False
        with self._changed:
            self._stored += sum(outcome.final for _, outcome in batch)
        return True
