"""Removes exchanges that are older than the settings' rules keep them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from journeyman.config import RetentionRule
from journeyman.records import Condition, Exchange, Feedback, Filter, Tagging, now
from journeyman.store.store import Store

_AT_ONCE = 500


class Removed(NamedTuple):
    """How many exchanges a rule removes, or would remove, and which rule it is."""

    rule: RetentionRule
    exchanges: int


def retention_filter(rule: RetentionRule, moment: datetime | None = None) -> Filter:
    """What a rule removes at a moment (now, if none is given); InvalidInput when its filter cannot be read."""
    before = (moment or now()) - timedelta(days=rule.keep_days)
    old = Condition(field="at", operator="<", value=before.isoformat())
    matching = Filter.parse(rule.where)
    return Filter(conditions=(old, matching)) if matching.conditions else Filter(conditions=(old,))


def would_remove(store: Store, rules: Sequence[RetentionRule], moment: datetime | None = None) -> list[Removed]:
    """How many exchanges each rule would remove; one that two rules name counts for both."""
    return [Removed(rule, store.count(Exchange, retention_filter(rule, moment))[""]) for rule in rules]


def apply_retention(store: Store, rules: Sequence[RetentionRule], moment: datetime | None = None) -> list[Removed]:
    """Remove what the rules no longer keep, with the feedback and taggings that name it; what each rule removed.

    In batches, so that others can write in between; stopped half-way, the rest goes next time.
    """
    return [Removed(rule, _apply(store, retention_filter(rule, moment))) for rule in rules]


def _apply(store: Store, where: Filter) -> int:
    removed = 0
    while page := store.find(Exchange, where, limit=_AT_ONCE):
        for start in range(0, len(page), 200):
            ids = [exchange.id for exchange in page[start : start + 200]]
            for kind in (Feedback, Tagging):
                store.forget(kind, _any("exchange_id", ids))
            removed += store.forget(Exchange, _any("id", ids))
    return removed


def _any(field: str, values: list[str]) -> Filter:
    return Filter(join="or", conditions=tuple(Condition(field=field, operator="=", value=each) for each in values))
