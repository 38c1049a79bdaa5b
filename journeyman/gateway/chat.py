"""`POST /v1/chat/completions`: check, resolve, forward, capture, meter."""

import asyncio
import logging

from journeyman.engines.headers import REQUEST, SESSION, TAGS, read_tags
from journeyman.errors import JourneymanError
from journeyman.gateway.asgi import ClientGone, Receive, Scope, Send, disconnected, read_body, send_error
from journeyman.gateway.call import Call, Outcome, fingerprint
from journeyman.gateway.capture import Capture
from journeyman.gateway.forward import Forward
from journeyman.gateway.ledger import Ledger
from journeyman.gateway.names import Names
from journeyman.gateway.upstreams import Upstreams
from journeyman.gateway.validate import read_request

log = logging.getLogger(__name__)


class ChatCompletions:
    """The hot path. A request that is refused here never was a call, and is not captured."""

    def __init__(self, names: Names, upstreams: Upstreams, capture: Capture, ledger: Ledger, timeout: float) -> None:
        self._names = names
        self._upstreams = upstreams
        self._capture = capture
        self._ledger = ledger
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        try:
            call = await self._read(headers, receive)
        except ClientGone:
            return
        except JourneymanError as error:
            await send_error(send, error)
            return
        if call.target.provider is None:
            headers[REQUEST] = call.id  # the engine counts what it serves under this name
        capture = self._capture
        capture.record(call, Outcome("started"))
        self._ledger.begin(call)
        forward = Forward(
            call, self._upstreams, send, begun=lambda outcome: capture.record(call, outcome), timeout=self._timeout
        )
        try:
            outcome = await _watched(forward, headers, receive)
        except asyncio.CancelledError:
            self._keep(call, forward.outcome("killed", "the gateway was stopped"))
            raise
        except Exception as error:  # a fault of ours must not leave a call without an answer or a record
            log.exception("call %s failed inside the gateway", call.id)
            outcome = await forward.fail(JourneymanError(f"the gateway failed ({type(error).__name__}); see its log"))
        self._keep(call, outcome)

    def _keep(self, call: Call, outcome: Outcome) -> None:
        self._capture.record(call, outcome)
        self._ledger.end(call, outcome)

    async def _read(self, headers: dict[str, str], receive: Receive) -> Call:
        request = read_request(await read_body(receive))
        tags = request.metadata | read_tags(headers.get(TAGS, ""))
        target = await self._names.target(request.model)
        return Call(
            request=request,
            target=target,
            key=fingerprint(headers.get("authorization", "")),
            price=self._ledger.price_of(target),
            session=headers.get(SESSION) or None,
            tags=tags,
        )


async def _watched(forward: Forward, headers: dict[str, str], receive: Receive) -> Outcome:
    """Run the call, and stop asking the upstream as soon as the client hangs up."""
    run = asyncio.create_task(forward.run(headers))
    gone = asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait({run, gone}, return_when=asyncio.FIRST_COMPLETED)
        # A server also reports a disconnect when the last byte was sent; the call is then at its end, not aborted.
        if run.done() or forward.ending:
            return await run
        return forward.outcome("aborted_client", "the client hung up")
    finally:
        run.cancel()
        gone.cancel()
        await asyncio.gather(run, gone, return_exceptions=True)
