"""Which parts of a tool's answers show which cells of the state: what laws between calls are made from.

A view says, for example, that `stock` in the answer of `read_item(item)` is the cell `shop/items/ITEM/stock`. It is
taken from the tool's rule, or from single recorded calls, and kept only when all recorded calls bear it out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.worlds.expressions import Expression, Scene, Unknown, evaluate, holds, same
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.rules import Rule
from journeyman.worlds.schemas import ToolShape
from journeyman.worlds.sourcing import is_told_by
from journeyman.worlds.state import MISSING, Path, read
from journeyman.worlds.synthesis import explained
from journeyman.worlds.transitions import Transition

_LOOKED_AT = 6
_TRIED_ON = 40
_FEWEST_BORNE_OUT = 3
_SHOWING = ("cell", "after", "keys", "count")


@dataclass(frozen=True)
class View:
    """`part` of the answer of a tool that only reads is `expression`, which looks at `path`, while all guards hold.

    `borne_out` counts the recorded calls that say so; none says otherwise.
    """

    tool: str
    part: Path
    expression: Expression
    guards: tuple[Expression, ...]
    borne_out: int

    @property
    def path(self) -> Sequence[Any]:
        """Where in the state it looks, as an expression's path."""
        found: Sequence[Any] = self.expression[1]
        return found

    def shown(self, arguments: Mapping[str, Any], document: Any) -> Any:
        """What the part must be in this state; MISSING when there is no such cell, or a guard does not hold."""
        scene = Scene(arguments, document, document)
        if not all(holds(guard, scene) for guard in self.guards):
            return MISSING
        try:
            return evaluate(self.expression, scene)
        except Unknown:
            return MISSING


def views(
    footprints: Mapping[str, Footprint], rules: Mapping[str, Rule], memory: Sequence[Transition]
) -> dict[str, list[View]]:
    """The views of every tool that changes nothing but what it told itself, by the first key of where they look."""
    calls: dict[str, list[Transition]] = {}
    for each in memory:
        if each.error is None and each.before is not None:
            calls.setdefault(each.tool, []).append(each)
    found: dict[str, list[View]] = {}
    for tool, own in calls.items():
        if not reads_only(tool, footprints.get(tool, Footprint())):
            continue
        spread = own[:: max(1, len(own) // _TRIED_ON)]
        for view in _distinct(_candidates(tool, rules.get(tool), spread)):
            borne_out = _borne_out(view, spread)
            if borne_out >= _FEWEST_BORNE_OUT and view.path:
                found.setdefault(str(view.path[0]), []).append(
                    View(tool, view.part, view.expression, view.guards, borne_out)
                )
    return found


def reads_only(tool: str, footprint: Footprint) -> bool:
    """Whether no recorded call changed anything but the table of what the tool told."""
    return all(is_told_by(tool, table) for table in footprint.writes)


def bound(
    view: View, changed: Path, document: Any, shape: ToolShape, known: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Arguments under which the view looks at the changed cell, at what is around it, or at a part of it.

    Arguments that the path does not say are taken from `known` (the call that changed it, earlier calls). None when
    the view never looks there, or a required argument stays unknown.
    """
    arguments: dict[str, Any] = {}
    for place, (part, key) in enumerate(zip(view.path, changed, strict=False)):
        match part:
            case str() | int():
                if str(part) != str(key):
                    return None
            case ["arg", name, *_]:
                arguments[name] = _typed(shape, name, key)
            case ["where", field, ["arg", name, *_]]:
                item = read(document, changed[: place + 1])
                if not isinstance(item, Mapping) or field not in item:
                    return None
                arguments[name] = item[field]
            case _:
                scene = Scene({**known, **arguments}, document, document)
                try:
                    if part == ["last"] or str(evaluate(part, scene)) != str(key):
                        return None
                except Unknown:
                    return None
    named = shape.arguments.get("properties", {})
    arguments = {name: value for name, value in arguments.items() if name in named}
    missing = [name for name in shape.arguments.get("required", ()) if name not in arguments]
    if any(name not in known for name in missing):
        return None
    return arguments | {name: known[name] for name in missing}


def part_of(observation: Any, part: Path) -> Any:
    """That part of an answer; MISSING when it has none."""
    return read(observation, part)


def _candidates(tool: str, rule: Rule | None, calls: Sequence[Transition]) -> Iterator[View]:
    if rule is not None:
        for case in rule.cases:
            if case.error is None:
                yield from (View(tool, p, e, case.guards, 0) for p, e in _parts(case.observation, ()))
        return
    for call in calls[:_LOOKED_AT]:
        alone = explained(call)
        if alone is not None:
            yield from (View(tool, p, e, (), 0) for p, e in _parts(alone.observation, ()))


def _parts(expression: Expression, part: Path) -> Iterator[tuple[Path, Expression]]:
    match expression:
        case ["object", fields]:
            for key, inner in fields.items():
                yield from _parts(inner, (*part, key))
        case ["list", items]:
            for place, inner in enumerate(items):
                yield from _parts(inner, (*part, place))
        case [word, _] if word in _SHOWING:
            yield part, expression


def _borne_out(view: View, calls: Sequence[Transition]) -> int:
    """How many recorded calls say so; 0 when one says otherwise, or all show one and the same value."""
    told = []
    for call in calls:
        expected = view.shown(call.arguments, call.before)
        if expected is MISSING:
            continue
        if not same(part_of(call.observation, view.part), expected):
            return 0
        told.append(str(expected))
    return len(told) if len(set(told)) > 1 else 0


def _distinct(found: Iterator[View]) -> list[View]:
    return list({str((view.part, view.expression, view.guards)): view for view in found}.values())


def _typed(shape: ToolShape, name: str, key: str | int) -> Any:
    """A key of the state as the argument that it stands for: keys are texts, arguments may be numbers."""
    kind = shape.arguments.get("properties", {}).get(name, {}).get("type")
    if kind == "integer" and isinstance(key, str) and key.lstrip("-").isdigit():
        return int(key)
    return key
