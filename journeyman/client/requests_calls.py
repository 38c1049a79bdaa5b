"""Calls that go through requests: the hook is around an adapter's `send`, which makes one HTTP exchange."""

import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from journeyman.client import scope
from journeyman.client.calls import Call, api_of, begin
from journeyman.client.faults import quietly


def sending(original: Callable[..., Any]) -> Callable[..., Any]:
    """`HTTPAdapter.send` with capture around it."""

    @functools.wraps(original)
    def send(self: Any, request: Any, *arguments: Any, **options: Any) -> Any:
        inside = scope.capturing()
        call = _begin(inside, request) if inside is not None else None
        if call is None:
            return original(self, request, *arguments, **options)
        try:
            scope.enter(None)
            try:
                response = original(self, request, *arguments, **options)
            finally:
                scope.enter(inside)
        except BaseException as error:
            call.broke(error)
            raise
        _follow(call, response)
        return response

    return send


@quietly
def _begin(inside: scope.Scope, request: Any) -> Call | None:
    url = urlsplit(request.url)
    api = api_of(request.method, url.path)
    return begin(inside, api, url.hostname or "", request.headers, request.body) if api else None


@quietly
def _follow(call: Call, response: Any) -> None:
    """Copy what is read of the answer, by whatever method of urllib3's response it is read."""
    raw = response.raw
    content_type = response.headers.get("content-type", "")
    call.answered(response.status_code, content_type)
    call.answered_by(response.headers)
    copying = _copying(cast(Hashable, type(raw)))
    # The object changes its class rather than getting methods of its own: those would refer back to it, and a response
    # that the program drops would keep its connection until the garbage collector comes by.
    raw.__dict__["_journeyman"] = _Copied(call, response.status_code, content_type, raw.headers.get("content-encoding"))
    raw.__class__ = copying


class _Copied:
    """What is copied of one answer, and how far it is."""

    def __init__(self, call: Call, status: int, content_type: str, encoding: str | None) -> None:
        self._call, self._status, self._content_type = call, status, content_type
        self._encoding = encoding
        self.complete, self.broke = call.complete, call.broke
        self.is_reading = False

    def closed(self) -> None:
        """The answer was closed: by the program, unless urllib3 does so itself on the way to an error."""
        if not self.is_reading:
            self._call.left()

    def part(self, data: bytes, decoded: bool) -> None:
        """Bytes were read, as the upstream sent them or `decoded` by urllib3."""
        if self._encoding and not decoded:
            self._call.answered(self._status, self._content_type, self._encoding)
            self._encoding = None  # the call decodes from here on
        self._call.part(data)


@functools.cache
def _copying(kind: Any) -> type[Any]:
    """A class of urllib3 responses that copies what is read from them."""

    def reading(name: str) -> Callable[..., Any]:
        original = getattr(kind, name)

        @functools.wraps(original)
        def read(
            self: Any, amt: int | None = None, decode_content: bool | None = None, *rest: Any, **named: Any
        ) -> Any:
            copied: _Copied = self._journeyman
            copied.is_reading = True
            try:
                data = original(self, amt, decode_content, *rest, **named)
            except BaseException as error:
                copied.broke(error)
                raise
            finally:
                copied.is_reading = False
            if data:
                copied.part(data, self.decode_content if decode_content is None else decode_content)
            if self.closed or (not data and amt != 0):
                copied.complete()
            return data

        return read

    def read_chunked(self: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
        copied: _Copied = self._journeyman
        decode = named.get("decode_content", arguments[1] if len(arguments) > 1 else None)
        parts = kind.read_chunked(self, *arguments, **named)
        while True:
            copied.is_reading = True
            try:
                data = next(parts, None)
            except BaseException as error:
                copied.broke(error)
                raise
            finally:
                copied.is_reading = False
            if data is None:
                break
            copied.part(data, self.decode_content if decode is None else decode)
            yield data
        copied.complete()

    def close(self: Any) -> None:
        try:
            kind.close(self)
        finally:
            self._journeyman.closed()

    methods: dict[str, Any] = {name: reading(name) for name in ("read", "read1") if hasattr(kind, name)}
    return type(kind.__name__, (kind,), {**methods, "read_chunked": read_chunked, "close": close})
