"""The forms in which instrumentations write messages and tools, read into those of OpenAI's chat."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

Json = dict[str, Any]

_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "function": "tool", "tool_result": "tool"}
_MOST_ITEMS = 10_000
"""Largest index in a flattened list; more messages than a conversation has."""


def loaded(value: Any) -> Any:
    """What JSON text holds; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value


def written(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    )


def objects(value: Any) -> list[Json]:
    """The objects in a list (or in its JSON, or one alone)."""
    found = loaded(value)
    found = [found] if isinstance(found, dict) else found
    found = [loaded(each) for each in found] if isinstance(found, list) else []
    return [each for each in found if isinstance(each, dict)]


def role_of(told: Any, default: str = "user") -> str:
    """A role by the name that OpenAI has for it."""
    name = str(told or default).lower()
    return _ROLES.get(name, name)


def tool_call(id: Any, name: Any, arguments: Any) -> Json:
    """A call to a tool, its arguments as text."""
    function = {"name": str(name or ""), "arguments": "{}" if arguments is None else written(arguments)}
    return {"id": str(id or ""), "type": "function", "function": function}


def tool(definition: Json) -> Json | None:
    """A tool offered to a model, from its definition in any of the usual forms; None when it has no name."""
    inner = definition.get("function")
    told: Json = inner if isinstance(inner, dict) else definition
    if not told.get("name"):
        return None
    parameters = loaded(told.get("parameters") or told.get("input_schema") or told.get("inputSchema"))
    function = {"name": told["name"], "description": told.get("description"), "parameters": parameters}
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def tools(definitions: Any) -> list[Json]:
    """Those of the definitions that name a tool."""
    return [found for each in objects(definitions) if (found := tool(each))]


def from_parts(message: Json) -> list[Json]:
    """The messages that one of the GenAI conventions' `{role, parts}` holds: each tool's result is one of its own."""
    content: list[Json] = []
    calls: list[Json] = []
    results: list[Json] = []
    reasoning: list[str] = []
    for part in objects(message.get("parts")):
        match part.get("type"):
            case "reasoning":
                reasoning.append(written(part.get("content", "")))
            case "tool_call":
                calls.append(
                    tool_call(
                        part.get("id"),
                        part.get("name"),
                        loaded(part.get("arguments"))
                        if not isinstance(part.get("arguments"), str)
                        else part["arguments"],
                    )
                )
            case "tool_call_response":
                result = part.get("response", part.get("result"))
                results.append({"role": "tool", "tool_call_id": str(part.get("id") or ""), "content": written(result)})
            case _:
                content.append(_content_part(part))
    if not content and not calls and not reasoning and results:
        return results
    joined: Json = {"role": role_of(message.get("role")), "content": simple_content(content)}
    joined.update(
        {
            name: value
            for name, value in (
                ("tool_calls", calls),
                ("reasoning_content", "".join(reasoning)),
                ("name", message.get("name")),
            )
            if value
        }
    )
    return [*results, joined]


def simple_content(parts: list[Json]) -> str | list[Json] | None:
    """Content parts as a text where they are one text."""
    if len(parts) == 1 and parts[0].get("type") == "text":
        return str(parts[0].get("text", ""))
    return parts or None


def read_message(message: Json) -> list[Json]:
    """The messages that one written in the conventions' way (with parts) or in OpenAI's way amounts to."""
    if "parts" in message:
        return from_parts(message)
    return [{**message, "role": role_of(message.get("role"))}]


def unflattened(attributes: Mapping[str, Any], prefix: str) -> list[Json]:
    """The list that attributes such as `{prefix}.0.message.role` spell, each item a nest of objects and lists."""
    items: dict[int, Json] = {}
    for name, value in attributes.items():
        if not name.startswith(prefix + "."):
            continue
        index, _, rest = name[len(prefix) + 1 :].partition(".")
        if index.isascii() and index.isdigit() and int(index) < _MOST_ITEMS and rest:
            _set(items.setdefault(int(index), {}), rest.split("."), value)
    return [_listed(items[index]) for index in sorted(items)]


def without_empty(message: Json) -> Json:
    """The message without the fields that nobody gave."""
    return {name: value for name, value in message.items() if value not in (None, [], "") or name == "content"}


def texts(items: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Tags: the pairs that have a value, as text."""
    return {name: written(value) for name, value in items if name and value not in (None, "", [], {})}


def _content_part(part: Json) -> Json:
    kind, modality = part.get("type"), part.get("modality")
    if kind == "text":
        return {"type": "text", "text": written(part.get("content", ""))}
    if kind == "uri" and modality in (None, "image") and part.get("uri"):
        return {"type": "image_url", "image_url": {"url": part["uri"]}}
    if kind == "blob" and modality in (None, "image") and part.get("content"):
        return {
            "type": "image_url",
            "image_url": {"url": f"data:{part.get('mime_type') or 'image/png'};base64,{part['content']}"},
        }
    if kind == "file" and part.get("file_id"):
        return {"type": "file", "file": {"file_id": part["file_id"]}}
    return part


def _set(into: Json, path: list[str], value: Any) -> None:
    for step in path[:-1]:
        inner = into.setdefault(step, {})
        if not isinstance(inner, dict):
            # A name is both a value and a prefix: the value came first, and the rest has nowhere to go.
            return
        into = inner
    into.setdefault(path[-1], value)


_NUMBER = re.compile(r"\d{1,5}", re.ASCII)


def _listed(value: Any) -> Any:
    """Objects whose keys are all numbers, as lists."""
    if not isinstance(value, dict):
        return value
    if value and all(_NUMBER.fullmatch(key) for key in value):
        return [_listed(value[key]) for key in sorted(value, key=int)]
    return {key: _listed(inner) for key, inner in value.items()}
