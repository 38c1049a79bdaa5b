"""Takes one call to its upstream and the answer back, byte for byte; tells the spool the truth about its end."""

import asyncio
import logging
import math
import time
from typing import Any

from journeyman.capture.frames import CallEnd
from journeyman.engines.headers import EXCHANGE, SPOOL
from journeyman.errors import JourneymanError, NotFound, UpstreamFailed
from journeyman.gateway.asgi import Receive, Send, disconnected, send_error
from journeyman.gateway.begun import Begun, Services
from journeyman.gateway.booking import ENGINE
from journeyman.gateway.call import Call, Outcome
from journeyman.gateway.sse import StreamEnd
from journeyman.gateway.transport import Answer, Header
from journeyman.gateway.tries import Held, retry_after
from journeyman.gateway.upstreams import error_text
from journeyman.gateway.usage import UsageFilter, read_usage
from journeyman.records import State
from journeyman.registry.resolve import Target

MOST_HELD = 1 << 20
"""Bytes of a whole answer up to which the client sees nothing of it before all of it is there."""
_NOT_RETURNED = frozenset({
    b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date", b"server", b"set-cookie",
    b"trailer", b"upgrade", b"proxy-authenticate",
})  # fmt: skip
_DECODED = (b"gzip", b"x-gzip", b"deflate", b"identity")
_EXCHANGE, _SPOOL = EXCHANGE.encode(), SPOOL.encode()
_SILENT, _SLOW, _GONE = "silent", "slow", "the client hung up"

log = logging.getLogger(__name__)


class Forward:
    """One call under way; `run` takes it to its end, whatever that is."""

    __slots__ = (
        "_answered", "_asked_at", "_attempts", "_booked", "_call", "_cut", "_ended", "_first", "_kind", "_left",
        "_receive", "_send", "_serve", "_status", "_streamed", "_target", "_task", "_told", "_upstream_seconds",
        "_usage", "_watching", "_why", "deadline",
    )  # fmt: skip

    def __init__(self, services: Services, call: Begun, send: Send, receive: Receive) -> None:
        self.deadline = math.inf
        self._serve, self._call, self._target = services, call, call.target
        self._send, self._receive = send, receive
        self._task: asyncio.Task[Any] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._why: str | None = None
        self._answered = self._cut = self._ended = self._streamed = self._left = False
        self._status: int | None = None
        self._kind = b""
        self._first: float | None = None
        self._asked_at = call.began
        self._upstream_seconds = 0.0
        self._attempts: list[dict[str, Any]] = []
        self._usage: UsageFilter | None = None
        self._told = b""
        self._booked: Call | None = None

    async def run(self) -> None:
        """Ask, and pass the answer on. Our own errors are answered here, as long as the client has seen nothing."""
        self._task = asyncio.current_task()
        self._serve.watch.add(self)
        try:
            held = await self._find_answer()
            try:
                await (self._stream(held) if held.streamed else self._pass_whole(held))
            finally:
                held.answer.close()
        except JourneymanError as error:
            await self._fail(error)
        except asyncio.CancelledError:
            if self._why is None:
                self._end("killed", "the gateway was stopped")
                raise
            self._uncancel()
        except Exception as error:  # a fault of ours must not leave a call without an answer or a record
            log.exception("call %s failed inside the gateway", self._call.id)
            await self._fail(JourneymanError(f"the gateway failed ({type(error).__name__}); see its log"))
        finally:
            self._serve.watch.remove(self)
            if self._watching is not None:
                self._watching.cancel()

    def seen(self) -> None:
        """Begin to watch whether the client is still there."""
        if self._watching is None and not self._ended:
            self._watching = asyncio.create_task(disconnected(self._receive))
            self._watching.add_done_callback(self._gone)

    def overdue(self) -> None:
        """Whoever is waited for has taken too long."""
        self._interrupt(_SLOW if self._answered else _SILENT)

    def _gone(self, watching: asyncio.Task[None]) -> None:
        # A server also reports a disconnect when the last byte was sent; the call is then at its end, not aborted.
        if watching.cancelled() or self._ended:
            return
        self._left = True
        if self._call.caller.on_hang_up == "cancel":
            self._interrupt(_GONE)

    def _interrupt(self, why: str) -> None:
        if self._why is None and not self._ended and self._task is not None:
            self._why, self.deadline = why, math.inf
            self._task.cancel()

    def _uncancel(self) -> None:
        """The client is why the call ends here."""
        assert self._task is not None
        self._task.uncancel()
        slow = f"the client took nothing for {self._serve.timeout:g} s"
        self._end("aborted_client", slow if self._why == _SLOW else self._why)

    def _was_silent(self) -> bool:
        if self._why != _SILENT or self._task is None:
            return False
        self._why = None
        self._task.uncancel()
        return True

    def _wait_for_upstream(self, seconds: float | None = None) -> None:
        self.deadline = time.monotonic() + (seconds or self._silence)

    @property
    def _silence(self) -> float:
        rule = self._call.plan.rule
        return (rule.timeout if rule else None) or self._serve.timeout

    async def _find_answer(self) -> Held:
        """An answer to pass on; the failure of the last try when there is none."""
        plan, call = self._call.plan, self._call
        for place, name in enumerate(plan.names):
            for number in range(plan.tries):
                last = number + 1 == plan.tries and place + 1 == len(plan.names)
                wait, began = None, time.monotonic()
                try:
                    if place:
                        self._target = await self._serve.names.target(name, call.session)
                    held = await self._ask(self._target, peek=plan.rule is not None and not last)
                    if last or not plan.retries(held.answer.status):
                        return held
                    wait, error = retry_after(held.answer.headers), error_text(held.body)
                    status: int | None = held.answer.status
                    pause = plan.pause(number, wait)
                    if pause is None and place + 1 == len(plan.names):
                        return held
                    held.answer.close()
                except UpstreamFailed as failure:
                    explained = self._serve.upstreams.explained(self._target, failure)
                    if last or not plan.retries(failure):
                        raise explained from failure
                    status, error, pause = None, str(explained), plan.pause(number, failure.retry_after)
                except NotFound as failure:
                    if last or not place:
                        raise
                    status, error, pause = None, str(failure), None
                self._cut, self._status = False, None
                self._attempts.append(self._attempt(status, error, time.monotonic() - began))
                self._serve.metrics.retried(call.api)
                if pause is None or number + 1 == plan.tries:
                    break
                await asyncio.sleep(pause)
        raise UpstreamFailed("no upstream is configured for this model; name one in routes.NAME.targets", 503)

    def _attempt(self, status: int | None, error: str, seconds: float) -> dict[str, Any]:
        target = self._target
        upstream = target.provider or ENGINE
        return {"upstream": upstream, "served": target.base, "status": status, "error": error, "latency": seconds}

    async def _ask(self, target: Target, peek: bool) -> Held:
        """The answer, so far as it is held back; with `peek` a stream's first bytes are waited for, too."""
        call, serve = self._call, self._serve
        rule = call.plan.rule
        if target.provider is None:
            await serve.upstreams.prepare(target)
            self._book(target)
        self._wait_for_upstream(rule.first_byte_timeout if rule else None)
        self._asked_at = time.monotonic()
        try:
            answer = await serve.upstreams.ask(target, call.api, call.asked, call.sent, call.id)
            if answer.status == 404 and target.adapter is not None:
                answer.close()
                serve.upstreams.forget(target)
                await serve.upstreams.prepare(target)
                answer = await serve.upstreams.ask(target, call.api, call.asked, call.sent, call.id)
            self._wait_for_upstream()
            try:
                return await self._hold(answer, peek)
            except BaseException:
                answer.close()
                raise
        except asyncio.CancelledError:
            if self._was_silent():
                how = "in the middle of an answer" if self._cut else "nothing was received"
                seconds = (rule.first_byte_timeout if rule and not self._cut else None) or self._silence
                raise UpstreamFailed(f"no answer within {seconds:g} s; {how}", 504) from None
            raise
        finally:
            self.deadline = math.inf

    async def _hold(self, answer: Answer, peek: bool) -> Held:
        self._cut, self._status = True, answer.status
        self._kind = next((value for name, value in answer.headers if name == b"content-type"), b"")
        if answer.status == 200 and b"event-stream" in self._kind:
            return Held(answer, True, await answer.read() if peek else b"", whole=False)
        body = await answer.read()
        size, parts = len(body), [body]
        while parts[-1] and size <= MOST_HELD:
            self._wait_for_upstream()
            parts.append(await answer.read())
            size += len(parts[-1])
        return Held(answer, False, b"".join(parts), whole=not parts[-1])

    async def _stream(self, held: Held) -> None:
        call, serve, answer = self._call, self._serve, held.answer
        self._streamed, data, end = True, held.body, StreamEnd(call.api)
        usage = self._usage = self._usage_filter()
        await self._start(answer)
        while data or (data := await self._next(answer)):
            if self._first is None:
                self._first = time.monotonic() - call.began
            serve.spool.chunk(call.number, data)
            end.feed(data)
            if usage is not None:
                data = usage.feed(data)
            if data:
                self.deadline = time.monotonic() + serve.timeout
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
            data = b""
        self._upstream_seconds = time.monotonic() - self._asked_at
        if usage is not None and usage.rest():
            await self._send({"type": "http.response.body", "body": usage.rest(), "more_body": True})
        if not end.well:
            self._end("truncated_upstream", "the upstream ended its stream without the mark of its end")
            return
        await self._end_well()
        await self._send({"type": "http.response.body", "body": b""})

    async def _next(self, answer: Answer) -> bytes:
        """The stream's next bytes."""
        self._answered = False  # it is the upstream that is waited for
        self._wait_for_upstream()
        try:
            return await answer.read()
        except UpstreamFailed as error:
            raise self._serve.upstreams.explained(self._target, error) from error
        except asyncio.CancelledError:
            if self._was_silent():
                broke = UpstreamFailed(f"it broke off: silent for {self._silence:g} s in the middle of an answer", 504)
                raise self._serve.upstreams.explained(self._target, broke) from None
            raise
        finally:
            self._answered = True

    async def _pass_whole(self, held: Held) -> None:
        call, serve, answer = self._call, self._serve, held.answer
        serve.spool.chunk(call.number, held.body)
        if not held.whole:
            await self._pass_large(held)
            return
        self._upstream_seconds = time.monotonic() - self._asked_at
        if answer.status == 200:
            self._told = held.body
            await self._end_well()
        else:
            await self._end_well("failed", error_text(held.body))
        await self._start(answer, len(held.body))
        await self._send({"type": "http.response.body", "body": held.body})

    async def _pass_large(self, held: Held) -> None:
        """An answer too large to be held passes as it comes; one that breaks off breaks for the client, too."""
        call, serve, answer, data = self._call, self._serve, held.answer, held.body
        length = next((value for name, value in answer.headers if name == b"content-length"), None)
        coded = any(name == b"content-encoding" for name, _ in answer.headers)
        await self._start(answer, int(length) if length and not coded else None)
        while data:
            self.deadline = time.monotonic() + serve.timeout
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
            data = await self._next(answer)
            serve.spool.chunk(call.number, data)
        self._upstream_seconds = time.monotonic() - self._asked_at
        await self._end_well("complete" if answer.status == 200 else "failed")
        await self._send({"type": "http.response.body", "body": b""})

    async def _start(self, answer: Answer, length: int | None = None) -> None:
        self._answered = True
        self.deadline = time.monotonic() + self._serve.timeout
        headers: list[Header] = [
            header
            for header in answer.headers
            if header[0] not in _NOT_RETURNED and not (header[0] == b"content-encoding" and header[1] in _DECODED)
        ]
        headers += self._own_headers()
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _end_well(self, state: State = "complete", error: str | None = None) -> None:
        if self._left and state == "complete":
            self._end("aborted_client", f"{_GONE}; the answer was read to its end")
        else:
            self._end(state, error)
        if self._call.caller.durable:
            await self._serve.spool.synced()

    async def _fail(self, error: JourneymanError) -> None:
        """Answer with an error; an answer that has begun breaks off instead, so that it is seen not to be whole."""
        if self._ended:
            return
        if not self._answered:
            self._status = error.status
        await self._end_well("truncated_upstream" if self._cut else "failed", str(error))
        if not self._answered:
            self._answered = True
            await send_error(self._send, error, self._own_headers(), self._call.api)

    def _own_headers(self) -> list[Header]:
        """The call's id, and where it is written: not told of a call that the spool had to drop."""
        id, place = (_EXCHANGE, self._call.id.encode()), self._serve.captured_in
        return [id, (_SPOOL, place)] if self._call.number and place else [id]

    def _end(self, state: State, error: str | None = None) -> None:
        """Tell everybody who must know that the call has come to its end; nothing after the first time."""
        if self._ended:
            return
        self._ended, call, serve, target = True, self._call, self._serve, self._target
        seconds = time.monotonic() - call.began
        end: CallEnd = {"state": state, "status": self._status, "streamed": self._streamed, "latency": seconds}
        if error is not None:
            end["error"] = error
        if self._first is not None:
            end["time_to_first_token"] = self._first
        if self._kind:
            end["content_type"] = self._kind.decode("latin-1")
        if self._attempts:
            end["attempts"] = self._attempts
            end["upstream"], end["served"] = target.provider or ENGINE, target.base
            end["adapter"] = target.adapter.id if target.adapter else None
        serve.spool.end(call.number, end)
        if self._usage is not None:
            self._told = b"".join(self._usage.told)
        serve.metrics.ended(call.api, state, seconds, self._upstream_seconds)
        if self._booked is not None:
            mine = target.provider is None
            outcome = Outcome(state, self._status, self._told, self._streamed) if mine else Outcome("failed")
            serve.ledger.end(self._booked, outcome)
        if call.caller.metered and self._told:
            self._meter(target)

    def _meter(self, target: Target) -> None:
        usage = read_usage(self._told, self._streamed)
        if usage is not None:
            price = self._serve.ledger.price_of(target)
            self._serve.limiter.used(self._call.caller, usage.total_tokens, price.usd(usage) if price else 0.0)

    def _book(self, target: Target) -> None:
        """What an engine is about to serve is booked as it counts it."""
        if self._booked is None:
            call, ledger = self._call, self._serve.ledger
            price, key = ledger.price_of(target), call.caller.fingerprint
            self._booked = Call(call.asked.model, target, key, price, call.asked.choices, call.id)
            ledger.begin(self._booked)

    def _usage_filter(self) -> UsageFilter | None:
        if self._serve.upstreams.asks_for_usage(self._target, self._call.api, self._call.asked):
            return UsageFilter()
        if self._target.provider is None or self._call.caller.metered:
            return UsageFilter(hold=False)
        return None
