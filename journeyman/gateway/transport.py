"""The one road to every upstream: send a request, read the answer's bytes as they arrive."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp

from journeyman.errors import UpstreamFailed


class Answer(Protocol):
    """An answer whose status and headers have arrived."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; UpstreamFailed when the upstream breaks off or falls silent."""
        ...


class Transport(Protocol):
    """Sends requests to upstreams."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Answer]:
        """Send, and enter with the answer; UpstreamFailed when none comes. Leaving early ends the request."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...


class HttpTransport:
    """Transport over aiohttp: one pool of connections, TCP_NODELAY (aiohttp's default), every wait bounded.

    `timeout` is the longest silence of an upstream, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._session = aiohttp.ClientSession(
            # Most servers close an idle connection after 5 s; ours must not be used at that very moment.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(10.0, timeout), sock_read=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("user-agent", "accept", "content-type"),
        )

    @asynccontextmanager
    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """Send, and enter with the answer."""
        try:
            response = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
        except TimeoutError as error:
            raise UpstreamFailed(f"no answer within {self._timeout:g} s; nothing was received", 504) from error
        except aiohttp.ClientError as error:
            raise UpstreamFailed(f"it cannot be reached: {error}") from error
        async with response:
            yield _HttpAnswer(response, self._timeout)

    async def close(self) -> None:
        """Give the connections back."""
        await self._session.close()


class _HttpAnswer:
    def __init__(self, response: aiohttp.ClientResponse, timeout: float) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._timeout = timeout

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except TimeoutError as error:
            raise UpstreamFailed(
                f"it broke off: silent for {self._timeout:g} s in the middle of an answer", 504
            ) from error
        except aiohttp.ClientError as error:
            raise UpstreamFailed(f"it broke off in the middle of an answer: {error}") from error
