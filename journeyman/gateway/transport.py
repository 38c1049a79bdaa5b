"""The one road to every upstream: send a request, read the answer's bytes as they arrive."""

import io
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from journeyman.errors import InvalidInput, UpstreamFailed

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 4.0
"""Most servers close an idle connection after 5 s; ours must not be used at that very moment."""
_LARGE = 1 << 20
Header = tuple[bytes, bytes]


class Unreached(UpstreamFailed):
    """No connection came about: nothing was sent, so nothing can have been computed."""


class Address:
    """Where the requests of one kind go: taken apart once, from a URL that the settings give."""

    __slots__ = ("host", "origin", "path", "port", "tls", "url")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise InvalidInput(f"{url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable():
            raise InvalidInput(f"{url!r} is no address of a service; write it as http://HOST:PORT/v1 or https://…")
        self.url = url
        self.tls = parts.scheme == "https"
        self.host: str = parts.hostname
        self.port: int = port or (443 if self.tls else 80)
        self.origin = parts.netloc.rpartition("@")[2].encode()
        self.path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}".replace(" ", "%20").encode()


class Answer(Protocol):
    """An answer whose status and headers have arrived; its names are lower-case."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> list[Header]:
        """As the upstream sent them."""
        ...

    async def read(self) -> bytes:
        """The bytes that came next, nothing at the end; UpstreamFailed when the upstream breaks off."""
        ...

    def close(self) -> None:
        """Nothing more is wanted: keep the connection when the answer was read to its end, else end it."""
        ...


class Transport(Protocol):
    """Sends requests to upstreams. Whoever waits sees to it that nobody waits for ever: cancel the call."""

    async def post(self, address: Address, headers: list[Header], body: bytes) -> Answer:
        """Send; the answer once its head has come. Unreached when nothing was sent, else UpstreamFailed."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...


class TlsTransport:
    """Transport over aiohttp: one pool of connections, TCP_NODELAY (aiohttp's default), for any URL."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("user-agent", "accept", "content-type", "accept-encoding"),
            auto_decompress=True,
        )

    async def post(self, address: Address, headers: list[Header], body: bytes) -> Answer:
        """Send; the answer once its head has come."""
        named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        try:
            data = body if len(body) < _LARGE else io.BytesIO(body)  # which aiohttp writes in pieces
            response = await self._session.post(address.url, data=data, headers=named, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreached(f"it cannot be reached: {error}") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamFailed(f"it broke off before it answered: {type(error).__name__}: {error}") from error
        return _TlsAnswer(response)

    async def close(self) -> None:
        """Give the connections back."""
        await self._session.close()


class _TlsAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status: int = response.status
        self.headers: list[Header] = [(name.lower(), value) for name, value in response.raw_headers]
        self._response = response

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except aiohttp.ClientError as error:
            raise UpstreamFailed(f"it broke off in the middle of an answer: {error}") from error

    def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
