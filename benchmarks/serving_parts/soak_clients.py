"""The clients of a soak over HTTP: what each of them saw of its request."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from serving_parts.soak_requests import Drawn

_PATIENCE = 600


@dataclass
class Seen:
    """How a request ended for its client: `whole` with its usage, `cut`, `late`, `refused`, or `broken`."""

    id: str
    model: str
    how: str
    usage: dict[str, Any] | None = None
    told: str = ""


async def ask(session: aiohttp.ClientSession, url: str, id: str, drawn: Drawn) -> Seen:
    """Send one request and read its answer, or hang up on it."""
    model = drawn.body["model"]
    try:
        async with asyncio.timeout(drawn.cut_after or _PATIENCE):
            headers = {"X-Request-Id": id}
            async with session.post(f"{url}{drawn.path}", json=drawn.body, headers=headers) as answer:
                text = await answer.text()
    except TimeoutError:
        how = "cut" if drawn.cut_after is not None else "broken"
        return Seen(id, model, how, told=f"no end within {_PATIENCE} s")
    except aiohttp.ClientError as error:
        return Seen(id, model, "broken", told=f"{type(error).__name__}: {error}")
    if answer.status != 200:
        how = {404: "refused", 429: "refused", 504: "late"}.get(answer.status, "broken")
        return Seen(id, model, how, told=f"{answer.status} {text[:300]}")
    return _read(id, model, _events(text) if drawn.body["stream"] else [json.loads(text)])


def _read(id: str, model: str, parts: list[dict[str, Any]]) -> Seen:
    last = parts[-1] if parts else {}
    if "error" in last:
        how = "late" if last["error"]["code"] == "deadline_exceeded" else "broken"
        return Seen(id, model, how, told=str(last["error"]))
    if last.get("usage") is None:
        return Seen(id, model, "broken", told="the answer ended without its usage")
    return Seen(id, model, "whole", last["usage"])


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
