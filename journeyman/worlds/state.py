"""The state of a simulated system: one JSON object, changed only by patches that are checked and kept.

A cell is a place in it, named by its path. The document itself is never changed in place: a patch makes a new one that
shares what it left alone, so that a fork costs nothing and no fork can see another's changes.
"""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from journeyman.errors import InvalidInput

Path = tuple[str | int, ...]
Source = Literal["given", "observed", "drawn", "written", "outside"]
"""Where a cell's value comes from: the start, a trace, a draw that was pinned, the agent's call, an outside event."""
MISSING = object()
_TABLE_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a patch. `set` and `delete` are of a key; `append` and `remove` of a value in a list."""

    op: Literal["set", "delete", "append", "remove"]
    path: Path
    value: Any = None

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return {"op": self.op, "path": list(self.path), "value": self.value}


@dataclass(frozen=True, slots=True)
class Event:
    """One commit: at which step, by whom, and what it changed."""

    step: int
    source: Source
    by: str
    changes: tuple[Change, ...]


@dataclass
class State:
    """A document and everything that was ever committed to it.

    Reading hands out the document's own parts: they are not to be changed. `seed` decides all that is drawn.
    """

    document: Mapping[str, Any]
    seed: int = 0
    step: int = 0
    events: list[Event] = field(default_factory=list)

    def commit(self, changes: Sequence[Change], source: Source, by: str) -> None:
        """Apply a patch and remember it; InvalidInput, and nothing changed, when a step of it does not fit."""
        if changes:
            self.document = applied(self.document, changes)
            self.events.append(Event(self.step, source, by, tuple(changes)))

    def pin(self, path: Path, choices: Sequence[Any]) -> Any:
        """The value of an unknown cell, drawn once from `choices` and kept: whoever reads it again reads the same.

        The draw follows from the world's seed and the cell's name alone, so it is the same in every fork and in
        whatever order cells are read (counter-based random numbers).
        """
        known = read(self.document, path)
        if known is not MISSING:
            return known
        if not choices:
            raise InvalidInput(f"nothing is known of {'/'.join(map(str, path))}, not even what it could be")
        value = choices[drawn(self.seed, "cell", *path) % len(choices)]
        self.commit(_setting(self.document, path, value), "drawn", "pin")
        return value

    def observe(self, changes: Sequence[Change]) -> None:
        """Take over what the real system told; of a place that this state does not have, nothing goes or joins."""
        for change in changes:
            if change.op == "set":
                for path, value in _records(change.path, change.value):
                    self.commit(_setting(self.document, path, value), "observed", "trace")
            else:
                with suppress(InvalidInput):
                    self.commit((change,), "observed", "trace")

    def fork(self) -> "State":
        """An independent copy as it stands now."""
        return State(self.document, self.seed, self.step, list(self.events))

    def slice_hash(self, tables: Sequence[Path]) -> str:
        """What the cells under these paths hold, as one short text: equal slices have equal ones."""
        parts = [[list(table), _or_none(read(self.document, table))] for table in sorted(tables, key=str)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def drawn(seed: int, *counter: object) -> int:
    """64 random bits that follow from the seed and the counter, and from nothing drawn before."""
    text = json.dumps([seed, *counter], default=str, ensure_ascii=False)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def read(document: Any, path: Path) -> Any:
    """What stands at a path; MISSING when nothing does."""
    for part in path:
        if isinstance(document, Mapping):
            document = document.get(part, MISSING)
        elif isinstance(document, list) and isinstance(part, int) and 0 <= part < len(document):
            document = document[part]
        else:
            return MISSING
        if document is MISSING:
            return MISSING
    return document


def leaves(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every cell: path and value; an empty object or list is a cell of its own."""
    if isinstance(document, Mapping) and document:
        for key, inner in document.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(document, list) and document:
        for place, inner in enumerate(document):
            yield from leaves(inner, (*path, place))
    else:
        yield path, document


def tables(document: Mapping[str, Any]) -> list[Path]:
    """The paths two keys deep, or one where there is no second: what footprints speak of."""
    found: list[Path] = []
    for key, inner in document.items():
        found += [(key, second) for second in inner] if isinstance(inner, Mapping) and inner else [(key,)]
    return found


def table_of(path: Path) -> Path:
    """The table that a cell belongs to."""
    return path[:_TABLE_DEPTH]


def difference(before: Any, after: Any, path: Path = ()) -> tuple[Change, ...]:
    """The patch that turns one document into the other, in the widest steps that say what happened.

    A record that appeared is one `set`, an item that joined the end of a list one `append`.
    """
    if before is after or (type(before) is type(after) and before == after):
        return ()
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        gone = [Change("delete", (*path, key)) for key in before if key not in after]
        found = [
            change
            for key, value in after.items()
            for change in (
                difference(before[key], value, (*path, key)) if key in before else (Change("set", (*path, key), value),)
            )
        ]
        return (*gone, *found)
    if isinstance(before, list) and isinstance(after, list):
        if len(after) > len(before) and after[: len(before)] == before:
            return tuple(Change("append", path, item) for item in after[len(before) :])
        if len(after) == len(before):
            pairs = zip(before, after, strict=True)
            return tuple(c for place, (b, a) in enumerate(pairs) for c in difference(b, a, (*path, place)))
        if len(after) == len(before) - 1:
            place = next((n for n, item in enumerate(after) if item != before[n]), len(after))
            if [*before[:place], *before[place + 1 :]] == after:
                return (Change("remove", path, before[place]),)
    return (Change("set", path, after),)


def leaf_changes(before: Any, after: Any) -> dict[Path, Any]:
    """Every cell that differs, with its new value; MISSING for those that went."""
    old, new = dict(leaves(before)), dict(leaves(after))
    changed = {path: value for path, value in new.items() if path not in old or not _same(old[path], value)}
    return changed | {path: MISSING for path in old if path not in new}


def applied(document: Mapping[str, Any], changes: Sequence[Change]) -> Mapping[str, Any]:
    """A new document with these changes; InvalidInput when one of them names a place that is not there."""
    for change in changes:
        document = _applied(document, change.path, change)
    return document


def _applied(document: Any, path: Path, change: Change) -> Any:
    if not path:
        return _changed_list(document, change)
    key, rest = path[0], path[1:]
    if isinstance(document, Mapping):
        fresh: Any = dict(document)
        if not rest and change.op == "delete" and key in fresh:
            del fresh[key]
        elif not rest and change.op == "set":
            fresh[key] = copy.deepcopy(change.value)
        elif key in fresh:
            fresh[key] = _applied(fresh[key], rest, change)
        else:
            raise _misfit(change)
        return fresh
    if isinstance(document, list) and isinstance(key, int) and 0 <= key < len(document):
        fresh = list(document)
        if not rest and change.op == "set":
            fresh[key] = copy.deepcopy(change.value)
        elif not rest and change.op == "delete":
            del fresh[key]
        else:
            fresh[key] = _applied(fresh[key], rest, change)
        return fresh
    raise _misfit(change)


def _changed_list(found: Any, change: Change) -> Any:
    if change.op == "set":
        return copy.deepcopy(change.value)
    if isinstance(found, list) and change.op == "append":
        return [*found, copy.deepcopy(change.value)]
    if isinstance(found, list) and change.op == "remove" and change.value in found:
        place = found.index(change.value)
        return [*found[:place], *found[place + 1 :]]
    raise _misfit(change)


def _setting(document: Any, path: Path, value: Any) -> tuple[Change, ...]:
    """A patch that sets a cell, with the objects around it where they are missing."""
    for depth in range(1, len(path)):
        if read(document, path[:depth]) is MISSING:
            for part in reversed(path[depth:]):
                value = {part: value}
            return (Change("set", path[:depth], value),)
    return (Change("set", path, value),)


def _records(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """What a value sets, key by key, so that what stands beside it stays; a list is one."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _records((*path, key), inner)
    else:
        yield path, value


def _misfit(change: Change) -> InvalidInput:
    where = "/".join(map(str, change.path))
    return InvalidInput(f"a patch would {change.op} at {where}, where the state has no such place; it was not applied")


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _or_none(value: Any) -> Any:
    return None if value is MISSING else value
