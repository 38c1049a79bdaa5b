"""What a model is asked about a call, and what it should have said: short, so that small models can be taught it.

It is shown the call, the rows of the state that the tool reads or writes (those that the call names first), and the
nearest recorded calls with what came of them. It says the outcome, a JSON patch, and the tool's answer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.records import Message
from journeyman.records.message import system, user
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.learned.patches import OPERATIONS, from_patch, pointer, to_patch
from journeyman.worlds.replay import Recorded
from journeyman.worlds.schemas import Schema, ToolShape
from journeyman.worlds.state import MISSING, Path, State, difference, leaves, read
from journeyman.worlds.transitions import Transition

VERSION = "world-model/1"
OK = "ok"
MOST_CELLS = 2
"""Changes of more cells than this are not a model's business."""
NEIGHBOURS = 3
_SYSTEM = (
    "You are the system behind these tools. Say what comes of the call, as JSON: the outcome, the JSON patch of the "
    "state, the tool's answer."
)
_MOST_STATE = 700
_MOST_OF_NEIGHBOUR = 240
_LONGEST_ROW = 200
_SHORTEST_NAME = 2


def question_of(
    tool: str,
    arguments: Mapping[str, Any],
    state: State,
    shape: ToolShape,
    footprint: Footprint,
    similar: Sequence[Transition],
) -> tuple[Message, ...]:
    """The conversation that a model answers with what comes of the call."""
    lines = [f"call {tool} {_json(dict(arguments))}"]
    kinds = [OK, *sorted(shape.errors, key=lambda kind: -shape.errors[kind])]
    lines.append(f"outcomes {_json(kinds[:6])}")
    lines.append("state")
    lines += _rows(state.document, footprint, arguments, _MOST_STATE)
    for call in similar[:NEIGHBOURS]:
        lines.append(f"earlier {_json(dict(call.arguments))}")
        lines += _rows(call.before or {}, footprint, call.arguments, _MOST_OF_NEIGHBOUR, named_only=True)
        lines.append(f"gave {answer_to(call)}")
    return system(_SYSTEM), user("\n".join(lines))


def answer_to(call: Transition) -> str:
    """What should be said of a recorded call."""
    patch = to_patch(difference(call.before, call.after), call.before or {})
    return _json({"outcome": call.error or OK, "patch": patch, "answer": call.observation})


def schema_of(shape: ToolShape) -> Schema:
    """The JSON Schema that an answer about this tool must fit, for engines that hold a model to one."""
    results = [each for each in (shape.result, shape.error_result) if each is not None]
    operation = {
        "type": "object",
        "properties": {"op": {"enum": list(OPERATIONS)}, "path": {"type": "string"}, "value": {}},
        "required": ["op", "path"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "outcome": {"enum": [OK, *sorted(shape.errors)]},
            "patch": {"type": "array", "items": operation, "maxItems": MOST_CELLS},
            "answer": results[0] if len(results) == 1 else {"anyOf": results},
        },
        "required": ["outcome", "patch", "answer"],
        "additionalProperties": False,
    }


def read_answer(text: str, shape: ToolShape, document: Mapping[str, Any]) -> Recorded | str:
    """What a model said, as a proposal without confidence; or why it is none."""
    try:
        said = json.loads(text)
    except ValueError:
        return "it is no JSON"
    if not isinstance(said, dict) or not {"outcome", "patch", "answer"} <= said.keys():
        return "it lacks outcome, patch or answer"
    outcome, patch = said["outcome"], said["patch"]
    if outcome != OK and outcome not in shape.errors:
        return "the tool was never seen to end like that"
    if not isinstance(patch, list) or not all(isinstance(each, dict) for each in patch):
        return "its patch is no list of operations"
    if len(patch) > MOST_CELLS:
        return f"it changes more than {MOST_CELLS} places"
    try:
        changes = from_patch(patch, document)
    except InvalidInput as problem:
        return str(problem)
    return Recorded(said["answer"], changes, None if outcome == OK else str(outcome), 0.0, ())


def _rows(
    document: Mapping[str, Any],
    footprint: Footprint,
    arguments: Mapping[str, Any],
    most: int,
    *,
    named_only: bool = False,
) -> list[str]:
    """Lines of the state, those that the call names first, as many as there is room for."""
    names = {str(value) for _, value in leaves(dict(arguments)) if len(str(value)) >= _SHORTEST_NAME}
    found = [line for table in footprint.touched for line in _lines(read(document, table), table)]
    named = [line for line in found if any(name in line for name in names)]
    rest = [] if named_only else sorted((line for line in found if line not in named), key=len)
    kept, room = [], most
    for line in [*named, *rest]:
        if len(line) <= room:
            kept.append(line)
            room -= len(line)
    return kept


def _lines(value: Any, path: Path) -> Iterator[str]:
    if value is MISSING:
        return
    line = f"{pointer(path)} {_json(value)}"
    if len(line) <= _LONGEST_ROW or not isinstance(value, Mapping | list) or not value:
        yield line[:_LONGEST_ROW]
        return
    inner = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, each in inner:
        yield from _lines(each, (*path, key))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
