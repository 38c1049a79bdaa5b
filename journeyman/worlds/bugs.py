"""The bug library: defects that traces show, each a predicate over a session with how often it could hold and did.

A silent wrong answer matters more than an error, which announces itself. All predicates need the state before and
after; what a system does not log cannot be found.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.worlds.expressions import Unknown, same
from journeyman.worlds.faults import (
    DUPLICATE,
    LOST_PAGE,
    STALE_READ,
    WRITE_THOUGH_TIMEOUT,
    WRONG_UNIT,
    Bug,
    is_transient,
)  # fmt: skip
from journeyman.worlds.rules import Rule
from journeyman.worlds.state import leaf_changes, leaves
from journeyman.worlds.transitions import Transition

_MOST_EXAMPLES = 5
_HUNDRED = Decimal(100)


def mined(transitions: Sequence[Transition], rules: Mapping[str, Rule]) -> tuple[Bug, ...]:
    """Every kind of bug of every tool that showed at least once; `rules` say what an answer should have been."""
    chances: dict[tuple[str, str], int] = {}
    seen: dict[tuple[str, str], list[str]] = {}
    for session in _sessions(transitions):
        for kind, tool, name, holds in _looks(session, rules):
            chances[kind, tool] = chances.get((kind, tool), 0) + 1
            if holds:
                seen.setdefault((kind, tool), []).append(name)
    return tuple(
        Bug(kind, tool, chances[kind, tool], len(names), tuple(names[:_MOST_EXAMPLES]))
        for (kind, tool), names in sorted(seen.items())
    )


def _looks(session: Sequence[Transition], rules: Mapping[str, Rule]) -> Iterator[tuple[str, str, str, bool]]:
    written = None
    for place, call in enumerate(session):
        changed = bool(leaf_changes(call.before, call.after))
        if call.error is not None and is_transient(call.error) and call.tool in rules:
            yield WRITE_THOUGH_TIMEOUT, call.tool, call.name, changed
        previous = session[place - 1] if place else None
        if previous is not None and _is_retry(previous, call):
            yield DUPLICATE, call.tool, call.name, _doubled(previous, call)
        if call.error is None:
            yield from _against_rule(call, rules.get(call.tool), written)
            yield from _pages(session[:place], call)
        if changed:
            written = call


def _against_rule(
    call: Transition, rule: Rule | None, written: Transition | None
) -> Iterator[tuple[str, str, str, bool]]:
    """What a read should have said, against what it said: an older truth, or a hundred times it."""
    if rule is None or call.before is None:
        return
    try:
        expected, changes, error = rule.run(call.arguments, call.before)
        stale = rule.run(call.arguments, written.before)[0] if written is not None else expected
    except (Unknown, InvalidInput):
        return
    if changes or error is not None:
        return
    if written is not None and not same(stale, expected):
        yield STALE_READ, call.tool, call.name, same(call.observation, stale)
    yield WRONG_UNIT, call.tool, call.name, _in_other_unit(expected, call.observation)


def _pages(earlier: Sequence[Transition], call: Transition) -> Iterator[tuple[str, str, str, bool]]:
    """A page that comes after one that says there is more, and is empty."""
    page = call.arguments.get("page")
    if not isinstance(page, int) or not isinstance(call.observation, Mapping):
        return
    rest = {name: value for name, value in call.arguments.items() if name != "page"}
    for each in reversed(earlier):
        others = {name: value for name, value in each.arguments.items() if name != "page"}
        if each.tool == call.tool and others == rest and each.arguments.get("page") == page - 1:
            told_more = isinstance(each.observation, Mapping) and each.observation.get("more") is True
            if told_more:
                listed = [value for value in call.observation.values() if isinstance(value, list)]
                yield LOST_PAGE, call.tool, call.name, bool(listed) and not any(listed)
            return


def _is_retry(one: Transition, other: Transition) -> bool:
    failed = one.error is not None and is_transient(one.error)
    return failed and one.tool == other.tool and one.arguments == other.arguments and other.error is None


def _doubled(first: Transition, retry: Transition) -> bool:
    return bool(leaf_changes(first.before, first.after)) and bool(leaf_changes(retry.before, retry.after))


def _in_other_unit(expected: Any, told: Any) -> bool:
    """Whether every number that differs is a hundred times the expected one, or a hundredth of it."""
    pairs = list(zip(leaves(expected), leaves(told), strict=False))
    differing = [(one, other) for (_, one), (_, other) in pairs if not same(one, other)]
    return bool(differing) and all(_hundredfold(one, other) for one, other in differing)


def _hundredfold(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    try:
        first, second = Decimal(str(one)), Decimal(str(other))
    except InvalidOperation:
        return False
    return first != 0 and first.is_finite() and second.is_finite() and second in (first * _HUNDRED, first / _HUNDRED)


def _sessions(transitions: Sequence[Transition]) -> list[list[Transition]]:
    found: dict[str, list[Transition]] = {}
    for each in transitions:
        if each.before is not None and each.after is not None:
            found.setdefault(each.session, []).append(each)
    return [sorted(calls, key=lambda each: each.order) for calls in found.values()]
