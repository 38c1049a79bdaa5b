"""Continuous batching: requests join and leave between steps; one thread owns the model."""

import bisect
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import torch

from journeyman.engines.local.admission import Admission, Loads
from journeyman.engines.local.batch import Batch, plan
from journeyman.engines.local.counters import Counters
from journeyman.engines.local.memory import give_back
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request, Update
from journeyman.errors import ContextTooLong, DeadlineExceeded, JourneymanError, Overloaded, UpstreamFailed

T = TypeVar("T")
_SETTLED = 1.0
"""Seconds without work after which memory is given back: a pause between two requests is shorter."""
_LONGEST_WAIT = 60.0
"""Seconds; the clock of a wait cannot hold every number that a deadline can."""
_log = logging.getLogger(__name__)


class Scheduler:
    """Runs a model for many requests at once, in a thread of its own.

    At most `rows` requests are computed together, and `waiting` more may wait for their turn.
    """

    def __init__(self, model: LocalModel, threads: int | None = None, *, rows: int = 32, waiting: int = 512) -> None:
        self.counters = Counters()
        self._model, self._threads, self._rows, self._most_waiting = model, threads, rows, waiting
        self._inbox: queue.SimpleQueue[Request | Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: list[Request] = []
        self._work: deque[_Task[Any]] = deque()
        self._running: list[Request] = []
        self._loads = Loads(model.adapters, self._wake)
        self._admission = Admission(model, self._loads)
        self._closed = False
        self._freed = False
        """Somebody left since those who wait were last asked whether they can run."""
        self._worked = False
        """Something was computed or loaded since memory was last given back."""
        self._submitted = 0
        """Requests taken in that have not ended."""
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self._ready.wait()

    def submit(self, request: Request) -> None:
        """Queue a request; its updates arrive through `request.tell`.

        NotFound for an adapter that nobody knows, ContextTooLong for what can never fit, Overloaded when too many wait,
        UpstreamFailed when it is stopping.
        """
        whole = len(request.prompt) + request.max_tokens
        if whole > self._model.context:
            raise ContextTooLong(whole, self._model.context, "prompt with max_tokens")
        with self._lock:
            if self._closed:
                raise _stopping()
            if self._submitted >= self._rows + self._most_waiting:
                self.counters.gauges.rejected += 1
                raise Overloaded(
                    f"{self._submitted} requests wait or run in this engine already; nothing was computed. Try again "
                    f"in {self._patience():g} s, or start the engine with a longer queue",
                    self._patience(),
                )
            if request.adapter is not None:
                # By what its name means now: another meaning must not reach a request that waits.
                request.entry = self._model.adapters.claim(request.adapter)
            self._submitted += 1
            self._inbox.put(request)

    def call(self, work: Callable[[LocalModel], T]) -> "Future[T]":
        """Do something with the model between two steps, one such thing after each. Overloaded when too many wait."""
        if len(self._work) >= self._most_waiting:
            self.counters.gauges.rejected += 1
            raise Overloaded(
                f"{len(self._work)} pieces of work wait in this engine already; nothing was computed. Try again in "
                f"{self._patience():g} s",
                self._patience(),
            )
        task = _Task(lambda: work(self._model))
        self._post(lambda: self._work.append(task))
        return task.future

    def pulse(self) -> "Future[None]":
        """Done when the engine's thread is next between two steps: a sign that it does not hang."""
        task: _Task[None] = _Task(lambda: None)
        self._post(task.run)
        return task.future

    def beside(self, work: Callable[[LocalModel], T]) -> "Future[T]":
        """Do something that needs no forward pass while the steps go on, such as reading an adapter."""
        with self._lock:
            if self._closed:
                raise _stopping()
            return self._loads.beside(lambda: work(self._model))

    def close(self) -> None:
        """Stop after the step that is running, ending what is unfinished; waits at most ten seconds for it."""
        with self._lock:
            self._closed = True
            self._inbox.put(None)
        self._thread.join(timeout=10)
        self._loads.close()

    def _post(self, item: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                raise _stopping()
            self._inbox.put(item)

    def _wake(self) -> None:
        """An adapter has been read."""
        self._worked = True
        self._inbox.put(lambda: None)

    def _patience(self) -> float:
        """Seconds in which some of what waits will have run, judged by how long requests took so far."""
        gauges, ended = self.counters.gauges, sum(self.counters.ended.values())
        return max(1.0, round(self._submitted * gauges.busy_seconds / max(1, ended)))

    def _run(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        # PyTorch settles a thread's number when it first asks; later it would take the one that the reader has set.
        torch.get_num_threads()
        self._ready.set()
        while self._receive():
            self._admit()
            self._worked |= bool(self._work or self._running)
            if self._work:
                self._work.popleft().run()
            try:
                if self._running:
                    self._step()
            except Exception as error:
                self._fail(error)
        for request in (*self._running, *self._waiting):
            self._admission.release(request)
            self._finish(request, _stopping())
        for task in self._work:
            task.refuse(_stopping())

    def _fail(self, error: Exception) -> None:
        """End the requests of a step that failed: each must hear of it, or its client waits for ever."""
        _log.error("a forward pass failed; %d requests were ended", len(self._running), exc_info=error)
        self.counters.gauges.failed_steps += 1
        for request in list(self._running):
            self._end(request, _broken(error))

    def _receive(self) -> bool:
        """Take in what has arrived, waiting when there is nothing to compute; False when asked to stop."""
        idle = not self._running and not self._work and not (self._freed and self._waiting)
        if idle:
            self._gauge()
        while idle or not self._inbox.empty():
            try:
                item = self._inbox.get(timeout=self._until_deadline())
            except queue.Empty:
                if self._worked and not self._waiting:
                    give_back()
                    self._worked = False
                break
            idle = False
            if item is None:
                return False
            if isinstance(item, Request):
                bisect.insort(self._waiting, item, key=_turn)
            else:
                item()
        return True

    def _until_deadline(self) -> float | None:
        deadlines = [request.deadline for request in self._waiting if request.deadline is not None]
        if not deadlines:
            return _SETTLED if self._worked else None
        return min(max(0.0, min(deadlines) - time.monotonic()), _LONGEST_WAIT)

    def _admit(self) -> None:
        """Let in who can be computed now, in turn; whoever waits for an adapter or a prefix is passed by others."""
        now, self._freed = time.monotonic(), False
        self._loads.settle()
        for request in list(self._waiting):
            if ended := self._given_up(request, now):
                self._waiting.remove(request)
                self._finish(request, ended)
        for request in list(self._waiting):
            if len(self._running) >= self._rows:
                break
            try:
                verdict = self._admission.admit(request)
            except Exception as error:
                self._waiting.remove(request)
                self._finish(request, error if isinstance(error, JourneymanError) else _broken(error))
                continue
            if verdict == "full":
                break
            if verdict == "admitted":
                self._waiting.remove(request)
                self._running.append(request)
        self._gauge()

    def _given_up(self, request: Request, now: float) -> Update | JourneymanError | None:
        if request.cancelled:
            return Update("", "cancelled")
        if request.deadline is not None and now > request.deadline:
            self.counters.gauges.expired += 1
            return DeadlineExceeded(
                f"the reply was not ready by the request's deadline; {len(request.reply)} tokens were written. Allow "
                "more time, or ask for fewer tokens"
            )
        return None

    def _step(self) -> None:
        started = time.monotonic()
        for request in list(self._running):
            if ended := self._given_up(request, started):
                self._end(request, ended)
        batch = plan(self._make_room())
        if not batch.parts:
            return
        logits = self._model.forward(batch.step, batch.wanted)
        for request, length in batch.parts:
            assert request.lease is not None
            request.computed += length
            self._model.cache.publish(request.lease, request.ids, request.computed)
        self._count(batch)
        batch.score_prompts(logits)
        for request, answer in batch.pick(logits, self._model.draw):
            if isinstance(answer, Exception):
                self._end(request, answer)
                continue
            if request.max_tokens:
                self.counters.gauges.generated += 1
                if len(request.reply) == 1:
                    self.counters.time_first_token(time.monotonic() - request.arrived)
            if answer.finish_reason is not None:
                self._end(request, answer)
            elif answer.text:
                request.tell(answer)
        self.counters.gauges.busy_seconds += time.monotonic() - started

    def _make_room(self) -> list[Request]:
        """The running requests that have pages for their next token; where there are too few, the last wait again."""
        ready: list[Request] = []
        for request in list(self._running):
            while request in self._running:
                assert request.lease is not None
                if self._model.cache.grow(request.lease, len(request.ids)):
                    ready.append(request)
                    break
                last = max(self._running, key=_turn)
                self._running.remove(last)
                if last in ready:
                    ready.remove(last)
                self._admission.release(last)
                bisect.insort(self._waiting, last, key=_turn)
        return ready

    def _end(self, request: Request, answer: Update | Exception) -> None:
        self._running.remove(request)
        self._admission.release(request)
        self._freed = True
        self._finish(request, answer)

    def _finish(self, request: Request, answer: Update | Exception) -> None:
        failed = isinstance(answer, Exception)
        update = Update("", "cancelled", answer) if isinstance(answer, Exception) else answer
        prompt, cached = (len(request.prompt), request.cached) if request.choice == 0 else (0, 0)
        if not request.touched:
            prompt = cached = 0
        self.counters.serve(
            request.id, request.adapter, prompt, cached, len(request.reply),
            "failed" if failed else update.finish_reason or "cancelled",
        )  # fmt: skip
        if request.entry is not None:
            self._model.adapters.disclaim(request.entry)
        with self._lock:
            self._submitted -= 1
        request.tell(update)

    def _count(self, batch: Batch) -> None:
        gauges = self.counters.gauges
        gauges.steps += 1
        gauges.batch = len(batch.parts)
        gauges.computed_prompt += batch.prompt_tokens

    def _gauge(self) -> None:
        gauges, adapters, cache = self.counters.gauges, self._model.adapters, self._model.cache
        gauges.waiting, gauges.running = len(self._waiting), len(self._running)
        gauges.pages_used, gauges.pages = cache.used, cache.total
        gauges.adapters_registered, gauges.adapters_resident = len(adapters), adapters.resident
        gauges.adapter_loads, gauges.adapter_evictions = adapters.loads, adapters.evictions
        gauges.adapter_bytes = adapters.resident_bytes
        gauges.cached_prompt = self._admission.cached_tokens


class _Task(Generic[T]):
    """Something to do in the engine's thread, and a future of what comes of it; whoever waits may give up."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.future: Future[T] = Future()

    def run(self) -> None:
        """Do it, unless nobody waits any more."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._work())
        except Exception as error:
            self.future.set_exception(error)

    def refuse(self, error: Exception) -> None:
        """It will not be done."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


def _turn(request: Request) -> tuple[int, float]:
    return request.priority, request.arrived


def _broken(error: Exception) -> JourneymanError:
    return JourneymanError(f"the engine failed on this request ({error}); its log has more. Try again")


def _stopping() -> JourneymanError:
    return UpstreamFailed("the engine is shutting down; start it again and repeat the request", status=503)
