"""Cells that no trace told: drawn once from what such cells hold elsewhere, pinned, and called drawn ever after."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from journeyman.worlds.replay import Recorded
from journeyman.worlds.schemas import look_of
from journeyman.worlds.sourcing import cell_of
from journeyman.worlds.state import MISSING, Change, Path, State, drawn, leaves, read
from journeyman.worlds.transitions import Transition

_MOST_REMEMBERED = 200
_FEWEST_ABSENT = 3
_ANY_LOOK = "*"
_Said = tuple[str, str | None, int]
"""An answer with slots for the names that were asked for, its kind of error, and how many calls had it."""


class Drawing:
    """Imagines what a tool would tell of a thing that exists, but of which the traces of this session say nothing.

    Only for worlds whose state was put together from answers: there a missing cell means that nobody looked, and only a
    name that occurs nowhere in the state means that there is no such thing. The draw follows from the world's seed and
    the cell's name alone; it is consistent with itself, and not what the real system would say.
    """

    def __init__(self, transitions: Sequence[Transition]) -> None:
        told: dict[str, list[Transition]] = {}
        for each in transitions:
            if each.error is None:
                told.setdefault(each.tool, []).append(each)
        self._looks: dict[str, set[tuple[str, str]]] = {}
        for each in (call for calls in told.values() for call in calls):
            self._looks.setdefault(each.tool, set()).update(_looks_of(each.arguments))
        self._absent, self._present = _absences(transitions)
        varied = {tool: len({json.dumps(call.observation) for call in calls}) > 1 for tool, calls in told.items()}
        self._told = {tool: calls for tool, calls in told.items() if varied[tool]}
        self._cells: dict[Path, list[Transition]] = {}
        for each in (call for calls in self._told.values() for call in calls):
            self._cells.setdefault(cell_of(each.tool, each.arguments), []).append(each)

    def is_open(self, tool: str, arguments: Mapping[str, Any], state: State) -> bool:
        """Whether the tool tells of a cell that this session has not told yet."""
        return tool in self._told and read(state.document, cell_of(tool, arguments)) is MISSING

    def recorded(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """What other sessions were told of that very cell, most often; None where none was.

        Sessions that agree with what this one was told until now go first, as they may speak of the same system; those
        that contradict it do not count. The confidence is the share of the sessions that agree, one more counted as
        not agreeing.
        """
        cell = cell_of(tool, arguments)
        found = self._cells.get(cell, ())
        agreed = [_agreement(each.before, state.document) for each in found]
        most = max((each for each in agreed if each is not None), default=None)
        found = [each for each, common in zip(found, agreed, strict=True) if common is not None and common == most]
        if not found:
            return None
        written = Counter(json.dumps(each.observation, sort_keys=True) for each in found)
        text, count = written.most_common(1)[0]
        one = next(each for each in found if json.dumps(each.observation, sort_keys=True) == text)
        changes = _pinned(state.document, cell, one.observation)
        return Recorded(one.observation, changes, None, count / (len(found) + 1), (one.name,))

    def absent(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """That there is no such thing, where names that look like these were always answered so; else None.

        `transfer(from)`: words were never accounts. The confidence counts one more call as answered otherwise.
        """
        for name, look in sorted(_looks_of(arguments)):
            said = self._absent.get((tool, name, look)) or self._of_any_look(tool, name, look)
            if said is None:
                continue
            template, error, count = said
            text = template
            for argument, value in arguments.items():
                text = text.replace(_slot(argument), json.dumps(str(value), ensure_ascii=False)[1:-1])
            try:
                answer = json.loads(text)
            except ValueError:  # What was told was a number, and this name is none.
                continue
            # Told without an error, it is a cell like any other: asked again, it is no longer open.
            changes = _pinned(state.document, cell_of(tool, arguments), answer) if error is None else ()
            return Recorded(answer, changes, error, count / (count + 1), (f"{count} calls such as this",))
        return None

    def _of_any_look(self, tool: str, name: str, look: str) -> _Said | None:
        """What names that look in several ways were all told, for one that looks as none does that exists."""
        said = self._absent.get((tool, name, _ANY_LOOK))
        exists = (name, look) in self._present.get(tool, ())
        return None if said is None or exists or (said[1] is None and "#" in look) else said

    def drawn(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """A drawn answer and the change that pins it; None where no such thing is known to exist."""
        told = self._told[tool][:_MOST_REMEMBERED]
        if not self._exist(arguments, state) or not _looks_of(arguments) <= self._looks[tool]:
            return None
        cell = cell_of(tool, arguments)
        one = told[drawn(state.seed, "cell", *cell) % len(told)]
        return Recorded(one.observation, _pinned(state.document, cell, one.observation), None, 0.0, (one.name,))

    def _exist(self, arguments: Mapping[str, Any], state: State) -> bool:
        names = {value for value in arguments.values() if isinstance(value, str)}
        if not names:
            return False
        known: set[Any] = set()
        for path, value in leaves(state.document):
            known.update(path[2:])
            known.add(value if isinstance(value, str | int) else None)
        return names <= known


def _looks_of(arguments: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(name, look_of(value)) for name, value in arguments.items() if isinstance(value, str)}


def _absences(
    transitions: Sequence[Transition],
) -> tuple[dict[tuple[str, str, str], _Said], dict[str, set[tuple[str, str]]]]:
    """For names of a kind that all had one answer, up to the names themselves: that answer, its error, how many.

    Tools whose good names look the same way are left out unless all of those, too, were answered so. Under `_ANY_LOOK`
    stands the answer that names of several kinds all had. Second, for each tool, the kinds that had other answers.
    """
    answers: dict[tuple[str, str, str], Counter[tuple[str, str | None]]] = {}
    asked: dict[tuple[str, str, str], set[str]] = {}
    for each in transitions:
        text = json.dumps(each.observation, ensure_ascii=False)
        for name, value in sorted(each.arguments.items(), key=lambda item: -len(str(item[1]))):
            if isinstance(value, str) and value:
                pattern = rf"(?<!\w){re.escape(json.dumps(value, ensure_ascii=False)[1:-1])}(?!\w)"
                text = re.sub(pattern, _slot(name).replace("\\", "\\\\"), text)
        for name, look in _looks_of(each.arguments):
            key = (each.tool, name, look)
            answers.setdefault(key, Counter())[text, each.error] += 1
            asked.setdefault(key, set()).add(str(each.arguments[name]))
    found: dict[tuple[str, str, str], _Said] = {}
    for key, counted in answers.items():
        (text, error), count = counted.most_common(1)[0]
        if len(counted) == 1 and len(asked[key]) >= _FEWEST_ABSENT and (error is not None or "#" not in key[2]):
            found[key] = (text, error, count)
    present: dict[str, set[tuple[str, str]]] = {}
    for place in {key[:2] for key in answers}:
        kinds = {key[2]: counted for key, counted in answers.items() if key[:2] == place}
        alike = _alike(kinds, {look: asked[(*place, look)] for look in kinds})
        if alike is not None:
            found[(*place, _ANY_LOOK)] = alike
        present.setdefault(place[0], set()).update(
            (place[1], look) for look, counted in kinds.items() if alike is None or set(counted) != {alike[:2]}
        )
    return found, present


def _alike(kinds: Mapping[str, Counter[tuple[str, str | None]]], asked: Mapping[str, set[str]]) -> _Said | None:
    """The one answer that all names of at least two kinds had, three names at least; None where there is none."""
    by_answer: dict[tuple[str, str | None], list[str]] = {}
    for look, counted in kinds.items():
        if len(counted) == 1:
            by_answer.setdefault(next(iter(counted)), []).append(look)
    for (text, error), looks in sorted(by_answer.items(), key=lambda each: -len(each[1])):
        if len(looks) > 1 and sum(len(asked[look]) for look in looks) >= _FEWEST_ABSENT:
            return text, error, sum(kinds[look].total() for look in looks)
    return None


def _slot(name: str) -> str:
    return f"\u27e8{name}\u27e9"


def _agreement(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> int | None:
    """How many cells two sessions were told alike; None when one of them was told otherwise."""
    mine = dict(leaves(other))
    common = 0
    for path, value in leaves(one or {}):
        if path in mine:
            if mine[path] != value:
                return None
            common += 1
    return common


def _pinned(document: Mapping[str, Any], cell: tuple[str | int, ...], value: Any) -> tuple[Change, ...]:
    for depth in range(1, len(cell)):
        if read(document, cell[:depth]) is MISSING:
            for part in reversed(cell[depth:]):
                value = {part: value}
            return (Change("set", cell[:depth], value),)
    return (Change("set", cell, value),)
