"""Calls that go through aiohttp: the hook is around `ClientSession._request`, which all its verbs share.

What arrives is copied where the connection feeds it to the response's reader, so it does not matter how the program
reads it.
"""

import asyncio
import functools
import weakref
from collections.abc import Callable
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from journeyman.client import scope
from journeyman.client.calls import Call, api_of, begin
from journeyman.client.faults import quietly


def requesting(original: Callable[..., Any]) -> Callable[..., Any]:
    """`ClientSession._request` with capture around it."""

    @functools.wraps(original)
    async def _request(self: Any, method: str, str_or_url: Any, **options: Any) -> Any:
        inside = scope.capturing()
        call = _begin(inside, self, method, str_or_url, options) if inside is not None else None
        if call is None:
            return await original(self, method, str_or_url, **options)
        try:
            scope.enter(None)
            try:
                response = await original(self, method, str_or_url, **options)
            finally:
                scope.enter(inside)
        except BaseException as error:
            _refused(call, error)
            raise
        _follow(call, response, options.get("auto_decompress"), self)
        return response

    return _request


@quietly
def _begin(inside: scope.Scope, session: Any, method: str, url: Any, options: dict[str, Any]) -> Call | None:
    if method.upper() != "POST" or not (asked := URL(url) if isinstance(url, str) else url).path:
        return None
    api = api_of("POST", asked.path)
    if api is None:
        return None
    body = options.get("data")
    if body is None and options.get("json") is not None:
        body = _serialised_once(session, options)
    host = asked.host or getattr(getattr(session, "_base_url", None), "host", None) or ""
    headers = CIMultiDict(options.get("headers") or {})
    call = begin(inside, api, host, headers, body)
    options["headers"] = headers
    return call


def _serialised_once(session: Any, options: dict[str, Any]) -> bytes:
    """The body, made as the session would make it, and handed to the session so that it need not make it again."""
    asked = options["json"]
    dumps = getattr(session, "_json_serialize_bytes", None)
    if dumps is not None:
        body: bytes = dumps(asked)
        options["data"] = aiohttp.payload.JsonBytesPayload(asked, dumps=lambda _: body)
    else:
        text = session.json_serialize(asked)
        body = text.encode()
        options["data"] = aiohttp.JsonPayload(asked, dumps=lambda _: text)
    del options["json"]
    return body


@quietly
def _refused(call: Call, error: BaseException) -> None:
    """No response was given out; with `raise_for_status` there was one."""
    if isinstance(error, aiohttp.ClientResponseError) and error.status:
        call.answered(error.status, error.headers.get("content-type", "") if error.headers else "")
        call.broke(RuntimeError(f"{error.status} {error.message}"))
    else:
        call.broke(error)


_followed: dict[int, Call] = {}
"""Calls by the id of the reader that their answers are fed to: a reader has no room for anything of ours."""


class _CopyingReader(aiohttp.StreamReader):
    """A response's reader, which also copies what it is fed."""

    __slots__ = ()

    def feed_data(self, data: bytes, *rest: Any, **named: Any) -> Any:
        if (call := _followed.get(id(self))) is not None:
            call.part(bytes(data))
        return super().feed_data(data, *rest, **named)

    def feed_eof(self) -> None:
        if (call := _followed.pop(id(self), None)) is not None:
            call.complete()
        super().feed_eof()

    def set_exception(self, exc: Any, *rest: Any, **named: Any) -> None:
        if (call := _followed.pop(id(self), None)) is not None:
            # The response sets this one itself when the program closes it.
            if type(exc) is aiohttp.ClientConnectionError or isinstance(exc, asyncio.CancelledError):
                call.left()
            else:
                call.broke(exc if isinstance(exc, BaseException) else exc())
        super().set_exception(exc, *rest, **named)


@quietly
def _follow(call: Call, response: Any, decompresses: bool | None, session: Any) -> None:
    reader, headers = response.content, response.headers
    if decompresses is None:
        decompresses = getattr(session, "auto_decompress", True)
    encoding = None if decompresses else headers.get("content-encoding")
    call.answered(response.status, headers.get("content-type", ""), encoding)
    call.answered_by(headers)
    for part in tuple(getattr(reader, "_buffer", ())):
        call.part(bytes(part))
    if reader.is_eof():
        call.complete()
    elif reader.exception() is not None:
        call.broke(reader.exception())
    else:
        _followed[id(reader)] = call
        reader.__class__ = _CopyingReader
        # One that is dropped without being read or closed.
        weakref.finalize(response, _dropped, id(reader), call).atexit = False


def _dropped(reader: int, call: Call) -> None:
    if _followed.get(reader) is call:
        del _followed[reader]
    call.left()
