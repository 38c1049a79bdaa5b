"""What operators and meters ask the engine: is it well, what has it served, and will it please finish."""

import asyncio
import contextlib
from dataclasses import asdict
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman.engines.local.api import metrics
from journeyman.engines.local.api.door import Door
from journeyman.engines.local.api.served import ServedModel
from journeyman.errors import InvalidInput

MOST_ENTRIES = 10_000
"""Of one answer of `/v1/served`."""


class OperationRoutes:
    """Health, counters and the way out."""

    def __init__(self, served: ServedModel, door: Door) -> None:
        self._served, self._door = served, door
        self._seen: int | None = None
        self._all_seen = asyncio.Event()

    async def until_all_seen(self, seconds: float) -> None:
        """Wait until whoever follows `/v1/served`, if anybody does, has seen the newest entry."""
        if self._seen is None or self._seen >= self._newest():
            return
        self._all_seen.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_seen.wait(), seconds)

    async def health(self, request: HTTPRequest) -> Response:
        """`GET /healthz`: how it computes, and whether it leaves. An engine that hangs does not answer."""
        if not self._door.draining:
            await asyncio.wrap_future(self._served.scheduler.pulse())
        model = self._served.model
        return JSONResponse(
            {
                "status": "draining" if self._door.draining else "ok",
                "model": self._served.name,
                "precision": "int8" if model.precision == "int8" else str(model.dtype).removeprefix("torch."),
                "kernels": model.kernels,
                "path": model.path,
                "epoch": self._served.scheduler.counters.epoch,
            }
        )

    async def metrics(self, request: HTTPRequest) -> Response:
        """`GET /metrics`, for Prometheus."""
        text = metrics.exposition(self._served.scheduler.counters)
        return Response(text, media_type=metrics.MEDIA_TYPE)

    async def counters(self, request: HTTPRequest) -> Response:
        """`GET /v1/counters`: the sums by adapter, and the engine at this moment."""
        counters = self._served.scheduler.counters
        return JSONResponse({"epoch": counters.epoch, **self._totals(), "gauges": asdict(counters.gauges)})

    async def served(self, request: HTTPRequest) -> Response:
        """`GET /v1/served?after=N&limit=M`: one entry for each ended choice, oldest first.

        With `totals=true` also the sums so far, which take long where many adapters were served.
        """
        asked = request.query_params.get("totals", "false")
        if asked not in ("true", "false"):
            raise InvalidInput(f"totals: {asked[:40]!r} is neither true nor false")
        after, limit = _number(request, "after", 0), _number(request, "limit", 1000)
        # The sums first: an entry that arrives in between is then in the list and not in them, never the reverse.
        totals = self._totals() if asked == "true" else {}
        found = self._served.scheduler.counters.served_after(after, min(limit, MOST_ENTRIES))
        self._seen = max(self._seen or 0, found["entries"][-1]["number"] if found["entries"] else after)
        if self._seen >= found["last"]:
            self._all_seen.set()
        return JSONResponse({**found, **totals})

    async def drain(self, request: HTTPRequest) -> Response:
        """`POST /drain`: take nothing new, finish what runs, then end the process. It answers at once."""
        self._door.leaving.set()
        return JSONResponse({"status": "draining", "running": self._door.under_way}, status_code=202)

    def _newest(self) -> int:
        return int(self._served.scheduler.counters.served_after(0, 0)["last"])

    def _totals(self) -> dict[str, Any]:
        totals = self._served.scheduler.counters.totals()
        adapters = {name: asdict(total) for name, total in totals.items() if name is not None}
        none = {"requests": 0, "prompt": 0, "cached": 0, "completion": 0}
        base = asdict(totals[None]) if None in totals else none
        return {"totals": {"base": base, "adapters": adapters}}


def _number(request: HTTPRequest, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    # Longer ones are no counts of ours, and int() refuses the longest of all.
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise InvalidInput(f"{name}: {given[:40]!r} is not a whole number from 0 on")
    return int(given)
