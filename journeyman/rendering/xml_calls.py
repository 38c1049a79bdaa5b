"""Tool calls in the `xml` style of Qwen3-Coder and whoever follows it: every argument in an element of its own.

    <tool_call>
    <function=look_up>
    <parameter=order>
    0017
    </parameter>
    </function>
    </tool_call>

A value is text as it stands, without quotes; that it is a number or an object, only the tool's schema says. One line
break behind the opening marker and one before the closing one are the format's. A value may speak of markers as long
as they pair up; where they do not, nobody knows where the value ends, and the call is no call.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from journeyman.records import FunctionCall

Schema = Mapping[str, Any]
KINDS = frozenset({"string", "integer", "number", "boolean", "null", "object", "array"})
_FUNCTION = re.compile(r"\s*<function=(?P<name>[^<>\n]+)>")
_PARAMETER = re.compile(r"\s*<parameter=(?P<name>[^<>\n]+)>")
_END_OF_VALUE = re.compile(r"\s*</parameter>")
_END_OF_CALL = re.compile(r"\s*</function>\s*</tool_call>")
_MARKER = re.compile(
    r"</(?P<closes>tool_call|function|parameter)>|<(?P<opens>tool_call(?=>)|(?:function|parameter)(?==))[^<>\n]*>"
)
_SPACE = re.compile(r"\s*")
_PYTHON = {"True": "true", "False": "false", "None": "null"}
"""What the published template makes of these values in earlier turns, and models therefore write."""
_REFERENCES_FOLLOWED = 8


def read_call(text: str, start: int, offered: Mapping[str, Schema | None]) -> tuple[FunctionCall | None, int]:
    """The call behind an opening `<tool_call>`, if there is one, and where to read on; `offered` says the schemas.

    Behind a call that cannot be read nothing else is, for what follows may be part of its value.
    """
    head = _FUNCTION.match(text, start)
    if head is None:
        return None, start
    parameters = offered.get(head["name"]) or {}
    arguments: dict[str, str] = {}
    at = head.end()
    while (opened := _PARAMETER.match(text, at)) is not None:
        value = _value(text, opened.end(), kinds_of_argument(parameters, opened["name"]))
        if value is None or opened["name"] in arguments:
            return None, len(text)
        arguments[opened["name"]], at = value
    closed = _END_OF_CALL.match(text, at)
    if closed is None:
        return None, len(text)
    written = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {value}" for name, value in arguments.items())
    return FunctionCall(name=head["name"], arguments=f"{{{written}}}"), closed.end()


def kinds_of_argument(parameters: Schema, name: str) -> frozenset[str] | None:
    """The JSON types that a tool's schema allows for one argument; None where it does not say."""
    properties = parameters.get("properties")
    return kinds_of(properties.get(name), parameters) if isinstance(properties, Mapping) else None


def kinds_of(schema: Any, root: Schema, references: int = _REFERENCES_FOLLOWED) -> frozenset[str] | None:
    """The JSON types that a schema allows, None where it does not say; `root` holds the definitions it refers to."""
    schema = followed(schema, root)
    if not isinstance(schema, Mapping) or references == 0:
        return None
    named = schema.get("type")
    if named is not None:
        kinds = frozenset(each for each in ([named] if isinstance(named, str) else named) if isinstance(each, str))
        return kinds if kinds and kinds <= KINDS else None
    if "const" in schema or isinstance(schema.get("enum"), list):
        return _united(_kinds_of_value(each) for each in schema.get("enum", [schema.get("const")]))
    for choice in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(choice), list):
            found = [kinds_of(each, root, references - 1) for each in schema[choice]]
            told = [each for each in found if each is not None]
            if choice == "allOf":
                return told[0] if told else None
            return _united(told) if len(told) == len(found) else None
    return None


def followed(schema: Any, root: Schema) -> Any:
    """The schema itself, or the definition in `root` that it refers to; None when that is nowhere."""
    for _ in range(_REFERENCES_FOLLOWED):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            return schema
        found: Any = root
        for step in schema["$ref"].removeprefix("#").strip("/").split("/"):
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        schema = found
    return None


def _value(text: str, start: int, kinds: frozenset[str] | None) -> tuple[str, int] | None:
    """The JSON of the value that begins at `start`, and where to read on; None when it does not end."""
    if kinds is not None and "string" not in kinds:
        # JSON says itself where it ends, whatever its strings spell.
        begun = _after(_SPACE, text, start)
        end = _end_of_json(text, begun)
        closed = _END_OF_VALUE.match(text, end) if end is not None else None
        if closed is not None:
            return text[begun:end], closed.end()
    closing = _closing(text, start)
    if closing is None:
        return None
    words = text[start : closing.start()].removeprefix("\n").removesuffix("\n")
    return _as_json(words, kinds), closing.end()


def _closing(text: str, start: int) -> re.Match[str] | None:
    """The marker that closes the value: what is opened inside must be closed inside."""
    opened = ["parameter"]
    for marker in _MARKER.finditer(text, start):
        if marker["opens"]:
            opened.append(marker["opens"])
        elif opened.pop() != marker["closes"]:
            return None
        elif not opened:
            return marker
    return None


def _as_json(words: str, kinds: frozenset[str] | None) -> str:
    """A value as JSON: of a type that the schema allows if it can be read as one, and words otherwise."""
    if kinds is not None:
        bare = _PYTHON.get(words.strip(), words.strip())
        is_json = _end_of_json(bare, 0) == len(bare)
        if is_json and ("string" not in kinds or _kinds_of_value(_JSON.decode(bare)) & (kinds - {"string"})):
            return bare
    return json.dumps(words, ensure_ascii=False)


def _end_of_json(text: str, start: int) -> int | None:
    try:
        return _JSON.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _kinds_of_value(value: Any) -> frozenset[str]:
    if value is None or isinstance(value, bool):
        return frozenset({"null" if value is None else "boolean"})
    if isinstance(value, int | float):
        return frozenset({"integer", "number"} if float(value).is_integer() else {"number"})
    return frozenset({"string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"})


def _united(kinds: Iterable[frozenset[str]]) -> frozenset[str] | None:
    return frozenset().union(*kinds) or None


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse)
