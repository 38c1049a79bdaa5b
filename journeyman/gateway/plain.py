"""A lean HTTP/1.1 client for upstreams without TLS: an engine on this host, or a service in the same network.

A third of aiohttp's cost for a call, for it does a third of the work: no redirects, cookies, proxies or sessions.
"""

import asyncio
import socket
import time
import zlib
from typing import Any, cast

import httptools

from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.gateway.transport import CONNECT_SECONDS, IDLE_SECONDS, Address, Answer, Header, Unreached

MOST_WAITING = 256 << 10
"""Bytes of an answer that wait for a slow client before the upstream is no longer read."""
_MOST_IDLE = 512
_RACE_SECONDS = 1.0
"""A connection that was idle and closes so soon after it was used again was being closed already."""


class PlainTransport:
    """Transport over sockets and llhttp's parser: connections are kept and used again, the last one first."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[_Connection]] = {}
        self._open: set[_Connection] = set()

    async def post(self, address: Address, headers: list[Header], body: bytes) -> Answer:
        """Send; the answer once its head has come. A connection that closes at that moment is replaced by a new one."""
        head = _head(address, headers, len(body))
        connection = self._kept(address)
        if connection is not None:
            try:
                return await connection.ask(head, body)
            except _ClosedWhileIdle:
                connection.close()
        connection = await self._connect(address)
        return await connection.ask(head, body)

    async def close(self) -> None:
        """End every connection."""
        for connection in list(self._open):
            connection.end()

    def _kept(self, address: Address) -> "_Connection | None":
        idle = self._idle.get((address.host, address.port))
        while idle:
            connection = idle.pop()
            if connection.usable and time.monotonic() - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.end()
        return None

    async def _connect(self, address: Address) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, (address.host, address.port)), address.host, address.port
                )
        except TimeoutError as error:
            raise Unreached(f"it cannot be reached: no connection within {CONNECT_SECONDS:g} s") from error
        except OSError as error:
            raise Unreached(f"it cannot be reached: {error}") from error
        self._open.add(connection)
        return connection

    def keep(self, connection: "_Connection") -> None:
        """Take a connection back whose answer was read to its end; those that were idle for long end."""
        idle = self._idle.setdefault(connection.where, [])
        while idle and (len(idle) >= _MOST_IDLE or connection.idle_since - idle[0].idle_since > IDLE_SECONDS):
            idle.pop(0).end()
        idle.append(connection)

    def lost(self, connection: "_Connection") -> None:
        """A connection has ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.where)
        if idle and connection in idle:
            idle.remove(connection)


class _ClosedWhileIdle(Exception):
    """The upstream had closed a kept connection when it was used again; it has read nothing of the request."""


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is under way on it."""

    def __init__(self, transport: PlainTransport, where: tuple[str, int]) -> None:
        self.where = where
        self.idle_since = 0.0
        self.status = 0
        self.headers: list[Header] = []
        self._owner = transport
        self._socket: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._unread: Any = None
        self._used = self._busy = self._headed = self._whole = self._paused = False
        self._unframed = self._last = False
        self._asked_at = 0.0
        self._error: Exception | None = None

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._socket is not None and not self._socket.is_closing() and self._error is None

    async def ask(self, head: bytes, body: bytes) -> "Answer":
        """Send a request, and wait for the answer's head."""
        assert self._socket is not None
        self.status, self.headers, self._unread = 0, [], None
        self._headed = self._whole = self._unframed = self._last = False
        self._busy, self._asked_at = True, time.monotonic()
        self._socket.write(head + body if len(body) < 65536 else head)
        if len(body) >= 65536:
            self._socket.write(body)
        try:
            while not self._headed:
                if self._error is not None:
                    raise self._error
                await self._wait()
        except BaseException:
            self.end()
            raise
        return self

    async def read(self) -> bytes:
        """The bytes that came next, nothing at the end; UpstreamFailed when the upstream breaks off."""
        while not self._parts:
            if self._whole:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused and self._socket is not None:
            self._paused = False
            self._socket.resume_reading()
        return data

    def close(self) -> None:
        """Keep the connection when its answer was read to its end, else end it."""
        if self._whole and not self._parts and self.usable and not self._last:
            self._used, self._busy, self.idle_since = True, False, time.monotonic()
            self._owner.keep(self)
        else:
            self.end()

    def end(self) -> None:
        """End the connection now."""
        if self._socket is not None:
            self._socket.abort()
        self._owner.lost(self)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if not self._busy or self._whole:
            self._fail(UpstreamFailed("it sent more than the answer"))
            self.end()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamFailed(f"it sent what is no HTTP answer: {error}"))
            self.end()
        except (httptools.HttpParserUpgrade, zlib.error) as error:
            self._fail(UpstreamFailed(f"it sent what cannot be read: {error}"))
            self.end()
        if self._size > MOST_WAITING and not self._paused and self._socket is not None and not self._whole:
            self._paused = True
            self._socket.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if self._unframed and self._headed and error is None:
            self._whole = True
        elif self._busy and not self._whole:
            self._fail(self._broken(error))
        self._socket = None
        self._owner.lost(self)
        self._wake()

    def _broken(self, error: Exception | None) -> Exception:
        how = f": {error}" if error else " (the connection was closed)"
        if self._headed:
            return UpstreamFailed(f"it broke off in the middle of an answer{how}")
        if self._used and not self.status and time.monotonic() - self._asked_at < _RACE_SECONDS:
            return _ClosedWhileIdle()
        return UpstreamFailed(f"it broke off before it answered{how}")

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = []  # an announcement such as 103: the answer is still to come
            return
        self.status = status
        names = dict(self.headers)
        encoding = names.get(b"content-encoding", b"").lower()
        if encoding in (b"gzip", b"x-gzip", b"deflate"):
            self._unread = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding != b"deflate" else 0))
        framed = b"content-length" in names or b"chunked" in names.get(b"transfer-encoding", b"").lower()
        self._unframed = not framed  # then its end is the connection's
        self._last = not framed or not self._parser.should_keep_alive()
        self._headed = True

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self._unread is not None:
            data = self._unread.decompress(data)
        if data:
            self._parts.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._headed:
            self._whole = True


def _head(address: Address, headers: list[Header], length: int) -> bytes:
    lines = [b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-length: %d" % (address.path, address.origin, length)]
    lines += [b"%b: %b" % header for header in headers]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(headers) + 2 or head.count(b"\r") != len(headers) + 2:
        raise InvalidInput("a header of the request holds a line break; nothing was sent. Leave it out")
    return head + b"\r\n\r\n"
