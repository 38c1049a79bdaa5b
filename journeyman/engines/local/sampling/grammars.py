"""What a reply may look like, as a grammar in llguidance's Lark: JSON of a schema, and calls of the tools there are.

A call is written in the model's own style, so what is forced is what the model has learned to write.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.engines.local.sampling.lark import json_of, quoted
from journeyman.engines.local.sampling.xml_arguments import any_arguments, arguments_of
from journeyman.errors import InvalidInput
from journeyman.records import Function, Tool
from journeyman.rendering.tool_calls import CLOSING, OPENING, CallStyle

ANY_OBJECT: dict[str, Any] = {"type": "object"}
_INDENTED = r"(\n {0,40}| )"
"""What may stand between the parts of an answer's JSON; of a call's it is one space. Without a bound, a model that is
unsure writes spaces until it is cut."""
_MARKERS = re.compile(f"({OPENING}|{CLOSING})")

Single = Callable[[str], int | None]
"""The id of a marker that is one token outside of all text, as `Grammars.single` says."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Which calls a reply may hold: at least one of `tools` when `forced`, several only with `many`."""

    style: CallStyle
    tools: Sequence[Tool]
    forced: bool = False
    many: bool = True

    @property
    def restricts(self) -> bool:
        """Whether anything but the model decides what it calls."""
        return self.forced or not self.many or any(_is_strict(tool.function) for tool in self.tools)


def reply_grammar(single: Single, answer: dict[str, Any] | None, calls: Calls | None, thinks: bool = False) -> str:
    """The grammar of a reply that is JSON of the schema `answer`, or `calls`, or (with no answer) words with calls."""
    rules: list[str] = []
    if calls is not None:
        rules += _calls(single, calls)
    if answer is not None:
        rules.append(f"answer: {json_of(answer, 'response_format', _INDENTED)}")
        start = "answer" if calls is None else "calls" if calls.forced else "answer | calls"
    elif calls is None or calls.forced:
        start = "calls"
    elif calls.style.opening:
        # Words end where a call begins; the last ones hold no beginning at all.
        start = f"(lead after_lead){'*' if calls.many else '?'} PLAIN"
        rules += _words(single)
    else:
        start = "calls | WORDS"
        rules.append(r"WORDS: /(.|\n)*/ & ~/[ \n]*\{(.|\n)*/")
    gap = "GAP? " if thinks else ""
    return "\n".join([f"start: {gap}({start})", *(["GAP: /[ \\n]{1,4}/"] if thinks else []), *rules]) + "\n"


def _calls(single: Single, calls: Calls) -> list[str]:
    rules, heads, rests = [], [], []
    for number, tool in enumerate(calls.tools):
        before, after = calls.style.around(tool.function.name)
        ending = f"arguments_{number} {_literal(single, after)}"
        heads.append(f"{_literal(single, before)} {ending}")
        rests.append(f"{_literal(single, before.removeprefix(calls.style.opening))} {ending}")
        schema = _parameters(tool.function, number) if calls.forced or _is_strict(tool.function) else None
        rules += _arguments(calls.style, number, schema)
    several = calls.many and bool(calls.style.opening)
    rules.append("calls: call" + (r' ("\n"? call)*' if several else ""))
    rules.append("call: " + " | ".join(heads))
    if not calls.forced and calls.style.opening:
        rules.append("after_lead: " + " | ".join(rests))
    return list(dict.fromkeys(rules))


def _arguments(style: CallStyle, number: int, schema: dict[str, Any] | None) -> list[str]:
    """The rules of one tool's arguments, which are of the schema, or any (None)."""
    rule, field = f"arguments_{number}", f"tools.{number}.function.parameters"
    if style.name == "xml":
        return any_arguments(rule) if schema is None else arguments_of(rule, schema, field)
    return [f"{rule}: {json_of(schema or ANY_OBJECT, field)}"]


def _words(single: Single) -> list[str]:
    if single(OPENING) is not None:
        return [f"lead: TEXT {OPENING}", r"TEXT: /(.|\n)*/", r"PLAIN: /(.|\n)*/"]
    written = re.escape(OPENING)
    return [
        f"lead[lazy]: TEXT {quoted(OPENING)}",
        r"TEXT: /(.|\n)*/",
        rf"PLAIN: /(.|\n)*/ & ~/(.|\n)*{written}(.|\n)*/",
    ]


def _literal(single: Single, text: str) -> str:
    """Fixed text, with its markers as tokens where the vocabulary has them as such."""
    parts: list[str] = []
    plain = ""
    for part in _MARKERS.split(text):
        if _MARKERS.fullmatch(part) and single(part) is not None:
            parts += [quoted(plain)] if plain else []
            parts.append(part)
            plain = ""
        else:
            plain += part
    parts += [quoted(plain)] if plain else []
    return " ".join(parts)


def _is_strict(function: Function) -> bool:
    return bool((function.model_extra or {}).get("strict"))


def _parameters(function: Function, number: int) -> dict[str, Any]:
    """The schema of a function's arguments; one that names no parameters takes none."""
    given = function.parameters
    if not given:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if given.get("type", "object") != "object":
        raise InvalidInput(f"tools.{number}.function.parameters: arguments are an object, so its type must be 'object'")
    return ANY_OBJECT | given
