"""Takes one call to its upstream and the answer back, byte for byte; keeps a copy and the truth about its end."""

import asyncio
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from journeyman.engines.headers import EXCHANGE
from journeyman.errors import JourneymanError
from journeyman.gateway.asgi import Send, send_error
from journeyman.gateway.call import Call, Outcome
from journeyman.gateway.sse import UsageFilter, is_done
from journeyman.gateway.transport import Answer
from journeyman.gateway.upstreams import Upstreams, error_text
from journeyman.records import State

_NOT_RETURNED = {
    "content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive", "date", "server",
    "set-cookie", "trailer", "upgrade", "proxy-authenticate",
}  # fmt: skip


class Forward:
    """One call under way. `run` takes it to its end; `outcome` says, at any moment, how far it has come.

    `begun` is told once that an answer has begun to stream; `timeout` is the longest that a client may take nothing.
    """

    def __init__(
        self, call: Call, upstreams: Upstreams, send: Send, *, begun: Callable[[Outcome], None], timeout: float
    ) -> None:
        self.ending = False
        self._answered = False
        self._call, self._upstreams = call, upstreams
        self._send, self._begun, self._timeout = send, begun, timeout
        self._started = time.monotonic()
        self._first: float | None = None
        self._status: int | None = None
        self._streamed = False
        self._body = bytearray()

    def outcome(self, state: State, error: str | None = None) -> Outcome:
        """How far the call has come, in this state."""
        return Outcome(
            state=state,
            status=self._status,
            body=bytes(self._body),
            streamed=self._streamed,
            error=error,
            latency=time.monotonic() - self._started,
            time_to_first_token=self._first,
        )

    async def run(self, headers: dict[str, str]) -> Outcome:
        """Ask, and pass the answer on. Our own errors are answered here, as long as the client has seen nothing."""
        adapter = self._call.target.adapter is not None
        try:
            answer = await self._ask(headers, again_if_unknown=adapter)
            if answer is None:
                self._upstreams.forget(self._call.target)
                answer = await self._ask(headers)
            assert answer is not None
            return await self._end(answer)
        except JourneymanError as error:
            return await self.fail(error)
        except TimeoutError:
            return self.outcome("aborted_client", f"the client took nothing for {self._timeout:g} s")

    async def fail(self, error: JourneymanError) -> Outcome:
        """Answer with an error; an answer that has begun breaks off instead, so that it is seen not to be whole."""
        self.ending = True
        cut = self._status is not None
        if not self._answered:
            self._status = error.status
            await send_error(self._pass, error, [self._name()])
        return self.outcome("truncated_upstream" if cut else "failed", str(error))

    async def _ask(self, headers: dict[str, str], again_if_unknown: bool = False) -> Answer | None:
        """The answer, once its body is in hand or has streamed through; None when the engine lost the adapter."""
        target = self._call.target
        await self._upstreams.prepare(target)
        async with self._upstreams.ask(target, self._call.request, headers) as answer:
            if answer.status == 404 and again_if_unknown:
                return None
            self._status = answer.status
            if answer.status == 200 and "event-stream" in answer.headers.get("content-type", ""):
                await self._stream(answer)
            else:
                async for chunk in answer.chunks():
                    self._body += chunk
            return answer

    async def _stream(self, answer: Answer) -> None:
        self._streamed = True
        usage = None if self._call.request.include_usage else UsageFilter()
        await self._pass({"type": "http.response.start", "status": 200, "headers": self._returned(answer)})
        async for chunk in answer.chunks():
            if self._first is None:
                self._first = time.monotonic() - self._started
                self._begun(self.outcome("streaming"))
            self._body += chunk
            passed = usage.feed(chunk) if usage else chunk
            if passed:
                await self._pass({"type": "http.response.body", "body": passed, "more_body": True})
        if usage and usage.rest():
            await self._pass({"type": "http.response.body", "body": usage.rest(), "more_body": True})

    async def _end(self, answer: Answer) -> Outcome:
        self.ending = True
        if self._streamed:
            if not is_done(self._body):
                return self.outcome("truncated_upstream", "the upstream ended its stream without [DONE]")
            await self._pass({"type": "http.response.body", "body": b""})
            return self.outcome("complete")
        length = (b"content-length", str(len(self._body)).encode())
        start_headers = [*self._returned(answer), length]
        await self._pass({"type": "http.response.start", "status": answer.status, "headers": start_headers})
        await self._pass({"type": "http.response.body", "body": bytes(self._body)})
        if answer.status != 200:
            return self.outcome("failed", error_text(bytes(self._body)))
        return self.outcome("complete")

    def _returned(self, answer: Answer) -> list[tuple[bytes, bytes]]:
        kept = [(key.lower(), value) for key, value in answer.headers.items() if key.lower() not in _NOT_RETURNED]
        return [*((key.encode("latin-1"), value.encode("latin-1", "replace")) for key, value in kept), self._name()]

    def _name(self) -> tuple[bytes, bytes]:
        return EXCHANGE.encode(), self._call.id.encode()

    async def _pass(self, message: MutableMapping[str, Any]) -> None:
        self._answered = True
        async with asyncio.timeout(self._timeout):
            await self._send(message)
