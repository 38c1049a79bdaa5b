"""Twins that are data: what a tool does, as a list of cases found in its calls. Reading one runs no code."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.worlds.expressions import Expression, Scene, Unknown, evaluate, holds, resolve
from journeyman.worlds.state import Change, Path, applied


@dataclass(frozen=True)
class Write:
    """One change of a case: an operation, where, and the new value."""

    op: str
    path: Sequence[Any]
    value: Expression


@dataclass(frozen=True)
class Case:
    """When all of `guards` hold, the tool changes `writes` and answers `observation`; `error` is its kind of error.

    `seen` counts the calls that it was made from.
    """

    guards: tuple[Expression, ...]
    writes: tuple[Write, ...]
    observation: Expression
    error: str | None
    seen: int


@dataclass(frozen=True)
class Rule:
    """All cases of a tool, in the order in which they are tried."""

    tool: str
    cases: tuple[Case, ...]

    def run(self, arguments: Mapping[str, Any], document: Any) -> tuple[Any, tuple[Change, ...], str | None]:
        """What the tool answers, what it changes, and the kind of error; Unknown when no case says so.

        InvalidInput when a change does not fit the state.
        """
        scene = Scene(arguments, document)
        place = self.case_of(arguments, document)
        if place is None:
            raise Unknown(f"no case of {self.tool} fits")
        case = self.cases[place]
        changes = tuple(_change(write, scene) for write in case.writes)
        after = applied(document, changes) if changes else document
        return evaluate(case.observation, Scene(arguments, document, after)), changes, case.error

    def case_of(self, arguments: Mapping[str, Any], document: Any) -> int | None:
        """The place of the first case whose guards hold; None when there is none."""
        scene = Scene(arguments, document)
        for place, case in enumerate(self.cases):
            if all(holds(guard, scene) for guard in case.guards):
                return place
        return None

    def reads(self) -> tuple[Path, ...]:
        """The tables that guards, answers and values look at, as far as their names are fixed."""
        found: dict[Path, None] = {}
        for case in self.cases:
            for expression in (*case.guards, case.observation, *(write.value for write in case.writes)):
                found |= dict.fromkeys(_tables(expression))
        return tuple(found)

    def roots(self) -> set[str]:
        """The keys at the top of the state below which guards, answers and values look."""
        found = [*(case.observation for case in self.cases), *(guard for case in self.cases for guard in case.guards)]
        values = [write.value for case in self.cases for write in case.writes]
        return {
            str(path[0]) for expression in (*found, *values) for path in _ways(expression) if isinstance(path[0], str)
        }

    def wire(self) -> dict[str, Any]:
        """As JSON, for a world's file."""
        cases = [
            {
                "guards": list(case.guards),
                "writes": [{"op": w.op, "path": list(w.path), "value": w.value} for w in case.writes],
                "observation": case.observation,
                "error": case.error,
                "seen": case.seen,
            }
            for case in self.cases
        ]
        return {"tool": self.tool, "cases": cases}

    @classmethod
    def read(cls, wire: Mapping[str, Any]) -> "Rule":
        """A rule from its JSON."""
        return cls(
            wire["tool"],
            tuple(
                Case(
                    tuple(case["guards"]),
                    tuple(Write(w["op"], w["path"], w["value"]) for w in case["writes"]),
                    case["observation"],
                    case["error"],
                    case["seen"],
                )
                for case in wire["cases"]
            ),
        )


def _tables(expression: Any) -> Iterator[Path]:
    for path in _ways(expression):
        if all(isinstance(part, str) for part in path[:2]):
            yield tuple(path[:2])


def _ways(expression: Any) -> Iterator[Sequence[Any]]:
    """Every way into the state that an expression goes."""
    if isinstance(expression, Mapping):
        for inner in expression.values():
            yield from _ways(inner)
    elif isinstance(expression, Sequence) and not isinstance(expression, str) and expression:
        if expression[0] in ("cell", "after", "keys", "count", "has", "holds") and len(expression) > 1:
            path = expression[1]
            if isinstance(path, Sequence) and path:
                yield path
        for inner in expression[1:]:
            yield from _ways(inner)


def _change(write: Write, scene: Scene) -> Change:
    path = resolve(write.path, scene, scene.before)
    value = None if write.op == "delete" else evaluate(write.value, scene)
    return Change(write.op, path, value)  # type: ignore[arg-type]
