"""Who may be computed next: a request needs its adapter in memory, and pages for its prompt."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal, TypeVar

import torch

from journeyman.engines.local.network.adapters import Registered
from journeyman.engines.local.network.cache import page_names
from journeyman.engines.local.network.lora import LoraWeights
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request

T = TypeVar("T")
Verdict = Literal["admitted", "later", "full"]


class Admission:
    """Gives requests their adapter and their pages, and takes both back. `wake` is called when a load has ended."""

    def __init__(self, model: LocalModel, wake: Callable[[], None]) -> None:
        self._model, self._wake = model, wake
        self._loading: dict[str, Future[None]] = {}
        self._promised = 0
        """Bytes of the adapters that are being read."""
        # One thread of one thread: a second pool of threads would slow the engine's own.
        self._loader = ThreadPoolExecutor(1, "adapters", initializer=partial(torch.set_num_threads, 1))
        self.cached_tokens = 0
        """Prompt tokens that were in the cache when their request was let in."""

    def admit(self, request: Request) -> Verdict:
        """Let a request in; `later` when it waits for something of its own, `full` when it waits for others to end.

        JourneymanError when its adapter cannot be read any more.
        """
        if request.entry is not None and request.weights is None:
            request.weights = self._find(request.entry)
            if request.weights is None:
                return "later"
        if request.names is None:
            scores_prompt = request.prompt_tops is not None
            request.names = [] if scores_prompt else page_names(request.root, request.ids)
        if self._model.cache.is_promised(request.names):
            return self._not_yet(request, "later")
        lease = self._model.cache.take(len(request.ids), request.root, request.names)
        if lease is None:
            return self._not_yet(request, "full")
        request.lease, request.computed = lease, lease.shared
        if not request.touched:
            request.touched = True
            request.cached = lease.shared
            self.cached_tokens += lease.shared
        return "admitted"

    def release(self, request: Request) -> None:
        """The request ended, or waits again: others may have its pages and its adapter's place."""
        if request.lease is not None:
            self._model.cache.release(request.lease)
        self._not_yet(request, "later")
        request.lease, request.names, request.computed = None, None, 0

    def beside(self, work: Callable[[LocalModel], T]) -> "Future[T]":
        """Do something in the thread that reads adapters."""
        return self._loader.submit(work, self._model)

    def close(self) -> None:
        """Load nothing more."""
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _not_yet(self, request: Request, verdict: Verdict) -> Verdict:
        # Whoever waits holds no adapter in memory: those in use could otherwise be all that fit.
        if request.weights is not None:
            self._model.adapters.release(request.weights)
            request.weights = None
        return verdict

    def _find(self, entry: Registered) -> LoraWeights | None:
        """The weights for one more request; None while they are read, or have to wait for room."""
        adapters, loading = self._model.adapters, self._loading.get(entry.digest)
        if loading is not None:
            if not loading.done():
                return None
            del self._loading[entry.digest]
            self._promised -= entry.bytes
            loading.result()
        weights = adapters.acquire(entry)
        # What is being read counts: two that do not fit together would push each other out for ever.
        if weights is None and adapters.has_room(entry, self._promised):
            self._promised += entry.bytes
            self._loading[entry.digest] = started = self._loader.submit(adapters.fetch, entry)
            started.add_done_callback(lambda done: self._wake())
        return weights
