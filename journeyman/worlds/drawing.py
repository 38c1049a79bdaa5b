"""Cells that no trace told: drawn once from what such cells hold elsewhere, pinned, and called drawn ever after."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from journeyman.worlds.replay import Recorded
from journeyman.worlds.sourcing import cell_of
from journeyman.worlds.state import MISSING, Change, Path, State, drawn, leaves, read
from journeyman.worlds.transitions import Transition

_MOST_REMEMBERED = 200


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
        varied = {tool: len({json.dumps(call.observation) for call in calls}) > 1 for tool, calls in told.items()}
        self._told = {tool: calls for tool, calls in told.items() if varied[tool]}
        self._cells: dict[Path, list[Transition]] = {}
        for each in (call for calls in self._told.values() for call in calls):
            self._cells.setdefault(cell_of(each.tool, each.arguments), []).append(each)

    def is_open(self, tool: str, arguments: Mapping[str, Any], state: State) -> bool:
        """Whether the tool tells of a cell that this session has not told yet."""
        return tool in self._told and read(state.document, cell_of(tool, arguments)) is MISSING

    def recorded(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """What another session was told of that very cell, most often; None where none was.

        The confidence is the share of the sessions that agree, one more counted as not agreeing.
        """
        cell = cell_of(tool, arguments)
        found = self._cells.get(cell)
        if not found:
            return None
        written = Counter(json.dumps(each.observation, sort_keys=True) for each in found)
        text, count = written.most_common(1)[0]
        one = next(each for each in found if json.dumps(each.observation, sort_keys=True) == text)
        changes = _pinned(state.document, cell, one.observation)
        return Recorded(one.observation, changes, None, count / (len(found) + 1), (one.name,))

    def drawn(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """A drawn answer and the change that pins it; None where no such thing is known to exist."""
        told = self._told[tool][:_MOST_REMEMBERED]
        if not self._exist(arguments, state):
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


def _pinned(document: Mapping[str, Any], cell: tuple[str | int, ...], value: Any) -> tuple[Change, ...]:
    for depth in range(1, len(cell)):
        if read(document, cell[:depth]) is MISSING:
            for part in reversed(cell[depth:]):
                value = {part: value}
            return (Change("set", cell[:depth], value),)
    return (Change("set", cell, value),)
