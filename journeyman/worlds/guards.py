"""When a tool does one thing and when another: a small decision tree over conditions on the arguments and the state."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from journeyman.worlds.explain import Index, generalised
from journeyman.worlds.expressions import Expression, Scene, Unknown, evaluate, holds
from journeyman.worlds.kinds import of_kinds
from journeyman.worlds.limits import of_limits
from journeyman.worlds.state import leaves

_MOST_CONDITIONS = 260
_DEEPEST = 5
_PURE = 0.98
_FEW_VALUES = 6
_SAMPLES = 8
_OF_EACH = 2
_CONTAINER_DEPTH = 5
_DONE = -1
"""In place of an outcome: any of those in which the tool does not refuse."""

Leaf = tuple[tuple[Expression, ...], int | None, int]
"""Guards, which outcome they lead to (None: it cannot be told), and how many calls say so."""


class Decision:
    """When each of a tool's outcomes comes, found in its calls.

    `outcomes` numbers what came of each scene; `refusals` are those of them in which the tool refuses, and whether it
    does is decided first, as tools check before they act. `vocabularies` are the values that an argument takes, by its
    name, where they are few and known. Of the state, what lies under `roots` decides; the rest only where
    nothing there tells outcomes apart. What a condition says of each scene is worked out once.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        outcomes: Sequence[int],
        refusals: Iterable[int] = (),
        vocabularies: Mapping[str, Sequence[Any]] = {},
        roots: Container[str] = (),
    ) -> None:
        self._outcomes = outcomes
        self._refusals = frozenset(refusals)
        self._asked: list[Expression] = []
        if len(set(outcomes)) > 1:
            samples = _samples(scenes, outcomes)
            refused = [outcome in self._refusals for outcome in outcomes]
            self._asked = _telling(conditions(scenes, samples, vocabularies, refused), samples)
        self._near = [_is_near(condition, roots) for condition in self._asked]
        self._table = [[holds(condition, scene) for condition in self._asked] for scene in scenes]

    def leaves(self, usual: Mapping[str, int] = {}) -> list[Leaf]:
        """Guards for each outcome; a leaf that stays mixed leads to None.

        `usual` counts the tools in which a condition decides. Of conditions that tell this tool's calls apart equally
        well, the most usual goes first: few calls cannot tell it from an accident, many tools can.
        """
        ranks = [usual.get(repr(condition), 0) for condition in self._asked]
        whether = [outcome if outcome in self._refusals else _DONE for outcome in self._outcomes]
        return list(self._grown(list(range(len(whether))), whether, ranks, (), _DEEPEST))

    def _grown(
        self, rows: list[int], labels: Sequence[int], ranks: Sequence[int], path: tuple[Expression, ...], deeper: int
    ) -> Iterator[Leaf]:
        counts = Counter(labels[row] for row in rows)
        outcome, most = counts.most_common(1)[0]
        if most >= _PURE * len(rows):
            if outcome == _DONE:
                yield from self._grown(rows, self._outcomes, ranks, path, _DEEPEST)
            else:
                yield path, outcome, len(rows)
            return
        column = self._best(rows, labels, ranks) if deeper else None
        if column is None:
            yield path, None, len(rows)
            return
        yes = [row for row in rows if self._table[row][column]]
        no = [row for row in rows if not self._table[row][column]]
        yield from self._grown(yes, labels, ranks, (*path, self._asked[column]), deeper - 1)
        yield from self._grown(no, labels, ranks, (*path, ["not", self._asked[column]]), deeper - 1)

    def _best(self, rows: Sequence[int], labels: Sequence[int], ranks: Sequence[int]) -> int | None:
        near = [column for column, is_near in enumerate(self._near) if is_near]
        best = self._best_of(near, rows, labels, ranks)
        if best is not None or len(near) == len(self._near):
            return best
        return self._best_of(range(len(self._near)), rows, labels, ranks)

    def _best_of(
        self, columns: Iterable[int], rows: Sequence[int], labels: Sequence[int], ranks: Sequence[int]
    ) -> int | None:
        """The condition after which outcomes are least mixed (Gini); of equal ones the most usual, then the first."""
        whole = Counter(labels[row] for row in rows)
        best, least = None, _mixed(whole, len(rows)) - 1e-9
        for column in columns:
            yes = Counter(labels[row] for row in rows if self._table[row][column])
            count = sum(yes.values())
            if not 0 < count < len(rows):
                continue
            mixed = _mixed(yes, count) + _mixed(whole - yes, len(rows) - count)
            is_as_good = best is not None and mixed < least + 1e-9 and ranks[column] > ranks[best]
            if mixed < least - 1e-9 or is_as_good:
                best, least = column, min(mixed, least)
        return best


def _is_near(condition: Expression, roots: Container[str]) -> bool:
    """Whether all of the state that a condition looks at lies under these roots; the call itself is always near."""
    if condition[0] in ("cell", "has", "holds") and condition[1][0] not in roots:
        return False
    return all(_is_near(inner, roots) for inner in condition[1:] if isinstance(inner, list) and _is_expression(inner))


def _is_expression(found: list[Any]) -> bool:
    return bool(found) and found[0] in ("cell", "has", "holds", "arg", "const", "not", "product", "sum")


def deciding(leaves: Iterable[Leaf], refusals: Container[int]) -> set[str]:
    """The conditions that stand, plain or negated, before a leaf that is one of `refusals`."""
    guards = (guard for path, outcome, _ in leaves if outcome in refusals for guard in path)
    return {repr(guard[1] if guard[0] == "not" else guard) for guard in guards}


def _mixed(counts: Counter[int], total: int) -> float:
    return total - sum(count * count for count in counts.values()) / total


def conditions(
    scenes: Sequence[Scene],
    samples: Sequence[Scene],
    vocabularies: Mapping[str, Sequence[Any]],
    refused: Sequence[bool],
) -> Iterator[Expression]:
    """Conditions that may tell outcomes apart, simple ones first.

    `samples` are scenes of every outcome; `refused` says of each of `scenes` whether the tool refused there.
    """
    names = list(dict.fromkeys(name for scene in scenes for name in scene.arguments))
    paths = _paths(samples)
    yield from of_kinds(samples, names)
    yield from _of_arguments(scenes, names)
    for path in paths:
        for name in names:
            yield ["has", path, ["arg", name]]
            yield ["holds", path, ["arg", name]]
    # What the state says goes before what was given so far.
    yield from (["among", ["arg", name], list(values)] for name, values in vocabularies.items())
    for path in paths:
        yield ["true", ["cell", path]]
    for path, values in _scalars(samples, paths):
        cell: Expression = ["cell", path]
        if len(values) <= _FEW_VALUES:
            yield from (["is", cell, value] for value in values if isinstance(value, str))
        numbers = sorted(value for value in values if _is_number(value))
        if numbers:
            yield from _compared(cell, names)
            yield from (["less", cell, ["const", value]] for value in numbers[:_FEW_VALUES])
            yield ["less", cell, ["const", 0]]
        yield from (["same", ["arg", name], cell] for name in names)
        if numbers:
            yield from of_limits(cell, names, scenes, refused)


def _samples(scenes: Sequence[Scene], outcomes: Sequence[int]) -> list[Scene]:
    """Some of every outcome, and some spread over all."""
    places = [len(scenes) * n // _SAMPLES for n in range(min(_SAMPLES, len(scenes)))]
    counts: Counter[int] = Counter()
    for place, outcome in enumerate(outcomes):
        counts[outcome] += 1
        if counts[outcome] <= _OF_EACH and len(places) < 3 * _SAMPLES:
            places.append(place)
    return [scenes[place] for place in dict.fromkeys(places)]


def _of_arguments(scenes: Sequence[Scene], names: Sequence[str]) -> Iterator[Expression]:
    for name in names:
        given = [scene.arguments[name] for scene in scenes if name in scene.arguments]
        if len(given) < len(scenes):
            yield ["given", name]
        yield ["true", ["arg", name]]
        plain = list(dict.fromkeys(value for value in given if isinstance(value, str | int | float)))
        if any(_is_number(value) for value in plain):
            yield ["less", ["arg", name], ["const", 0]]
            yield ["less", ["const", 0], ["arg", name]]
            numbers = sorted(value for value in plain if _is_number(value))
            for value in numbers[:: max(1, len(numbers) // _FEW_VALUES)]:
                yield ["less", ["arg", name], ["const", value]]
                yield ["less", ["const", value], ["arg", name]]
        if any(isinstance(value, str) for value in plain):
            yield ["known", ["arg", name]]
        if len(plain) <= 2 * _FEW_VALUES:
            yield from (["is", ["arg", name], value] for value in plain)
        if any(isinstance(value, str) and "/" in value for value in plain):
            yield ["contains", ["arg", name], "/"]


def _compared(cell: Expression, names: Sequence[str]) -> Iterator[Expression]:
    for name in names:
        yield ["less", cell, ["arg", name]]
        yield ["less", ["arg", name], cell]
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            yield ["less", cell, ["product", ["arg", one], ["arg", other]]]


def _paths(samples: Sequence[Scene]) -> list[list[Any]]:
    """Ways to containers: fixed ones near the top, and deeper ones that the call or another cell names."""
    found: dict[str, list[Any]] = {}
    for scene in samples:
        index = Index(scene.before)
        seen = {
            path[:depth] for path, _ in leaves(scene.before) for depth in range(1, min(len(path), _CONTAINER_DEPTH) + 1)
        }
        for path in sorted(seen, key=lambda each: (len(each), str(each))):
            for way in generalised(path, scene, index):
                fixed = all(isinstance(part, str) for part in way)
                if (fixed and len(way) <= 3) or any(isinstance(part, list) and part != ["last"] for part in way):
                    found.setdefault(repr(way), way)
    return sorted(found.values(), key=len)[:120]


def _scalars(samples: Sequence[Scene], paths: Sequence[list[Any]]) -> list[tuple[list[Any], list[Any]]]:
    """Cells at these ways that hold a scalar, with the values seen there."""
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    for scene in samples:
        for path in paths:
            try:
                value = evaluate(["cell", path], scene)
            except Unknown:
                continue
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                values = found.setdefault(repr(path), (path, []))[1]
                if value not in values:
                    values.append(value)
    return list(found.values())


def _telling(found: Iterable[Expression], samples: Sequence[Scene]) -> list[Expression]:
    """Those that are not alike in all samples, each once. The others tell nothing, and would crowd out what does."""
    kept: dict[str, Expression] = {}
    for each in found:
        written = repr(each)
        if written not in kept and len({holds(each, scene) for scene in samples}) > 1:
            kept[written] = each
            if len(kept) == _MOST_CONDITIONS:
                break
    return list(kept.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
