"""Holds the ledger against the engine's own sums: equal to the token, or where not, and by how much."""

from collections.abc import Iterable

import aiohttp
from pydantic_core import from_json

from journeyman.engines.completion import error_message
from journeyman.errors import Refused, UpstreamFailed
from journeyman.gateway.booking import ENGINE
from journeyman.gateway.served import Sums, Totals
from journeyman.records import Condition, Filter, Frozen, UsageEntry
from journeyman.store.store import Store
from journeyman.store.usage import usage_entries


class Difference(Frozen):
    """Where the two disagree: what is counted, under which adapter (None: the base model), and both numbers."""

    adapter: str | None
    what: str
    engine: int
    ledger: int


class Reconciliation(Frozen):
    """One start of the engine, compared up to entry `last`: the tokens by its own sums, and every difference.

    `answered` are calls of its list that are booked, wholly or in part, from their answers.
    """

    epoch: str
    last: int
    tokens: int
    differences: tuple[Difference, ...]
    answered: tuple[str, ...] = ()


def reconcile(store: Store, epoch: str, totals: Totals) -> Reconciliation:
    """Compare the engine's sums, taken at one moment, with the entries that the ledger holds up to that moment.

    The engine numbers its entries without gaps, so its number of choices is also that of the last one in the sums.
    """
    engine: dict[str | None, Sums] = {None: totals.base} | dict(totals.adapters.items())
    last = sum(sums.requests for sums in engine.values())
    entries = [entry for entry in usage_entries(store, _listed(epoch)) if (entry.number or 0) <= last]
    ledger = _sums(entries)
    differences = [
        Difference(adapter=adapter, what=what, engine=there, ledger=here)
        for adapter in sorted({*engine, *ledger}, key=lambda name: name or "")
        for what, there, here in _pairs(engine.get(adapter, Sums()), ledger.get(adapter, Sums()))
        if there != here
    ]
    tokens = sum(sums.prompt + sums.completion for sums in engine.values())
    return Reconciliation(
        epoch=epoch,
        last=last,
        tokens=tokens,
        differences=tuple(differences),
        answered=tuple(_answered(store, entries)),
    )


async def read_totals(gateway: str) -> tuple[str, Totals]:
    """The start of the engine and its sums, as the gateway at this URL tells once the ledger holds all behind them."""
    try:
        async with aiohttp.ClientSession() as client, client.get(f"{gateway.rstrip('/')}/v1/usage/totals") as answer:
            body = await answer.read()
            status = answer.status
        told = from_json(body)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise UpstreamFailed(
            f"no gateway answers at {gateway} ({type(error).__name__}); nothing was compared. The engine's counters "
            "live as long as it runs: start it with `journeyman up`, or say where it is with --url"
        ) from error
    if status != 200:
        raise Refused(error_message(told) or f"the gateway at {gateway} answered {status}")
    return told["epoch"], Totals.model_validate(told["totals"])


def _listed(epoch: str) -> Filter:
    """All that was read of the engine's list; what its answer had told before stands there as a gap."""
    conditions = (Condition(field="epoch", operator="=", value=epoch), Condition(field="number", operator=">", value=0))
    return Filter(conditions=conditions)


def _answered(store: Store, listed: Iterable[UsageEntry]) -> list[str]:
    """Calls of the list that have an entry from their answer, too."""
    of_engine = Condition(field="upstream", operator="=", value=ENGINE)
    by_answer = Condition(field="source", operator="=", value="answer")
    requests = {entry.request for entry in listed if entry.request}
    entries = usage_entries(store, Filter(conditions=(of_engine, by_answer)))
    return sorted(entry.request for entry in entries if entry.request in requests)


def _sums(entries: Iterable[UsageEntry]) -> dict[str | None, Sums]:
    sums: dict[str | None, Sums] = {}
    for entry in entries:
        each = sums.setdefault(entry.adapter, Sums())
        each.requests += 1
        each.prompt += entry.usage.prompt_tokens
        each.cached += entry.usage.cached_prompt_tokens
        each.completion += entry.usage.completion_tokens
    return sums


def _pairs(engine: Sums, ledger: Sums) -> Iterable[tuple[str, int, int]]:
    return [
        ("choices", engine.requests, ledger.requests),
        ("prompt tokens", engine.prompt, ledger.prompt),
        ("cached prompt tokens", engine.cached, ledger.cached),
        ("completion tokens", engine.completion, ledger.completion),
    ]
