"""Who may be computed next: a request needs its adapter in memory, and pages for its prompt."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal, TypeVar

import torch

from journeyman.engines.local.network.adapters import AdapterStore, Registered
from journeyman.engines.local.network.cache import page_names
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request

T = TypeVar("T")
Verdict = Literal["admitted", "later", "full"]


class Loads:
    """The adapters that are being read, in a thread of their own; `wake` is called when one is there."""

    def __init__(self, adapters: AdapterStore, wake: Callable[[], None]) -> None:
        self._adapters, self._wake = adapters, wake
        # One thread of one thread: a second pool of threads would slow the engine's own.
        self._reader = ThreadPoolExecutor(1, "adapters", initializer=partial(torch.set_num_threads, 1))
        self._running: dict[str, tuple[Registered, Future[None]]] = {}
        self._failed: dict[str, BaseException] = {}

    def settle(self) -> None:
        """Note which reads have ended; those that failed are told to whoever waits for them now."""
        self._failed = {}
        for digest, (_, reading) in list(self._running.items()):
            if reading.done():
                del self._running[digest]
                if (error := reading.exception()) is not None:
                    self._failed[digest] = error

    def start(self, entry: Registered) -> None:
        """Read an adapter, unless it is being read, or there is no room for it yet; raises why it could not be read."""
        if entry.digest in self._failed:
            raise self._failed[entry.digest]
        # What is being read counts: two that do not fit together would push each other out for ever.
        promised = sum(other.bytes for other, _ in self._running.values())
        if entry.digest not in self._running and self._adapters.has_room(entry, promised):
            reading = self.beside(lambda: self._adapters.fetch(entry))
            self._running[entry.digest] = entry, reading
            reading.add_done_callback(lambda done: self._wake())

    def beside(self, work: Callable[[], T]) -> "Future[T]":
        """Do something in the thread that reads."""
        return self._reader.submit(work)

    def close(self) -> None:
        """Read nothing more."""
        self._reader.shutdown(wait=False, cancel_futures=True)


class Admission:
    """Gives requests their adapter and their pages, and takes both back."""

    def __init__(self, model: LocalModel, loads: Loads) -> None:
        self._model, self._loads = model, loads
        self.cached_tokens = 0
        """Prompt tokens that were in the cache when their request was let in."""

    def admit(self, request: Request) -> Verdict:
        """Let a request in; `later` when it waits for something of its own, `full` when it waits for others to end.

        Raises whatever keeps its adapter from being read.
        """
        if request.entry is not None:
            request.weights = self._model.adapters.acquire(request.entry)
            if request.weights is None:
                self._loads.start(request.entry)
                return "later"
        verdict = self._give_pages(request)
        if verdict != "admitted":
            # Whoever waits holds no adapter in memory: those in use could otherwise be all that fit.
            self._give_back_adapter(request)
        return verdict

    def release(self, request: Request) -> None:
        """The request ended, or waits again: others may have its pages and its adapter's place."""
        if request.lease is not None:
            self._model.cache.release(request.lease)
        self._give_back_adapter(request)
        request.lease, request.names, request.computed = None, None, 0

    def _give_pages(self, request: Request) -> Verdict:
        if request.names is None:
            scores_prompt = request.prompt_tops is not None
            request.names = [] if scores_prompt else page_names(request.root, request.ids)
        if self._model.cache.is_promised(request.names):
            return "later"
        lease = self._model.cache.take(len(request.ids), request.root, request.names)
        if lease is None:
            return "full"
        request.lease, request.computed = lease, lease.shared
        if not request.touched:
            request.touched = True
            request.cached = lease.shared
            self.cached_tokens += lease.shared
        return "admitted"

    def _give_back_adapter(self, request: Request) -> None:
        if request.weights is not None:
            self._model.adapters.release(request.weights)
            request.weights = None
