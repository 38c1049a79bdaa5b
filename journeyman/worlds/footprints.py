"""Which tables of the state a tool reads and which it writes, inferred from its calls."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.worlds.state import MISSING, Path, difference, leaves, read, table_of, tables
from journeyman.worlds.transitions import Transition

_MOST_READ = 6
_MOST_CALLS = 400
_SHORT = 3


@dataclass(frozen=True)
class Footprint:
    """What a call may depend on and what it may change; everything outside is none of its business."""

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()

    @property
    def touched(self) -> tuple[Path, ...]:
        """Both together, each once."""
        return tuple(dict.fromkeys((*self.reads, *self.writes)))


def footprints(transitions: Sequence[Transition]) -> dict[str, Footprint]:
    """The footprint of every tool whose calls come with the state before and after."""
    by_tool: dict[str, list[Transition]] = {}
    for each in transitions:
        if each.before is not None and each.after is not None:
            by_tool.setdefault(each.tool, []).append(each)
    return {tool: Footprint(_reads(calls), _writes(calls)) for tool, calls in sorted(by_tool.items())}


def _writes(calls: Sequence[Transition]) -> tuple[Path, ...]:
    touched = {table_of(change.path): None for each in calls for change in difference(each.before, each.after)}
    return tuple(touched)


def _reads(calls: Sequence[Transition]) -> tuple[Path, ...]:
    """Tables whose values turn up in results, and those without which equal calls would have unequal results.

    The second kind is found greedily: as long as calls with the same arguments and the same slice were answered
    differently, the table that tells most of them apart joins the slice.
    """
    calls = calls[:_MOST_CALLS]
    chosen = _shown(calls)
    candidates = list(dict.fromkeys(table for each in calls for table in tables(each.before or {})))
    hashed = [
        {table: _written(read(each.before, table)) for table in candidates} for each in calls
    ]  # fmt: skip
    outcomes = [_written([each.observation, [c.wire() for c in difference(each.before, each.after)]]) for each in calls]
    asked = [_written(dict(each.arguments)) for each in calls]
    while len(chosen) < _MOST_READ:
        conflicts = _conflicts(asked, hashed, outcomes, chosen)
        if not conflicts:
            break
        rest = [table for table in candidates if table not in chosen]
        if not rest:
            break
        best = min(rest, key=lambda table: _conflicts(asked, hashed, outcomes, (*chosen, table)))
        if _conflicts(asked, hashed, outcomes, (*chosen, best)) >= conflicts:
            break
        chosen = (*chosen, best)
    return chosen


def _shown(calls: Sequence[Transition]) -> tuple[Path, ...]:
    """Tables that hold a value of the result which the arguments do not, in most of the calls that went well."""
    well = [each for each in calls if each.error is None]
    counts: dict[Path, int] = {}
    for each in well:
        given = {_written(value) for _, value in leaves(dict(each.arguments))}
        told = {_written(value) for _, value in leaves(each.observation) if _telling(value)} - given
        # No set: its order differs from process to process, and with it the content of the world.
        found = dict.fromkeys(
            table_of(path) for path, value in leaves(each.before) if _telling(value) and _written(value) in told
        )
        for table in found:
            counts[table] = counts.get(table, 0) + 1
    often = [table for table, count in counts.items() if 2 * count > len(well)]
    return tuple(sorted(often, key=lambda table: -counts[table])[:_MOST_READ])


def _telling(value: Any) -> bool:
    """Long enough that finding it in two places is no accident."""
    return not isinstance(value, bool | None) and len(str(value)) >= _SHORT


def _conflicts(
    asked: Sequence[str], hashed: Sequence[Mapping[Path, str]], outcomes: Sequence[str], chosen: Sequence[Path]
) -> int:
    groups: dict[tuple[str, ...], set[str]] = {}
    for call, slices, outcome in zip(asked, hashed, outcomes, strict=True):
        groups.setdefault((call, *(slices[table] for table in chosen)), set()).add(outcome)
    return sum(len(found) - 1 for found in groups.values())


def _written(value: Any) -> str:
    return "" if value is MISSING else json.dumps(value, sort_keys=True, default=str)
