"""What a tool takes and tells, inferred from its calls: JSON Schema, as far as shapes go."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from journeyman.worlds.transitions import Transition

Schema = dict[str, Any]
JSON_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_MOST_NAMES = 12
"""An object with more different keys than this, most of them rare, is a map: its keys are data."""
_FEWEST_OF_A_SHAPE = 3
_FEWEST_IDS = 8
_MOST_LOOKS = 3


@dataclass(frozen=True)
class ToolShape:
    """One tool: the schemas of its arguments, of its results and of its errors, and how often it was seen.

    A schema is None where no result, or no error, was seen. `errors` counts by kind. `changed_at` is where a tool's
    results took another shape for good, in the order of its calls: what was before is another tool's, so to speak, and
    the schema is that of the calls after it. `looks` are the kinds of ids that were given, by argument, where they are
    few.
    """

    tool: str
    arguments: Schema
    result: Schema | None
    error_result: Schema | None
    calls: int
    errors: Mapping[str, int]
    changed_at: str | None = None
    looks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def infer(values: Sequence[Any]) -> Schema:
    """A schema that all of `values` fit, no wider than their shapes need."""
    types = sorted({type_of(value) for value in values})
    if "integer" in types and "number" in types:
        types.remove("integer")
    found: Schema = {"type": types[0] if len(types) == 1 else types}
    objects = [value for value in values if isinstance(value, Mapping)]
    items = [item for value in values if isinstance(value, list) for item in value]
    if objects:
        found |= _object(objects)
    if items:
        found["items"] = infer(items)
    return found


def fits(schema: Schema, value: Any) -> bool:
    """Whether a value has the shape that a schema of `infer` says."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = type_of(value)
    if kind not in types and not (kind == "integer" and "number" in types):
        return False
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", False)
        if not set(schema.get("required", ())) <= value.keys():
            return False
        return all(
            fits(properties[key], inner) if key in properties else bool(rest) and fits(rest, inner)
            for key, inner in value.items()
        )
    if isinstance(value, list):
        return not value or ("items" in schema and all(fits(schema["items"], item) for item in value))
    return True


def is_valid(shape: ToolShape, observation: Any, error: str | None) -> bool:
    """Whether a result, or an error, looks as those of the tool did; a kind of result never seen does not."""
    schema = shape.result if error is None else shape.error_result
    return schema is not None and fits(schema, observation)


def look_of(value: str) -> str:
    """What kind of name a text is: numbers are `#`; letters beside them stay, as in ids; words are `a` and `Aa`."""
    if any(letter.isdigit() for letter in value):
        return re.sub(r"\d+", "#", value)
    return re.sub(r"[^\W\d_a-z]", "A", re.sub(r"[a-z]+", "a", value))


def is_strange(shape: ToolShape, arguments: Mapping[str, Any]) -> bool:
    """Whether a tool that was never seen to refuse is given a name unlike all ids that it was ever given."""
    if shape.error_result is not None:
        return False
    given = ((name, value) for name, value in arguments.items() if isinstance(value, str))
    return any(name in shape.looks and look_of(value) not in shape.looks[name] for name, value in given)


def shapes(transitions: Sequence[Transition]) -> dict[str, ToolShape]:
    """The shape of every tool that was called."""
    by_tool: dict[str, list[Transition]] = {}
    for each in transitions:
        by_tool.setdefault(each.tool, []).append(each)
    return {tool: _shape(calls) for tool, calls in sorted(by_tool.items())}


def after_change(transitions: Sequence[Transition]) -> list[Transition]:
    """The calls from each tool's last change of shape on: those that say how the tool is now."""
    by_tool: dict[str, list[Transition]] = {}
    for each in transitions:
        by_tool.setdefault(each.tool, []).append(each)
    old = {id(each) for calls in by_tool.values() for each in calls[: _change(calls) or 0]}
    return [each for each in transitions if id(each) not in old]


def _shape(calls: Sequence[Transition]) -> ToolShape:
    cut = _change(calls)
    now = calls[cut or 0 :]
    return ToolShape(
        tool=calls[0].tool,
        arguments=infer([dict(each.arguments) for each in now]),
        result=_of_results([each for each in now if each.error is None]),
        error_result=_of_results([each for each in now if each.error is not None]),
        calls=len(calls),
        errors=dict(Counter(each.error for each in calls if each.error is not None)),
        changed_at=None if cut is None else calls[cut].name,
        looks=_looks(now),
    )


def _looks(calls: Sequence[Transition]) -> dict[str, list[str]]:
    given: dict[str, list[Any]] = {}
    for each in calls:
        for name, value in each.arguments.items():
            given.setdefault(name, []).append(value)
    found = {name: {look_of(value) for value in values if isinstance(value, str)} for name, values in given.items()}
    return {
        name: sorted(looks)
        for name, looks in found.items()
        if len(given[name]) >= _FEWEST_IDS and 0 < len(looks) <= _MOST_LOOKS and all("#" in look for look in looks)
    }


def _of_results(calls: Sequence[Transition]) -> Schema | None:
    return infer([each.observation for each in calls]) if calls else None


def _change(calls: Sequence[Transition]) -> int | None:
    """Where results last began to have other keys for good: no shape comes again, and each is seen often enough."""
    keyed = [
        (place, frozenset(each.observation))
        for place, each in enumerate(calls)
        if each.error is None and isinstance(each.observation, Mapping)
    ]
    runs = [(keys, [place for place, _ in run]) for keys, run in groupby(keyed, key=itemgetter(1))]
    for_good = len({keys for keys, _ in runs}) == len(runs)
    often = all(len(places) >= _FEWEST_OF_A_SHAPE for _, places in runs)
    return runs[-1][1][0] if len(runs) > 1 and for_good and often else None


def _object(objects: Sequence[Mapping[str, Any]]) -> Schema:
    counts = Counter(key for each in objects for key in each)
    if len(counts) > _MOST_NAMES and max(counts.values()) <= max(1, len(objects) // 2):
        return {"additionalProperties": infer([inner for each in objects for inner in each.values()])}
    return {
        "properties": {key: infer([each[key] for each in objects if key in each]) for key in sorted(counts)},
        "required": sorted(key for key, count in counts.items() if count == len(objects)),
    }


def type_of(value: Any) -> str:
    """The name of a value's type in JSON Schema; TypeError for what is no JSON."""
    for kind, name in (
        (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (Mapping, "object"), (list, "array"),
    ):  # fmt: skip
        if isinstance(value, kind):
            return name
    if value is None:
        return "null"
    raise TypeError(f"{json.dumps(value, default=repr)} is no JSON")
