"""Sends spans to an OTLP/HTTP endpoint, as an exporter should: compressed, and again where it may be."""

import asyncio
import gzip
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson

from journeyman.capture.imports.rows import whole
from journeyman.errors import InvalidInput, UpstreamFailed

TRIES = 5
_AGAIN = (429, 502, 503, 504)
_LONGEST_WAIT = 30.0
"""Seconds between two tries, whatever the endpoint asks for."""


class Sent(NamedTuple):
    """How many spans were sent, how many the endpoint took back as unfit, and what it said of those."""

    spans: int
    rejected: int
    message: str


def traces_url(endpoint: str) -> str:
    """Where traces go: the URL itself when it names a path, else its `/v1/traces`; InvalidInput when it is no URL."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{endpoint!r} is no http(s) URL; give an OTLP/HTTP endpoint such as http://127.0.0.1:4318")
    return endpoint if parts.path.strip("/") else endpoint.rstrip("/") + "/v1/traces"


async def send(endpoint: str, requests: Iterable[tuple[bytes, int]], headers: dict[str, str] | None = None) -> Sent:
    """Post every request; UpstreamFailed says how many spans had been taken when one could not be sent."""
    url, spans, rejected, message = traces_url(endpoint), 0, 0, ""
    fixed = {"content-type": "application/json", "content-encoding": "gzip"}
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, headers={**(headers or {}), **fixed}) as session:
        for body, number in requests:
            try:
                told = await _post(session, url, gzip.compress(body, 1))
            except UpstreamFailed as failure:
                raise UpstreamFailed(
                    f"{failure}. {spans} spans were sent before; nothing here was changed"
                ) from failure
            refused = whole(told.get("rejectedSpans")) or 0
            spans, rejected = spans + number, rejected + refused
            message = message or str(told.get("errorMessage") or "")
    return Sent(spans, rejected, message)


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> dict[str, Any]:
    problem = ""
    for attempt in range(TRIES):
        wait = min(0.2 * 4**attempt, _LONGEST_WAIT)
        try:
            async with session.post(url, data=body, allow_redirects=False) as answer:
                said = await answer.read()
                if answer.status == 200:
                    return _partial(said)
                problem = f"{url} answered {answer.status}: {said[:200].decode(errors='replace')}"
                if answer.status not in _AGAIN:
                    break
                wait = min(_seconds(answer.headers.get("retry-after"), wait), _LONGEST_WAIT)
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            problem = f"cannot reach {url} ({failure or type(failure).__name__})"
        if attempt < TRIES - 1:
            await asyncio.sleep(wait)
    raise UpstreamFailed(problem)


def _partial(said: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(said or b"{}")
    except ValueError:
        return {}
    found = told.get("partialSuccess") if isinstance(told, dict) else None
    return found if isinstance(found, dict) else {}


def _seconds(told: str | None, otherwise: float) -> float:
    return float(told) if told and told.isdigit() else otherwise
