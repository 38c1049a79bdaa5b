"""Reconstructs a system's state from what its tools told: event sourcing over traces that show answers only.

Every answer asserts a cell, named by the tool and its arguments: `get_balance` of account A17 is
`told/get_balance(account)/A17`. It holds until an answer says otherwise. What changed in between is laid to the one
call that may have done it; a change that no call of the session explains is an outside event (another user, a batch
job), and counted.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from journeyman.worlds.state import Path
from journeyman.worlds.transitions import Transition

ROOT = "told"
"""The first key of every cell that was put together from answers."""
_SHORTEST_NAME = 2
_SUSPECT = 0.5
"""A tool is suspected of changing a kind of cell when it had changed in at least half of the looks around its calls."""


@dataclass
class Sourced:
    """Transitions with the state as far as the traces tell it, and what the traces could not explain.

    `outside` are changes without a cause in their session, `unclear` those with several. `rate` is how many outside
    events come on a call.
    """

    transitions: list[Transition]
    outside: list[tuple[str, Path]] = field(default_factory=list)
    unclear: int = 0

    @property
    def rate(self) -> float:
        """Outside events for each call."""
        return len(self.outside) / len(self.transitions) if self.transitions else 0.0


@dataclass(frozen=True)
class _Interval:
    """Two successive answers of one cell: at `first` and at `second`, by their places in the session."""

    cell: Path
    first: int
    second: int
    changed: bool
    suspects: tuple[int, ...]


def sourced(transitions: Sequence[Transition], *, blind: bool = False) -> Sourced:
    """The state before and after every call. Transitions that come with their state are left as they are.

    To learn from, a cell is taken to have held before it was first looked at. `blind` leaves that out: the state holds
    what earlier calls of the session told and nothing of the call itself, as it must be to be judged by.
    """
    sessions: dict[str, list[Transition]] = {}
    for each in transitions:
        if each.before is None:
            sessions.setdefault(each.session, []).append(each)
    found = Sourced([each for each in transitions if each.before is not None])
    ordered = {name: sorted(calls, key=lambda each: each.order) for name, calls in sessions.items()}
    acts = _acts(transitions)
    intervals = {name: _intervals(calls, acts) for name, calls in ordered.items()}
    blame = _blame(ordered, intervals)
    for name, calls in ordered.items():
        found.transitions += _with_states(calls, intervals[name], blame, acts, found, blind)
    return found


def cell_of(tool: str, arguments: Mapping[str, Any]) -> Path:
    """The cell that a tool's answer to these arguments asserts: a key for each argument, by name.

    Calls with other arguments ask otherwise, and have a table of their own: no cell lies within another one's answer.
    """
    named = sorted(arguments.items())
    keys = [value if isinstance(value, str) else json.dumps(value, sort_keys=True) for _, value in named]
    return (ROOT, f"{tool}({','.join(name for name, _ in named)})", *(keys or ["-"]))


def is_told_by(tool: str, table: Path) -> bool:
    """Whether a table holds what this tool told, whatever arguments it was given."""
    return table[:1] == (ROOT,) and (len(table) == 1 or str(table[1]).partition("(")[0] == tool)


def _acts(transitions: Sequence[Transition]) -> set[str]:
    """Tools that always say the same when they succeed, such as `ok`: they tell nothing of the state."""
    told: dict[str, set[str]] = {}
    asked: dict[str, set[str]] = {}
    for each in transitions:
        if each.error is None:
            told.setdefault(each.tool, set()).add(json.dumps(each.observation, sort_keys=True))
            asked.setdefault(each.tool, set()).add(json.dumps(dict(each.arguments), sort_keys=True))
    return {tool for tool, found in told.items() if len(found) == 1 and len(asked[tool]) > 1}


def _intervals(calls: Sequence[Transition], acts: set[str]) -> list[_Interval]:
    last: dict[Path, int] = {}
    found = []
    for place, call in enumerate(calls):
        if call.error is not None or call.tool in acts:
            continue
        cell = cell_of(call.tool, call.arguments)
        if cell in last:
            first = last[cell]
            changed = calls[first].observation != call.observation
            suspects = tuple(
                between
                for between in range(first + 1, place)
                if calls[between].error is None and calls[between].tool != call.tool and _shares(calls[between], call)
            )
            found.append(_Interval(cell, first, place, changed, suspects))
        last[cell] = place
    return found


def _blame(
    sessions: Mapping[str, Sequence[Transition]], intervals: Mapping[str, Sequence[_Interval]]
) -> dict[tuple[str, str], float]:
    """How often a cell of one tool had changed when a call of another lay in between: whom to suspect of what."""
    seen, changed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for name, found in intervals.items():
        for each in found:
            for tool in {sessions[name][place].tool for place in each.suspects}:
                seen[tool, str(each.cell[1])] += 1
                changed[tool, str(each.cell[1])] += each.changed
    return {pair: changed[pair] / count for pair, count in seen.items()}


def _with_states(
    calls: Sequence[Transition],
    intervals: Sequence[_Interval],
    blame: Mapping[tuple[str, str], float],
    acts: set[str],
    found: Sourced,
    blind: bool,
) -> list[Transition]:
    causes: dict[int, list[tuple[Path, Any]]] = {}
    ends: dict[tuple[Path, int], int] = {}
    for each in intervals:
        ends[each.cell, each.first] = each.second
        if not each.changed:
            continue
        cause = _cause(each, calls, blame)
        if cause is not None:
            causes.setdefault(cause, []).append((each.cell, calls[each.second].observation))
            ends[each.cell, each.first] = cause
        elif each.suspects:
            found.unclear += 1
        else:
            found.outside.append((calls[each.second].name, each.cell))
    known = {} if blind else _first_values(calls, blame, acts)
    made = []
    for place, call in enumerate(calls):
        earlier = _document(known)
        if call.error is None and call.tool not in acts:
            known[cell_of(call.tool, call.arguments)] = call.observation
        before, told = earlier if blind else _document(known), causes.get(place, [])
        lost = _lost(place, calls, known, blame, {cell for cell, _ in told})
        known |= dict(told)
        for cell in lost:
            del known[cell]
        # What a call did to a cell that nobody looked at again is not known: nothing can be learned from it.
        made.append(call if lost and not blind else replace(call, before=before, after=_document(known)))
    return made


def _lost(
    place: int,
    calls: Sequence[Transition],
    known: Mapping[Path, Any],
    blame: Mapping[tuple[str, str], float],
    told: set[Path],
) -> list[Path]:
    """Cells that this call may have changed, and that no later answer speaks of before another may have."""
    call = calls[place]
    suspected = {kind for (tool, kind), rate in blame.items() if tool == call.tool and rate >= _SUSPECT}
    if call.error is not None or not suspected:
        return []
    names = _names(call.arguments)
    later = {cell_of(each.tool, each.arguments) for each in calls[place + 1 :] if each.error is None}
    mine = [cell for cell in known if cell[1] in suspected and names & set(map(str, cell[2:]))]
    return [cell for cell in mine if cell not in told and cell not in later]


def _first_values(
    calls: Sequence[Transition], blame: Mapping[tuple[str, str], float], acts: set[str]
) -> dict[Path, Any]:
    """What first answers say of a session's beginning: cells that no call before is suspected to have changed."""
    found: dict[Path, Any] = {}
    seen: set[Path] = set()
    for place, call in enumerate(calls):
        cell = cell_of(call.tool, call.arguments)
        if call.error is not None or call.tool in acts or cell in seen:
            continue
        seen.add(cell)
        earlier = (each for each in calls[:place] if each.error is None and _shares(each, call))
        if not any(blame.get((each.tool, str(cell[1])), 0.0) > 0 for each in earlier):
            found[cell] = call.observation
    return found


def _cause(interval: _Interval, calls: Sequence[Transition], blame: Mapping[tuple[str, str], float]) -> int | None:
    """The call that changed a cell: the only suspect, or the one whose tool was there most often when it changed."""
    ranked = sorted(
        interval.suspects, key=lambda place: -blame.get((calls[place].tool, str(interval.cell[1])), 0.0)
    )  # fmt: skip
    if not ranked:
        return None
    rates = [blame.get((calls[place].tool, str(interval.cell[1])), 0.0) for place in ranked]
    return ranked[0] if len(ranked) == 1 or rates[0] > rates[1] else None


def _shares(one: Transition, other: Transition) -> bool:
    """Whether two calls speak of the same thing: an argument's value, long enough to be a name, is in both."""
    names = _names(one.arguments) | _names(one.observation)
    return bool(names & _names(other.arguments)) or not other.arguments


def _names(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return {name for inner in value.values() for name in _names(inner)}
    if isinstance(value, list):
        return {name for inner in value for name in _names(inner)}
    return {value} if isinstance(value, str) and len(value) >= _SHORTEST_NAME else set()


def _document(known: Mapping[Path, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for path, value in known.items():
        inner = document
        for part in path[:-1]:
            inner = inner.setdefault(str(part), {})
        inner[str(path[-1])] = value
    return document
