"""The monthly statement: what each key used under each alias and adapter, and what that cost."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.prices import add_up, dollars
from journeyman.records import Frozen, Usage, now
from journeyman.store.store import Store
from journeyman.store.usage import UsageSum, add_up_usage, booked_between, gaps, usage_entries

LINES_BY = ("key", "alias", "adapter", "model", "upstream")
_TOTAL = "total"


class StatementLine(Frozen):
    """What one key used in one way. `cost_usd` is None where nothing has a price.

    `unpriced` calls have no price, and nobody told the tokens of the `untold` ones: neither is in it.
    """

    key: str
    alias: str | None = None
    adapter: str | None = None
    model: str | None = None
    upstream: str | None = None
    calls: int
    usage: Usage
    cost_usd: str | None
    unpriced: int
    untold: int


class Statement(Frozen):
    """A calendar month (UTC) of the ledger. Costs of its lines add up to the total's; `notes` say what was not seen."""

    month: str
    over: bool
    lines: tuple[StatementLine, ...]
    total: StatementLine
    notes: tuple[str, ...]

    def to_csv(self) -> str:
        """One row for each line, and the total as the last one."""
        written = io.StringIO()
        rows = [_flat(self.month, line) for line in (*self.lines, self.total)]
        writer = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return written.getvalue()

    def to_json(self) -> str:
        """The same as JSON, with the notes."""
        return self.model_dump_json(indent=2)


def month_of(text: str) -> tuple[datetime, datetime]:
    """When a month such as `2026-11` begins, and when the next one does."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text) or text < "0001" or text >= "9999-12":
        raise InvalidInput(f"month {text!r}: write it as year and month, such as 2026-11")
    year, month = map(int, text.split("-"))
    return datetime(year, month, 1, tzinfo=UTC), datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def statement(store: Store, month: str) -> Statement:
    """The statement of a month. What is booked stays, so that of a month that is over never changes."""
    since, until = month_of(month)
    period = booked_between(since, until)
    sums = add_up_usage(usage_entries(store, period), LINES_BY)
    costs = costs_of(list(sums.values()))
    lines = [
        _line(dict(zip(LINES_BY, group, strict=True)), each, cost)
        for (group, each), cost in zip(sums.items(), costs, strict=True)
    ]
    notes = tuple(gaps(store, period))
    return Statement(month=month, over=now() >= until, lines=tuple(lines), total=_total(lines), notes=notes)


def costs_of(sums: Iterable[UsageSum]) -> list[str | None]:
    """What each sum costs, rounded so that they add up to the rounded total; None for those without any price."""
    known = list(sums)
    rounded = iter(add_up([each.picodollars for each in known if each.priced]))
    return [dollars(next(rounded)) if each.priced else None for each in known]


def total_cost(costs: Iterable[str | None]) -> str | None:
    """The sum of costs as they are shown; None when there is none."""
    known = [Decimal(cost) for cost in costs if cost is not None]
    return f"{sum(known):.6f}" if known else None


def _line(names: dict[str, str | None], sums: UsageSum, cost: str | None) -> StatementLine:
    return StatementLine.model_validate(
        {
            **names,
            "calls": sums.calls,
            "usage": sums.tokens,
            "cost_usd": cost,
            "unpriced": sums.unpriced,
            "untold": sums.untold,
        }
    )


def _total(lines: list[StatementLine]) -> StatementLine:
    return StatementLine(
        key=_TOTAL,
        calls=sum(line.calls for line in lines),
        usage=Usage(
            prompt_tokens=sum(line.usage.prompt_tokens for line in lines),
            cached_prompt_tokens=sum(line.usage.cached_prompt_tokens for line in lines),
            completion_tokens=sum(line.usage.completion_tokens for line in lines),
        ),
        cost_usd=total_cost(line.cost_usd for line in lines),
        unpriced=sum(line.unpriced for line in lines),
        untold=sum(line.untold for line in lines),
    )


def _flat(month: str, line: StatementLine) -> dict[str, Any]:
    usage = line.usage
    return {
        "month": month,
        **line.model_dump(include={*LINES_BY, "calls"}),
        "prompt_tokens": usage.prompt_tokens,
        "cached_prompt_tokens": usage.cached_prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": line.cost_usd,
        "unpriced_calls": line.unpriced,
        "untold_calls": line.untold,
    }
