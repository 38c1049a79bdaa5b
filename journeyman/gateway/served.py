"""Reads from a running engine what it has served, by its own count."""

import json

import aiohttp
from pydantic import BaseModel

from journeyman.errors import UpstreamFailed

PAGE = 1000
_SECONDS = 10.0


class ServedEntry(BaseModel):
    """One ended choice; `prompt` counts for the first choice of a call only, and `cached` is a part of it."""

    number: int
    request: str
    adapter: str | None
    prompt: int
    cached: int
    completion: int
    ended: str


class Sums(BaseModel):
    """Choices that ended, and their tokens."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0


class Totals(BaseModel):
    """Everything that the engine has served since it started, under its base model and under each adapter."""

    base: Sums = Sums()
    adapters: dict[str, Sums] = {}


class Served(BaseModel):
    """What came after a number: entries, oldest first, and `missed`, how many were dropped before we asked.

    `epoch` is another one after each start of the engine, which counts from 1 again; `last` is the newest number.
    """

    epoch: str
    last: int
    missed: int
    entries: tuple[ServedEntry, ...]
    totals: Totals | None = None
    """Only when asked for: they grow with every adapter that was ever served."""


class ServedReader:
    """Asks engines over one connection."""

    def __init__(self) -> None:
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_SECONDS), connector=aiohttp.TCPConnector(keepalive_timeout=4)
        )

    async def after(self, url: str, number: int, limit: int = PAGE, *, totals: bool = False) -> Served | None:
        """Up to `limit` entries above `number`, and the sums of all; None from an engine that has no such list.

        UpstreamFailed when the engine does not answer, or not as agreed.
        """
        asked = {"after": number, "limit": limit} | ({"totals": "true"} if totals else {})
        try:
            async with self._client.get(f"{url}/v1/served", params=asked) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamFailed(f"the engine's counters cannot be read ({type(error).__name__}: {error})") from error
        if 400 <= status < 500 and status != 429:
            return None
        if status != 200:
            raise UpstreamFailed(f"the engine answered {status} when asked for its counters")
        try:
            return Served.model_validate(json.loads(body))
        except ValueError as error:
            raise UpstreamFailed(f"the engine's counters cannot be understood: {error}") from error

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.close()
