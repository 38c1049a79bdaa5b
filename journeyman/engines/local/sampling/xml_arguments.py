"""The grammar of arguments in elements of their own, as `journeyman.rendering.xml_calls` reads them.

Values that are not text are JSON of their schema. Of text, length and a list of choices can be enforced; a pattern or
a format cannot, and is refused.
"""

from collections.abc import Iterator
from typing import Any

from journeyman.engines.local.sampling.lark import json_of, quoted
from journeyman.errors import InvalidInput
from journeyman.rendering.xml_calls import followed, kinds_of

_END = "\n</parameter>\n"
_TOLD = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"})
"""What a schema says of a value without limiting it."""
_OF_THE_WHOLE = _TOLD | {
    "type", "properties", "required", "additionalProperties", "$defs", "definitions", "$schema", "$id"
}  # fmt: skip
_NO_MARKER = r"~/(.|\n)*<\/?(tool_call|function|parameter)[=>](.|\n)*/"
"""Text that holds a marker may not be read back as one value."""


def any_arguments(rule: str) -> list[str]:
    """The rules by which arguments of any name and value are written."""
    words, rules = _words({})
    return [rf'{rule}: ("<parameter=" NAME ">\n" {words})*', r"NAME: /[^<>\n]{1,64}/", *rules]


def arguments_of(rule: str, parameters: dict[str, Any], where: str) -> list[str]:
    """The rules by which arguments of a JSON Schema are written, in its order; `where` is its place in the request."""
    if unknown := sorted(parameters.keys() - _OF_THE_WHOLE):
        raise _cannot(where, f"it asks for {', '.join(unknown)} of all arguments together")
    properties = parameters.get("properties") or {}
    if not properties and not parameters.get("required") and parameters.get("additionalProperties") is not False:
        return any_arguments(rule)
    required = parameters.get("required") or []
    named = properties | {name: {} for name in required if name not in properties}
    return _Arguments(rule, parameters, where).rules(named, required)


def _cannot(where: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{where}: this schema cannot be enforced: {why}, which this model's way of writing calls has no room for; "
        "change it, or leave it out"
    )


def _words(schema: dict[str, Any]) -> tuple[str, list[str]]:
    """A value of text with its end, as the name of a rule, and the rules."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    name = f"words_{least}_{most}".rstrip("_")
    text = r"/(.|\n)*/" if (least, most) == (0, "") else rf"/(.|\n){{{least},{most}}}/"
    return name, [f"{name}[lazy]: {name.upper()} {quoted(_END)}", f"{name.upper()}: {text} & {_NO_MARKER}"]


class _Arguments:
    """Writes the rules of one tool's arguments."""

    def __init__(self, rule: str, root: dict[str, Any], where: str) -> None:
        self._rule, self._root, self._where = rule, root, where
        self._rules: list[str] = []

    def rules(self, properties: dict[str, Any], required: list[str]) -> list[str]:
        """The rule of all arguments, and those that it needs."""
        elements = []
        for number, (name, schema) in enumerate(properties.items()):
            if not name or set(name) & set("<>\n"):
                raise _cannot(self._where, f"an argument is called {name!r}")
            opening = quoted(f"<parameter={name}>\n")
            values = " | ".join(self._values(schema, f"{self._rule}_{number}"))
            elements.append(f"({opening} ({values}))" + ("" if name in required else "?"))
        return [f"{self._rule}: {' '.join(elements) or quoted('')}", *self._rules]

    def _values(self, schema: Any, rule: str) -> Iterator[str]:
        """The forms of a value, each with its end."""
        schema = followed(schema, self._root)
        if not isinstance(schema, dict):
            raise _cannot(self._where, "it refers to what is not there, or is no object")
        limits = schema.keys() - _TOLD
        for choice in ("anyOf", "oneOf"):
            if choice in limits:
                yield from self._chosen(schema[choice], limits - {choice, "type"}, rule)
                return
        kinds = kinds_of(schema, self._root)
        if kinds is not None and "string" not in kinds:
            definitions = {name: each for name, each in self._root.items() if name in ("$defs", "definitions")}
            self._rules.append(f"{rule}: {json_of(definitions | schema, self._where)}")
            yield f"{rule} {quoted(_END)}"
        elif limits & {"enum", "const"}:
            yield from self._listed(schema, limits)
        else:
            yield self._text(schema, limits, kinds)

    def _listed(self, schema: dict[str, Any], limits: set[str]) -> Iterator[str]:
        choices = schema.get("enum", [schema.get("const")])
        if limits - {"type", "enum", "const"} or not all(isinstance(each, str) for each in choices):
            raise _cannot(self._where, "a list of choices that has further limits or is not all text")
        yield from (quoted(each + _END) for each in choices)

    def _text(self, schema: dict[str, Any], limits: set[str], kinds: frozenset[str] | None) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10**9)
        kept = {"type", "minLength", "maxLength"} if kinds == frozenset({"string"}) else {"type"}
        if limits - kept:
            raise _cannot(self._where, f"it asks for {', '.join(sorted(limits - kept))} of text")
        if not (isinstance(least, int) and isinstance(most, int) and 0 <= least <= most):
            raise _cannot(self._where, f"text of {least!r} to {most!r} characters")
        name, rules = _words(schema)
        self._rules += rules
        return name

    def _chosen(self, parts: list[Any], limits: set[str], rule: str) -> Iterator[str]:
        found = [list(self._values(part, f"{rule}_{number}")) for number, part in enumerate(parts)]
        free = any(name.startswith("words_") for names in found for name in names)
        limited = [followed(part, self._root).keys() - _TOLD - {"type"} for part in parts]
        if limits or (free and any(limited)):
            # Free text could be the number that the other form's limits exclude.
            raise _cannot(self._where, "text beside values that have limits")
        for names in found:
            yield from names
