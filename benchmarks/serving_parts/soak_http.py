"""The long soak: one engine over HTTP, its adapters coming and going, until every request has ended."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]

from serving_parts.http_engine import NAME, HTTPEngine
from serving_parts.plan import SEED, Plan
from serving_parts.rows import ServingRow, figure
from serving_parts.soak_clients import Seen, ask
from serving_parts.soak_requests import draw_request

MEGABYTES = 20
_CLIENTS = 48
"""More than the engine computes at once, so that some wait."""
_CACHE_TOKENS = 16_384
"""Small, so that the first thousand requests touch all of it: what grows later grows for ever."""
_FIXED = ("a0", "a1", "a2", "a3")


@dataclass
class _Soak:
    """What the clients of one engine share."""

    engine: HTTPEngine
    folders: list[str]
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))
    seen: list[Seen] = field(default_factory=list)
    passing: list[str] = field(default_factory=list)
    """Adapters that are there for now."""
    changes: Counter[str] = field(default_factory=Counter)


def measure(plan: Plan) -> list[ServingRow]:
    """Rows: does every request end, does the process grow, and do its counters agree with what clients saw."""
    count, early = plan.count(10_000, 120), plan.count(1000, 60)
    folders = plan.adapters(plan.count(12, 6))
    with HTTPEngine(plan, "--cache-tokens", str(_CACHE_TOKENS), "--rows", "32") as engine:
        soak = _Soak(engine, folders)
        sizes = asyncio.run(_run(soak, early, count))
        entries = list(_entries(engine))
        counters = engine.get("/v1/counters")
    hows = Counter(each.how for each in soak.seen)
    ended = sum(hows.values()) - hows["broken"]
    note = "; ".join([*(f"{number:,} {how}" for how, number in sorted(hows.items())),
                      *(f"{number} adapters {what}" for what, number in sorted(soak.changes.items())),
                      *(each.told for each in soak.seen if each.how == "broken")][:20])  # fmt: skip
    first, last = sizes[0], sizes[-1]
    grown = (last - first) / 1e6
    # A first look is over before the cache is full.
    bar = None if plan.quick else MEGABYTES
    memory = (
        f"{first / 1e6:.0f} MB after {early:,} requests, {last / 1e6:.0f} MB after {count:,}; idle both times, the "
    )
    memory += f"same adapters loaded; growth from each {early:,} to the next, in MB: "
    memory += ", ".join(f"{(then - before) / 1e6:.1f}" for before, then in pairwise(sizes))
    return [
        figure(f"soak over HTTP: requests of {count:,} that ended as they should", ended, at_least=count, note=note),
        figure(f"soak: growth of the process from request {early:,} to the end", grown, "MB", at_most=bar,
               note=memory),
        *reconcile(soak.seen, entries, counters),
    ]  # fmt: skip


async def _run(soak: _Soak, early: int, count: int) -> list[int]:
    """Resident bytes of the idle engine after every `early` requests of so many."""
    limit = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=limit) as session:
        for name, folder in zip((*_FIXED, "hot"), soak.folders, strict=False):
            await _change(soak, session, "load", lora_name=name, lora_path=folder)
        sizes = []
        for start in range(0, count, early):
            await _ask_all(soak, session, range(start, start + early))
            sizes.append(await _settled(soak, session))
        return sizes


async def _ask_all(soak: _Soak, session: aiohttp.ClientSession, numbers: range) -> None:
    left = iter(numbers)
    changing = asyncio.create_task(_change_adapters(soak, session))

    async def client() -> None:
        for number in left:
            models = [NAME, NAME, NAME, *_FIXED, "hot", *soak.passing]
            drawn = draw_request(soak.draw, models)
            soak.seen.append(await ask(session, soak.engine.url, f"soak-{number}", drawn))

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    changing.cancel()
    await asyncio.gather(changing, return_exceptions=True)


async def _change_adapters(soak: _Soak, session: aiohttp.ClientSession) -> None:
    """Load, unload and replace adapters while requests run under them."""
    number = 0
    while True:
        await asyncio.sleep(0.25)
        number += 1
        folder = soak.draw.choice(soak.folders)
        if number % 3 == 0:
            await _change(soak, session, "load", lora_name="hot", lora_path=folder, load_inplace=True)
        elif len(soak.passing) < 4:
            name = f"passing@{len(soak.seen)}"
            await _change(soak, session, "load", lora_name=name, lora_path=folder)
            soak.passing.append(name)
        else:
            await _change(soak, session, "unload", lora_name=soak.passing.pop(0))


async def _change(soak: _Soak, session: aiohttp.ClientSession, what: str, **body: Any) -> None:
    async with session.post(f"{soak.engine.url}/v1/{what}_lora_adapter", json=body) as answer:
        if answer.status != 200:
            raise RuntimeError(f"the engine refused to {what} an adapter: {await answer.text()}")
    soak.changes["replaced" if body.get("load_inplace") else f"{what}ed"] += 1


async def _settled(soak: _Soak, session: aiohttp.ClientSession) -> int:
    """Resident bytes once nothing runs and only the adapters that stay are loaded."""
    names = {each["id"] for each in (await _get(soak, session, "/v1/models"))["data"]}
    for name in names - {NAME, "hot", *_FIXED}:
        await _change(soak, session, "unload", lora_name=name)
    soak.passing.clear()
    await _change(soak, session, "load", lora_name="hot", lora_path=soak.folders[len(_FIXED)], load_inplace=True)
    while True:
        gauges = (await _get(soak, session, "/v1/counters"))["gauges"]
        if not gauges["running"] and not gauges["waiting"]:
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(2)
    return int(psutil.Process(soak.engine.pid).memory_info().rss)


async def _get(soak: _Soak, session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(f"{soak.engine.url}{path}") as answer:
        return await answer.json()


def _entries(engine: HTTPEngine) -> Iterator[dict[str, Any]]:
    after = 0
    while page := engine.get(f"/v1/served?after={after}&limit=5000")["entries"]:
        yield from page
        after = page[-1]["number"]


def reconcile(seen: list[Seen], entries: list[dict[str, Any]], counters: dict[str, Any]) -> list[ServingRow]:
    """Rows: entries against what clients saw, request by request, and against the engine's sums, adapter by adapter."""
    by_request: dict[str, Counter[str]] = {}
    for entry in entries:
        counted = by_request.setdefault(entry["request"], Counter())
        counted.update({name: entry[name] for name in ("prompt", "cached", "completion")})
    whole = [each for each in seen if each.how == "whole"]
    wrong = [each.id for each in whole if by_request.get(each.id) != _usage(each)]
    strangers = len(by_request.keys() - {each.id for each in seen})
    refused = [each.id for each in seen if each.how == "refused" and each.id in by_request]
    cut = sum((by_request.get(each.id, Counter()) for each in seen if each.how != "whole"), Counter[str]())
    sums = {"base": Counter[str](), **{name: Counter[str]() for name in counters["totals"]["adapters"]}}
    for entry in entries:
        name = "base" if entry["adapter"] is None else entry["adapter"]
        sums[name].update({field: entry[field] for field in ("prompt", "cached", "completion")} | {"requests": 1})
    totals = {"base": counters["totals"]["base"], **counters["totals"]["adapters"]}
    off = [name for name in totals if any(totals[name][field] != sums[name][field] for field in totals[name])]
    told = sum((_usage(each) for each in whole), Counter[str]())
    note = f"{len(whole):,} whole replies: {told['prompt']:,} prompt tokens ({told['cached']:,} cached), "
    note += f"{told['completion']:,} written; of replies that were cut or late the engine counted {cut['prompt']:,} "
    note += f"and {cut['completion']:,} more"
    return [
        figure("soak: whole replies whose usage is not the engine's entry, to the token", len(wrong), at_most=0,
               note="; ".join([note, *wrong[:5]])),
        figure("soak: entries of requests that nobody made, or that were refused", strangers + len(refused), at_most=0),
        figure("soak: adapters whose sums are not those of their entries", len(off), at_most=0,
               note=f"{len(entries):,} entries, {len(totals)} names; tokens written by the step loop: "
                    f"{counters['gauges']['generated']:,}, in the entries: "
                    f"{sum(each['completion'] for each in sums.values()):,}"),
    ]  # fmt: skip


def _usage(seen: Seen) -> Counter[str]:
    assert seen.usage is not None
    return Counter(
        prompt=seen.usage["prompt_tokens"],
        cached=seen.usage["prompt_tokens_details"]["cached_tokens"],
        completion=seen.usage["completion_tokens"],
    )
