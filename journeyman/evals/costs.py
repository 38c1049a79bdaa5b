"""What a call costs under an adapter and under its teacher, from the calls that were captured of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from journeyman.errors import InvalidInput
from journeyman.prices import PICODOLLARS, PriceList
from journeyman.records import Adapter, Condition, Exchange, Filter, Interval
from journeyman.statistics import clustered_mean, ratio_of_clustered_means
from journeyman.store.store import Store

FEWEST_CONVERSATIONS = 10
"""With fewer, an interval from resampling promises more than it holds."""


@dataclass(frozen=True, slots=True)
class CallCosts:
    """The complete calls of one model. Tokens are means per call; the cost is in US dollars for 1,000 calls.

    The cost is None when a call has no price, its interval when there are too few conversations for one.
    """

    model: str
    calls: int
    conversations: int
    prompt_tokens: float
    cached_prompt_tokens: float
    completion_tokens: float
    usd_per_thousand: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class CostComparison:
    """An adapter beside its teacher; `share` is the adapter's cost of a call over the teacher's."""

    adapter: CallCosts
    teacher: CallCosts
    share: float | None
    interval: Interval | None


def compare_costs(
    store: Store, prices: PriceList, adapter: Adapter, teacher: str, where: Filter | None = None, limit: int = 5000
) -> CostComparison:
    """Compare by the newest `limit` complete calls of each for which `where` holds, at today's prices.

    InvalidInput when one of them has no such call: there is nothing to compare then.
    """
    served = _find(store, _all(Condition(field="adapter", operator="=", value=adapter.id)), where, limit)
    taught = _find(store, _of_teacher(teacher, adapter), where, limit)
    for name, found in ((adapter.name, served), (teacher, taught)):
        if not found:
            raise InvalidInput(
                f"no complete call of {name} was captured{f' where {where}' if where and where.conditions else ''}, so "
                "there is nothing to compare; `journeyman traces list` shows which calls there are"
            )
    price = prices.find(adapter.base, adapter.id, adapter.name)
    ours = [None if price is None else price.picodollars(each.usage) for each in served]
    theirs = _costs(store, prices, taught)
    mine, other = _clusters(served, ours), _clusters(taught, theirs)
    one, two = _summary(adapter.name, served, mine), _summary(teacher, taught, other)
    share = (one.usd_per_thousand or 0) / two.usd_per_thousand if two.usd_per_thousand and mine else None
    sure = mine and other and share is not None and min(one.conversations, two.conversations) >= FEWEST_CONVERSATIONS
    return CostComparison(one, two, share, ratio_of_clustered_means(mine, other) if sure and mine and other else None)


def _costs(store: Store, prices: PriceList, exchanges: Sequence[Exchange]) -> list[int | None]:
    """What each call costs, by the rules that the gateway books by: an adapter's id comes first, then its name."""
    ids = {exchange.adapter for exchange in exchanges if exchange.adapter}
    names = {id: adapter.name for id in ids if (adapter := store.get(Adapter, id))}
    costs: list[int | None] = []
    for exchange in exchanges:
        model, id = exchange.served or exchange.model, exchange.adapter
        of_provider = [] if exchange.upstream == "engine" else [f"{exchange.upstream}/{model}"]
        closer = [id, names.get(id, id)] if id else of_provider
        price = prices.find(model, *closer)
        costs.append(None if price is None else price.picodollars(exchange.usage))
    return costs


def _find(store: Store, which: Filter, where: Filter | None, limit: int) -> Sequence[Exchange]:
    complete = Condition(field="state", operator="=", value="complete")
    return store.find(Exchange, Filter(conditions=(complete, which, *([where] if where else []))), limit=limit)


def _of_teacher(teacher: str, adapter: Adapter) -> Filter:
    """Calls that asked for the teacher by this name, or were answered by it under another, but not by the adapter."""
    asked = _all(
        Condition(field="model", operator="=", value=teacher),
        Condition(field="adapter", operator="!=", value=adapter.id),
    )
    without_adapter = Condition(field="adapter", operator="=", value=None)
    names = [asked, _all(Condition(field="served", operator="=", value=teacher), without_adapter)]
    provider, slash, model = teacher.partition("/")
    if slash:
        names.append(
            _all(
                Condition(field="upstream", operator="=", value=provider),
                Condition(field="served", operator="=", value=model),
            )
        )
    return Filter(join="or", conditions=tuple(names))


def _all(*conditions: Condition) -> Filter:
    return Filter(conditions=conditions)


def _clusters(exchanges: Sequence[Exchange], costs: Iterable[int | None]) -> list[list[float]] | None:
    """Costs in US dollars for 1,000 calls, by conversation; None when one is unknown."""
    clusters: dict[str, list[float]] = {}
    for exchange, cost in zip(exchanges, costs, strict=True):
        if cost is None:
            return None
        clusters.setdefault(exchange.session or exchange.id, []).append(1000 * cost / PICODOLLARS)
    return list(clusters.values())


def _summary(name: str, exchanges: Sequence[Exchange], clusters: list[list[float]] | None) -> CallCosts:
    conversations = len({exchange.session or exchange.id for exchange in exchanges})
    enough = clusters is not None and conversations >= FEWEST_CONVERSATIONS
    return CallCosts(
        model=name,
        calls=len(exchanges),
        conversations=conversations,
        prompt_tokens=fmean(exchange.usage.prompt_tokens for exchange in exchanges),
        cached_prompt_tokens=fmean(exchange.usage.cached_prompt_tokens for exchange in exchanges),
        completion_tokens=fmean(exchange.usage.completion_tokens for exchange in exchanges),
        usd_per_thousand=fmean(cost for cluster in clusters for cost in cluster) if clusters else None,
        interval=clustered_mean(clusters) if enough and clusters else None,
    )
