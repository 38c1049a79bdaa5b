"""Calls that go through httpx, or httpx2, which openai 3.x is built on: the same API under two names.

The hook is around `Client.send`: behind it are retries of a connection, redirects and authentication, before it the
retries of whoever calls, so each of their attempts is a call of its own. It asks the library not to read the answer,
and reads it in the library's own way where the caller wanted that; so a failure before the head of the answer and one
in its middle are told apart. Whole answers are kept as the library decoded them; of streams, the bytes are copied as
they pass.
"""

import functools
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from typing import Any, cast

from journeyman.client import scope
from journeyman.client.calls import Call, api_of, begin
from journeyman.client.faults import quietly


def sending(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Client.send` with capture around it."""

    @functools.wraps(original)
    def send(self: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        inside = scope.capturing()
        call = _begin(inside, request) if inside is not None else None
        if call is None:
            return original(self, request, stream=stream, **options)
        try:
            scope.enter(None)  # what is beneath, such as another HTTP library, is the same call
            try:
                response = original(self, request, stream=True, **options)
            finally:
                scope.enter(inside)
            _answered(call, response, stream)
            if not stream:
                try:
                    response.read()
                except BaseException:
                    response.close()
                    raise
        except BaseException as error:
            call.broke(error)
            raise
        _follow(call, response, stream)
        return response

    return send


def async_sending(original: Callable[..., Any]) -> Callable[..., Any]:
    """`AsyncClient.send` with capture around it."""

    @functools.wraps(original)
    async def send(self: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        inside = scope.capturing()
        call = _begin(inside, request) if inside is not None else None
        if call is None:
            return await original(self, request, stream=stream, **options)
        try:
            scope.enter(None)
            try:
                response = await original(self, request, stream=True, **options)
            finally:
                scope.enter(inside)
            _answered(call, response, stream)
            if not stream:
                try:
                    await response.aread()
                except BaseException:
                    await response.aclose()
                    raise
        except BaseException as error:
            call.broke(error)
            raise
        _follow(call, response, stream)
        return response

    return send


@quietly
def _begin(inside: scope.Scope, request: Any) -> Call | None:
    url = request.url
    api = api_of(request.method, url.path)
    # A body that is streamed out is not in memory, and reading it would take it from the library.
    return begin(inside, api, url.host, request.headers, request.content) if api and _has_content(request) else None


def _has_content(request: Any) -> bool:
    return hasattr(request, "_content")


@quietly
def _answered(call: Call, response: Any, stream: bool) -> None:
    headers = response.headers
    raw = stream and not response.is_stream_consumed
    call.answered(
        response.status_code, headers.get("content-type", ""), headers.get("content-encoding") if raw else None
    )
    call.answered_by(headers)


@quietly
def _follow(call: Call, response: Any, stream: bool) -> None:
    """Keep a whole answer; of a stream, copy what passes."""
    if not stream or response.is_stream_consumed:  # an event hook may have read a stream
        call.part(response.content)
        call.complete()
        return
    response.stream = _copying(cast(Hashable, _base(response.stream)))(response.stream, call)


def _base(stream: Any) -> type[Any]:
    """The library's class of streams that this one is of: what the library asks of a response's stream."""
    return next(each for each in type(stream).__mro__ if each.__name__ in ("SyncByteStream", "AsyncByteStream"))


class _Copying:
    """A response's stream, whose parts also go to a call. Everything else (`elapsed`) is the stream's own."""

    _stream: Any = None
    _call: Any = None

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream, self._call = stream, call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __del__(self) -> None:
        # A response that was dropped without being read or closed.
        if self._call is not None:
            self._call.left()


class _Sync(_Copying):
    def __iter__(self) -> Iterator[bytes]:
        call = self._call
        try:
            for part in self._stream:
                call.part(part)
                yield part
        except GeneratorExit:
            raise  # the reader stopped; `close` will tell whether it came back
        except BaseException as error:
            call.broke(error)
            raise
        call.complete()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.left()


class _Async(_Copying):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        call = self._call
        parts = self._stream.__aiter__()
        try:
            async for part in parts:
                call.part(part)
                yield part
        except GeneratorExit:
            raise
        except BaseException as error:
            call.broke(error)
            raise
        else:
            call.complete()
        finally:
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._call.left()


@functools.cache
def _copying(base: Any) -> type[Any]:
    """The copying stream that is also one of the library's own."""
    return type("CopyingStream", (_Sync if base.__name__ == "SyncByteStream" else _Async, base), {})
