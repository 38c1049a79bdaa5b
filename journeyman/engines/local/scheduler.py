"""Continuous batching: requests join and leave between steps; one thread owns the model."""

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import torch

from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.network.step import Part, Step
from journeyman.engines.local.request import Request, Update
from journeyman.engines.local.sampling.sampler import sample
from journeyman.errors import JourneymanError, NotFound, UpstreamFailed

PROMPT_TOKENS_PER_STEP = 256
"""Prompts are computed in chunks of this size, so that one long prompt does not stall everybody's next token."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Scheduler:
    """Runs a model for many requests at once, in a thread of its own."""

    def __init__(self, model: LocalModel, threads: int | None = None) -> None:
        self._model, self._threads = model, threads
        self._inbox: queue.SimpleQueue[Request | Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue a request; its updates arrive through `request.tell`."""
        self._put(request)

    def call(self, work: Callable[[LocalModel], T]) -> "Future[T]":
        """Do something with the model between two steps, such as loading an adapter."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work(self._model))
            except Exception as error:
                future.set_exception(error)

        self._put(run)
        return future

    def close(self) -> None:
        """Stop after the step that is running, ending what is unfinished; waits at most ten seconds for it."""
        with self._closing:
            self._closed = True
            self._inbox.put(None)
        self._thread.join(timeout=10)

    def _put(self, item: Request | Callable[[], None]) -> None:
        # Under the lock, nothing can arrive behind the sign to stop, where nobody would ever answer it.
        with self._closing:
            if self._closed:
                raise _stopping()
            self._inbox.put(item)

    def _run(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        while self._receive():
            try:
                self._admit()
                if self._running:
                    self._step()
            except Exception as error:
                # A request must hear of it, or its client waits for ever; the cause is logged with its traceback.
                _log.exception("a forward pass failed; %d requests were ended", len(self._running))
                failure = JourneymanError(f"the engine failed on this batch ({error}); its log has more. Try again")
                for request in list(self._running):
                    self._end(request, Update("", "cancelled", failure))
        for request in (*self._running, *self._waiting):
            request.tell(Update("", "cancelled", _stopping()))

    def _receive(self) -> bool:
        """Take in what has arrived, waiting when there is nothing to compute; False when asked to stop."""
        idle = not self._running and not self._waiting
        while idle or not self._inbox.empty():
            item = self._inbox.get()
            idle = False
            if item is None:
                return False
            if isinstance(item, Request):
                self._waiting.append(item)
            else:
                item()
        return True

    def _admit(self) -> None:
        for request in [request for request in self._waiting if request.cancelled]:
            self._waiting.remove(request)
            request.tell(Update("", "cancelled"))
        while self._waiting:
            request = self._waiting[0]
            if request.adapter is not None and request.adapter not in self._model.adapters:
                self._waiting.popleft()
                request.tell(Update("", "cancelled", NotFound("adapter", request.adapter, self._model.adapters)))
                continue
            # Held from here on: unloading or replacing an adapter lets the requests that use it finish under it.
            request.weights = self._model.adapters[request.adapter] if request.adapter is not None else None
            taken = self._model.cache.take(request.prompt, request.weights)
            if taken is None:
                return
            request.slot, request.cached = taken
            request.computed = request.cached
            self._running.append(self._waiting.popleft())

    def _step(self) -> None:
        for request in [request for request in self._running if request.cancelled]:
            self._end(request, Update("", "cancelled"))
        batch, step, ids, positions, wanted, asking = self._plan()
        if not batch:
            return
        logits = self._model.forward(ids, positions, step, wanted)
        for request, length in batch:
            assert request.slot is not None
            request.slot.ids += request.ids[request.computed : request.computed + length]
            request.computed += length
        sampled = sample(logits, [request.sampler for request in asking], [request.top_logprobs for request in asking])
        for request, token, logprob, tops in zip(
            asking, sampled.tokens, sampled.logprobs, sampled.alternatives, strict=True
        ):
            if not math.isfinite(logprob):
                self._end(request, Update("", "cancelled", _not_finite(request)))
                continue
            update = request.accept(token, logprob, tops)
            if update.finish_reason is not None:
                self._end(request, update)
            elif update.text:
                request.tell(update)

    def _plan(
        self,
    ) -> tuple[list[tuple[Request, int]], Step, list[int], list[int], list[int], list[Request]]:
        """The next flat batch: who takes part with how many tokens, and whose last token's logits are wanted."""
        step, batch = Step(), list[tuple[Request, int]]()
        ids, positions, wanted, asking = list[int](), list[int](), list[int](), list[Request]()
        left = PROMPT_TOKENS_PER_STEP
        decoding = [request for request in self._running if request.reply]
        prompting = [request for request in self._running if not request.reply]
        for request in [*sorted(decoding, key=_by_adapter), *sorted(prompting, key=_by_adapter)]:
            pending = request.reply[-1:] if request.reply else request.prompt[request.computed :][:left]
            if not pending:
                continue
            assert request.slot is not None
            part = Part(request.slot.index, len(ids), request.computed, len(pending))
            (step.decoding if request.reply else step.chunks).append(part)
            left -= 0 if request.reply else len(pending)
            _extend_spans(step, request, part)
            ids += pending
            positions += range(part.start, part.end)
            batch.append((request, part.length))
            if part.end == len(request.prompt) + len(request.reply):
                wanted.append(len(ids) - 1)
                asking.append(request)
        return batch, step, ids, positions, wanted, asking

    def _end(self, request: Request, update: Update) -> None:
        self._running.remove(request)
        if request.slot is not None:
            self._model.cache.release(request.slot)
        request.tell(update)


def _extend_spans(step: Step, request: Request, part: Part) -> None:
    if request.weights is None:
        return
    first, last = part.offset, part.offset + part.length
    if step.spans and step.spans[-1][1] == first and step.spans[-1][2] is request.weights:
        first = step.spans.pop()[0]
    step.spans.append((first, last, request.weights))


def _stopping() -> JourneymanError:
    return UpstreamFailed("the engine is shutting down; start it again and repeat the request", status=503)


def _not_finite(request: Request) -> JourneymanError:
    culprit = "the base model" if request.adapter is None else f"adapter {request.adapter!r}"
    return JourneymanError(f"{culprit} computes numbers that are not finite here: its weights are unusable")


def _by_adapter(request: Request) -> str:
    return request.adapter or ""
