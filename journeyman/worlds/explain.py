"""Which expressions could have given a value: what rules are made of, and how a neighbour's answer is carried over."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from journeyman.worlds.expressions import Expression, Scene
from journeyman.worlds.state import Path, read

_MOST_PATHS = 24
_MOST_WAYS = 12
_SHALLOW = 3
_FACTORS = (1, -1, 0.01, -0.01, 100, -100)
_MOST_NUMBERS = 24
_MOST_TEXTS = 40
_SHORTEST_PART = 2
_Part = tuple[Expression, str]
"""An expression, and the text that it gives."""


class Index:
    """Where each value stands in a document, so that the places of one are found at once."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.places: dict[str, list[Path]] = {}
        self.shallow: dict[str, list[Path]] = {}
        """Scalars near the top: counters, the current user, the current folder."""
        self.numbers: list[tuple[Path, float]] = []
        for path, value in _everything(document, ()):
            written = written_as(value)
            self.places.setdefault(written, []).append(path)
            scalar = not isinstance(value, Mapping | list)
            if scalar and len(path) <= _SHALLOW and value is not None and not isinstance(value, bool):
                self.shallow.setdefault(str(value), []).append(path)
            if isinstance(value, int | float) and not isinstance(value, bool) and len(path) <= _SHALLOW + 1:
                self.numbers.append((path, value))


def candidates(value: Any, scene: Scene, before: Index, after: Index | None = None) -> Iterator[Expression]:
    """Expressions that give `value` in this scene, likeliest first. `after`: results may show what the call changed."""
    scalar = not isinstance(value, Mapping | list)
    for name, given in scene.arguments.items():
        if written_as(given) == written_as(value):
            yield ["arg", name]
    for word, index in (("cell", before), ("after", after)):
        if index is not None:
            for path in index.places.get(written_as(value), ())[:_MOST_PATHS]:
                for way in generalised(path, scene, index):
                    yield [word, way]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        yield from _as_keys(value, scene, after or before)
    if scalar and isinstance(value, str):
        yield from _as_text(value, scene, before)
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _as_number(value, scene, after or before)


def changed_number(value: Any, old: Expression, old_value: Any, scene: Scene, before: Index) -> Iterator[Expression]:
    """Expressions that give a cell's new number from its old one and something of the call."""
    if not _numeric(value) or not _numeric(old_value) or isinstance(value, str) != isinstance(old_value, str):
        return
    change = float(value) - float(old_value)
    sources: list[tuple[Expression, float]] = [
        (["arg", name], float(given)) for name, given in scene.arguments.items() if _is_number(given)
    ]
    sources += [(["cell", way], number) for path, number in before.numbers for way in generalised(path, scene, before)]
    for source, number in sources[: 3 * _MOST_NUMBERS]:
        for factor in _FACTORS:
            if number and abs(factor * number - change) <= 1e-9 * max(1.0, abs(change), abs(float(old_value))):
                yield ["sum", old, source, factor]
    for (one, first), (other, second) in product(sources[:_MOST_NUMBERS], sources[:_MOST_NUMBERS]):
        for factor in (1, -1):
            if first * second and abs(factor * first * second - change) <= 1e-9 * max(1.0, abs(change)):
                yield ["sum", old, ["product", one, other], factor]
    if change:
        yield ["sum", old, ["const", _plain(change)], 1]


def generalised(path: Path, scene: Scene, index: Index) -> list[list[Any]]:
    """A path as ways to it: keys that the call names, that another cell names, or that stand fast."""
    ways: list[list[Any]] = []
    for depth, part in enumerate(path):
        ways.append(list(_ways_of(path, depth, part, scene, index)))
    return [list(way) for way, _ in zip(product(*ways), range(_MOST_WAYS), strict=False)]


def written_as(value: Any) -> str:
    """A value as one text that tells it from every other."""
    return json.dumps(value, sort_keys=True, default=str)


def _ways_of(path: Path, depth: int, part: str | int, scene: Scene, index: Index) -> Iterator[Any]:
    if isinstance(part, int):
        yield from _ways_of_place(read(index.document, path[:depth]), part, scene)
        return
    if depth:
        for argument, given in scene.arguments.items():
            if isinstance(given, str | int) and not isinstance(given, bool) and str(given) == part:
                yield ["arg", argument]
        for place in index.shallow.get(part, ())[:3]:
            if place != path[: len(place)]:
                yield ["cell", list(place)]
    yield part


def _ways_of_place(items: Any, place: int, scene: Scene) -> Iterator[Any]:
    """An item by a field that the call names, as the last one, or by its place."""
    item = items[place]
    for name, inner in item.items() if isinstance(item, Mapping) else ():
        for argument, given in scene.arguments.items():
            if not isinstance(given, bool) and written_as(given) == written_as(inner):
                yield ["where", name, ["arg", argument]]
    if place == len(items) - 1:
        yield ["last"]
    yield place


def _as_keys(value: list[Any], scene: Scene, index: Index) -> Iterator[Expression]:
    for path, found in _containers(index):
        if isinstance(found, Mapping) and list(found) == value and value:
            for way in generalised(path, scene, index):
                yield ["keys", way]


def _as_text(value: str, scene: Scene, before: Index) -> Iterator[Expression]:
    """The text with the arguments, and then the near cells, that it repeats taken out."""
    named: list[_Part] = [(["arg", name], str(given)) for name, given in scene.arguments.items() if _sayable(given)]
    named += [
        (["first", ["arg", name]], str(given[0]))
        for name, given in scene.arguments.items()
        if isinstance(given, str | list) and given and _sayable(given[0])
    ]
    shallow = [(text, paths[0]) for text, paths in before.shallow.items() if len(text) > _SHORTEST_PART]
    cells: list[_Part] = [(["cell", list(path)], text) for text, path in shallow]
    for text, paths in before.shallow.items():
        if "/" in text and text.rpartition("/")[0] == value:
            yield ["parent", ["cell", list(paths[0])]]
    longer = [source for source in named if len(source[1]) > _SHORTEST_PART]
    tried: list[list[_Part]] = [longer, named, [*named, *cells], [*longer, *cells]]
    for sources in tried:
        parts = _taken_out(value, sorted(sources, key=lambda source: -len(source[1])))
        if any(part[0] != "const" for part in parts):
            yield ["text", parts]


def _taken_out(value: str, sources: list[_Part]) -> list[Expression]:
    for expression, text in sources:
        at = _place_of(text, value)
        if at is not None:
            head, tail = value[:at], value[at + len(text) :]
            return [*_taken_out(head, sources), expression, *_taken_out(tail, sources)]
    return [["const", value]] if value else []


def _place_of(text: str, value: str) -> int | None:
    """Where a text stands in another; a short one only where no word or number goes on, as letters are everywhere."""
    at = value.find(text)
    while at >= 0:
        end = at + len(text)
        cuts = value[max(0, at - 1) : at + 1], value[end - 1 : end + 1]
        if len(text) > _SHORTEST_PART or not any(len(cut) > 1 and (cut.isalpha() or cut.isdigit()) for cut in cuts):
            return at
        at = value.find(text, at + 1)
    return None


def _as_number(value: float, scene: Scene, index: Index) -> Iterator[Expression]:
    for path, found in _containers(index):
        if len(found) == value and len(path) <= _SHALLOW:
            for way in generalised(path, scene, index):
                yield ["count", way]
    for path, text in _texts(index):
        for measure, count in (("length", len(text)), ("words", len(text.split())), ("lines", len(text.splitlines()))):
            if count == value:
                yield from ([measure, ["cell", way]] for way in generalised(path, scene, index))
    given: list[tuple[Expression, float]] = [
        (["arg", name], number) for name, number in scene.arguments.items() if _is_number(number)
    ]
    near = [(["cell", way], n) for path, n in index.numbers[:_MOST_NUMBERS] for way in generalised(path, scene, index)]
    for (one, first), (other, second) in product(given, [*given, *near]):
        if first * second == value:
            yield ["product", one, other]
        if first + second == value:
            yield ["sum", one, other, 1]
        if first - second == value:
            yield ["sum", one, other, -1]


def _texts(index: Index) -> Iterator[tuple[Path, str]]:
    yield from islice(((p, v) for p, v in _everything(index.document, ()) if isinstance(v, str)), _MOST_TEXTS)


def _containers(index: Index) -> Iterator[tuple[Path, Any]]:
    for path, value in _everything(index.document, ()):
        if isinstance(value, Mapping | list):
            yield path, value


def _everything(document: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(document, Mapping):
        for key, inner in document.items():
            yield (*path, key), inner
            yield from _everything(inner, (*path, key))
    elif isinstance(document, list):
        for place, inner in enumerate(document):
            yield (*path, place), inner
            yield from _everything(inner, (*path, place))


def _sayable(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and bool(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numeric(value: Any) -> bool:
    if _is_number(value):
        return True
    if not isinstance(value, str):
        return False
    whole, _, rest = value.removeprefix("-").partition(".")
    return whole.isdigit() and (not rest or rest.isdigit())


def _plain(number: float) -> float:
    return int(number) if number == int(number) else round(number, 9)
