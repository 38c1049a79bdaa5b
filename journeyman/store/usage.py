"""Adds up the ledger: by key, alias, adapter, model, upstream or day, exactly."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from journeyman.errors import InvalidInput
from journeyman.records import Condition, Filter, Usage, UsageEntry
from journeyman.records.filter import Operator
from journeyman.store.store import Store

_PAGE = 5000

BY: dict[str, Callable[[UsageEntry], str | None]] = {
    "key": lambda entry: entry.key,
    "alias": lambda entry: entry.alias,
    "adapter": lambda entry: entry.adapter,
    "model": lambda entry: entry.model,
    "upstream": lambda entry: entry.upstream,
    "day": lambda entry: f"{entry.at:%Y-%m-%d}",
}
"""What entries can be added up by; days are those of UTC."""

Group = tuple[str | None, ...]


@dataclass(slots=True)
class UsageSum:
    """What several entries come to.

    `picodollars` adds those that have a price; `unpriced` counts the calls without one, and `untold` those whose
    tokens nobody told, so that neither passes for free.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    priced: int = 0
    picodollars: int = 0
    _requests: set[str] = field(default_factory=set)
    _unpriced: set[str] = field(default_factory=set)
    _untold: set[str] = field(default_factory=set)

    def add(self, entry: UsageEntry) -> None:
        """Count one more entry."""
        self.prompt_tokens += entry.usage.prompt_tokens
        self.cached_prompt_tokens += entry.usage.cached_prompt_tokens
        self.completion_tokens += entry.usage.completion_tokens
        call = entry.request or entry.id  # calls that came past the gateway may have no name
        self._requests.add(call)
        if entry.source == "untold":
            self._untold.add(call)
        elif entry.picodollars is None:
            self._unpriced.add(call)
        else:
            self.priced += 1
            self.picodollars += entry.picodollars

    @property
    def calls(self) -> int:
        """Calls, whose choices are an entry each."""
        return len(self._requests)

    @property
    def unpriced(self) -> int:
        """Calls whose model has no price."""
        return len(self._unpriced)

    @property
    def untold(self) -> int:
        """Calls whose tokens nobody told."""
        return len(self._untold)

    @property
    def tokens(self) -> Usage:
        """The tokens."""
        return Usage(
            prompt_tokens=self.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens,
            completion_tokens=self.completion_tokens,
        )


def booked_between(since: datetime | None = None, until: datetime | None = None) -> Filter:
    """Entries booked from `since` to before `until`."""
    return Filter(
        conditions=tuple(
            Condition(field="at", operator=operator, value=at.isoformat())
            for operator, at in _bounds(since, until)
            if at is not None
        )
    )


def usage_entries(store: Store, where: Filter) -> Iterator[UsageEntry]:
    """All entries of the ledger for which the filter holds, newest first, read page by page."""
    after = None
    while page := store.find(UsageEntry, where, after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


def gaps(store: Store, period: Filter) -> list[str]:
    """What the ledger could not see in a period, oldest first."""
    is_gap = Condition(field="source", operator="=", value="gap")
    found = store.find(UsageEntry, Filter(conditions=(period, is_gap)))
    return [f"{entry.at:%Y-%m-%d %H:%M} UTC: {entry.note}" for entry in reversed(found)]


def add_up_usage(entries: Iterable[UsageEntry], by: tuple[str, ...]) -> dict[Group, UsageSum]:
    """Sums of the entries, by the values of those fields, in their order; gaps hold no tokens and are passed over."""
    unknown = [name for name in by if name not in BY]
    if unknown:
        raise InvalidInput(f"usage cannot be added up by {unknown[0]!r}; there is: {', '.join(BY)}")
    sums: dict[Group, UsageSum] = {}
    for entry in entries:
        if entry.source != "gap":
            sums.setdefault(tuple(BY[name](entry) for name in by), UsageSum()).add(entry)
    return dict(sorted(sums.items(), key=lambda item: [(value is None, value or "") for value in item[0]]))


def _bounds(since: datetime | None, until: datetime | None) -> tuple[tuple[Operator, datetime | None], ...]:
    return (">=", since), ("<", until)
