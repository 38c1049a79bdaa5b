"""Answers carried over from the calls most like this one: their slots filled from this call and this state."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from journeyman.errors import InvalidInput
from journeyman.worlds.expressions import Unknown
from journeyman.worlds.replay import Recorded
from journeyman.worlds.rules import Case, Rule
from journeyman.worlds.state import Path, State, leaves, table_of
from journeyman.worlds.synthesis import explained
from journeyman.worlds.transitions import Transition

_MOST_TOLD = 8
"""Cells with at most this many different values tell one situation from another; others are names and contents."""


class Nearest:
    """The k most similar past calls vote: each says what it would answer here.

    Similar are calls with equal arguments, or arguments of the same kind, in a situation that is alike: flags and
    other cells of few values, and in which tables the state knows the names that the call gives. The confidence is the
    share of the votes, weighted by likeness, that agree.
    """

    def __init__(self, transitions: Sequence[Transition], neighbours: int = 7, *, records: bool = True) -> None:
        self._neighbours, self._records = neighbours, records
        self._calls: dict[str, list[Transition]] = {}
        for each in transitions:
            if each.before is not None and each.after is not None:
                self._calls.setdefault(each.tool, []).append(each)
        self._cases: dict[int, Case | None] = {}
        self._situations: dict[int, _Situation] = {}
        self._told = {tool: _telling(calls) for tool, calls in self._calls.items()}

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """What the neighbours say; None when the tool was never seen, or none of them has anything to say here."""
        votes: dict[str, list[tuple[float, Transition, Recorded]]] = {}
        total = 0.0
        for likeness, call in self.similar(tool, arguments, state):
            total += likeness
            said = self._carried(call, arguments, state)
            if said is not None:
                text = json.dumps([said.observation, [c.wire() for c in said.changes]], sort_keys=True, default=str)
                votes.setdefault(text, []).append((likeness, call, said))
        if not votes:
            return None
        best = max(votes.values(), key=lambda found: sum(likeness for likeness, _, _ in found))
        weight, most = sum(likeness for likeness, _, _ in best), max(likeness for likeness, _, _ in best)
        evidence = tuple(call.name for _, call, _ in best[:3])
        return best[0][2]._replace(confidence=most * weight / total, evidence=evidence)

    def similar(
        self, tool: str, arguments: Mapping[str, Any], state: State, apart_from: str = ""
    ) -> list[tuple[float, Transition]]:
        """The calls most like this one, likeness in (0, 1] first; none of the family `apart_from`."""
        told = self._told.get(tool, ())
        here = _situation(arguments, state.document, told)
        found = [
            (_likeness(arguments, call.arguments, here, self._situation_of(call, told)), place, call)
            for place, call in enumerate(self._calls.get(tool, ()))
            if not apart_from or call.family != apart_from
        ]
        found.sort(key=lambda each: (-each[0], each[1]))
        return [(likeness, call) for likeness, _, call in found[: self._neighbours]]

    def _carried(self, call: Transition, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        if id(call) not in self._cases:
            self._cases[id(call)] = explained(call, records=self._records)
        case = self._cases[id(call)]
        if case is None:
            return None
        try:
            observation, changes, error = Rule(call.tool, (case,)).run(arguments, state.document)
        except (Unknown, InvalidInput):
            return None
        return Recorded(observation, changes, error, 0.0, ())

    def _situation_of(self, call: Transition, told: Sequence[Path]) -> "_Situation":
        if id(call) not in self._situations:
            self._situations[id(call)] = _situation(call.arguments, call.before, told)
        return self._situations[id(call)]


class _Situation(NamedTuple):
    """The cells that tell situations apart, and each argument whose value the state knows, with the table it is in."""

    cells: Mapping[Path, Any]
    known: frozenset[tuple[str, Path]]


def _likeness(arguments: Mapping[str, Any], others: Mapping[str, Any], here: _Situation, there: _Situation) -> float:
    names = arguments.keys() | others.keys()
    alike = sum(_alike(arguments[name], others[name]) for name in names if name in arguments and name in others)
    of_arguments = (1 + alike) / (1 + len(names))
    paths = here.cells.keys() | there.cells.keys()
    same = sum(
        1 for path in paths if path in here.cells and path in there.cells and here.cells[path] == there.cells[path]
    )
    of_known = (1 + len(here.known & there.known)) / (1 + len(here.known | there.known))
    return of_arguments * of_known * (1 + same) / (1 + len(paths))


def _alike(one: Any, other: Any) -> float:
    if type(one) is not type(other):
        return 0.0
    if one == other:
        return 1.0
    return 0.75


def _situation(arguments: Mapping[str, Any], document: Any, told: Sequence[Path]) -> _Situation:
    wanted = set(told)
    names: dict[str, list[str]] = {}
    for name, given in arguments.items():
        for value in given if isinstance(given, list) else (given,):
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                names.setdefault(str(value), []).append(name)
    cells: dict[Path, Any] = {}
    known: set[tuple[str, Path]] = set()
    for path, value in leaves(document):
        if path in wanted:
            cells[path] = value
        # Numbers in a path are places in lists, which no call names.
        parts = (part for part in path if isinstance(part, str))
        said = (str(value),) if isinstance(value, str | int) and not isinstance(value, bool) else ()
        for part in (*parts, *said):
            if part in names:
                known.update((name, table_of(path)) for name in names[part])
    return _Situation(cells, frozenset(known))


def _telling(calls: Sequence[Transition]) -> tuple[Path, ...]:
    values: dict[Path, set[str]] = {}
    for each in calls:
        for path, value in leaves(each.before):
            values.setdefault(path, set()).add(str(value))
    few = [path for path, found in values.items() if 1 < len(found) <= _MOST_TOLD and len(path) <= 3]
    return tuple(few)
