"""How every route here reads its body and answers: JSON, events of a stream, and errors in OpenAI's shape."""

import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from journeyman.errors import InvalidInput, JourneymanError, NotFound, Overloaded, UpstreamFailed

DONE = b"data: [DONE]\n\n"
MOST_BYTES = 16 << 20
"""Of a request's body: far more than any context holds."""
MOST_ID = 128
"""Characters of a call's id."""
RETRY_SECONDS = 5
"""After which to try again an engine that is shutting down: its successor needs about that long to start."""
_ARGUMENT = re.compile(r"([a-z]\w*)[.\w]*: ")
GONE = 499
"""What logs call an answer that nobody waited for."""

Handle = Callable[[Request], Awaitable[Response]]


class BodyTooLarge(InvalidInput):
    """A request's body is larger than anything the model could read."""

    code = "body_too_large"
    status = 413


class NoSuchRoute(JourneymanError):
    """The path does not exist (404), or does not take this method (405)."""

    code = "unknown_url"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def caller_id(request: Request) -> str | None:
    """By which the caller knows the call (`x-request-id`), if it says so; it is kept as long as the call's count."""
    given = request.headers.get("x-request-id")
    if given is not None and len(given) > MOST_ID:
        raise InvalidInput(f"the header x-request-id is {len(given)} characters long; at most {MOST_ID} are taken")
    return given


async def read_json(request: Request) -> Any:
    """The parsed body; InvalidInput when it is no JSON, BodyTooLarge above 16 MiB."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise BodyTooLarge(f"the body is larger than {MOST_BYTES >> 20} MiB; send fewer or shorter texts")
        parts.append(part)
    try:
        return json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from error


def event(content: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event; the Responses API gives each a name, the older APIs do not."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class EventStream(StreamingResponse):
    """Server-sent events; `release` is called when the last was sent or the client has gone, however early."""

    def __init__(self, events: AsyncIterator[bytes], release: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # A stream that never began would not run its own clean-up.
            self._release()


def error_body(error: JourneymanError) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`, as OpenAI's clients read it."""
    no_model = isinstance(error, NotFound) and error.kind == "model"
    if error.status == 429:
        kind = "rate_limit_error"
    else:
        kind = "invalid_request_error" if error.status < 500 else "server_error"
    code = "model_not_found" if no_model else error.code
    # What is wrong with an argument is told behind its name.
    named = _ARGUMENT.match(str(error)) if isinstance(error, InvalidInput) else None
    param = "model" if no_model else named[1] if named else None
    return {"error": {"message": str(error), "type": kind, "param": param, "code": code}}


def error_answer(error: JourneymanError) -> JSONResponse:
    """The answer to a request that failed, with the time to try again where that helps."""
    headers = {}
    wait = error.retry_after if isinstance(error, Overloaded | UpstreamFailed) else None
    if wait is not None or error.status == 503:
        headers["Retry-After"] = str(max(1, math.ceil(RETRY_SECONDS if wait is None else wait)))
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)


def guarded(handle: Handle) -> Handle:
    """The route with our errors answered; what is no error of ours goes on to the server's log."""

    async def guarded_handle(request: Request) -> Response:
        try:
            return await handle(request)
        except JourneymanError as error:
            return error_answer(error)
        except ClientDisconnect:
            return Response(status_code=GONE)

    return guarded_handle


async def no_such_route(request: Request, error: Exception) -> Response:
    """A path or method that we do not serve."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.url.path} does not take {request.method}; it takes: {allowed}"
    else:
        message = f"there is no {request.url.path} here; GET /openapi.json lists the routes"
    answer = error_answer(NoSuchRoute(message, error.status_code))
    answer.headers.update(error.headers or {})
    return answer


async def failed(request: Request, error: Exception) -> Response:
    """A fault of ours; its traceback goes to the server's log."""
    return error_answer(JourneymanError(f"the engine failed on this request ({error}); its log has more. Try again"))
