"""Prices a call from what its answer says of its usage, and books it where no engine counts for us."""

from datetime import UTC, datetime
from typing import NamedTuple

from journeyman.prices import PICODOLLARS, Price, PriceList
from journeyman.records import Usage, UsageEntry, WireExchange


def answer_id(request: str) -> str:
    """Under which a call is booked as its answer told."""
    return f"answer-{request}"


class _Rates(NamedTuple):
    """Picodollars for a token: a price, worked out once for thousands of calls."""

    input: int
    cached: int
    output: int


def _rates(price: Price | None) -> _Rates | None:
    if price is None:
        return None
    usages = (
        Usage(prompt_tokens=1), Usage(prompt_tokens=1, cached_prompt_tokens=1), Usage(completion_tokens=1)
    )  # fmt: skip
    return _Rates(*map(price.picodollars, usages))


class Meter:
    """Knows the prices, and remembers which rule a model has."""

    def __init__(self, prices: PriceList) -> None:
        self._prices = prices
        self._known: dict[tuple[str | None, str | None, str | None], _Rates | None] = {}

    def price(self, exchange: WireExchange) -> int | None:
        """Set the exchange's cost, and return it in picodollars; None where no rule or no usage tells it."""
        if not (exchange.prompt_tokens or exchange.completion_tokens):
            return None
        rates = self._of(exchange)
        if rates is None:
            return None
        cached = min(exchange.cached_prompt_tokens, exchange.prompt_tokens)
        cost = (
            (exchange.prompt_tokens - cached) * rates.input
            + cached * rates.cached
            + exchange.completion_tokens * rates.output
        )
        exchange.cost_usd = cost / PICODOLLARS
        return cost

    def entry(self, exchange: WireExchange, cost: int | None) -> UsageEntry | None:
        """The ledger's entry for a call that has ended; None for one that was answered with an error."""
        if exchange.state == "failed" and exchange.status != 200:
            return None
        told = bool(exchange.prompt_tokens or exchange.completion_tokens)
        return UsageEntry(
            id=answer_id(exchange.id),
            at=datetime.fromtimestamp(exchange.at / 1_000_000, UTC),
            request=exchange.id,
            key=exchange.key or "anonymous",
            alias=exchange.model,
            upstream=exchange.upstream or "",
            model=exchange.served or exchange.model,
            adapter=exchange.adapter,
            usage=_usage(exchange),
            picodollars=cost,
            ended=exchange.state,
            source="answer" if told else "untold",
            note="" if told else "the answer did not come far enough to say how many tokens it took",
        )

    def _of(self, exchange: WireExchange) -> _Rates | None:
        key = (exchange.served, exchange.adapter, exchange.upstream)
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            base = exchange.served or exchange.model
            names = [exchange.adapter] if exchange.adapter else [f"{exchange.upstream}/{base}"]
            self._known[key] = _rates(self._prices.find(base, *names))
        return self._known[key]


def _usage(exchange: WireExchange) -> Usage:
    return Usage(
        prompt_tokens=exchange.prompt_tokens,
        completion_tokens=exchange.completion_tokens,
        cached_prompt_tokens=exchange.cached_prompt_tokens,
    )
