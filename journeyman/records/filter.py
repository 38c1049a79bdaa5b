"""Field, operator, value; and, or: one language for trace lists, dataset definitions and monitors.

    state = complete and tags.stage = production and usage.total_tokens > 100
    model = support or (model = "gpt-4.1" and session != null)

A value is a bare word, a quoted string, a number, true, false or null. `~` means "contains". A field whose name
holds spaces or signs is quoted as a whole: `"tags.first call" = yes`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from journeyman.errors import InvalidInput
from journeyman.records.record import Frozen

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
Value = str | Annotated[float, Field(allow_inf_nan=False)] | bool | None

MAX_DEPTH = 50
"""Parentheses inside parentheses; far more than a person writes, far less than the interpreter's stack."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])|(?P<operator><=|>=|!=|=|<|>|~)|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s()=<>!~"]+))""",
    re.DOTALL,
)
_BARE = re.compile(r'[^\s()=<>!~"]+')
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}


class Condition(Frozen):
    """One comparison. `field` is a dotted path into the record, such as `tags.stage`."""

    field: str
    operator: Operator
    value: Value


class Filter(Frozen):
    """Conditions and nested filters, all of which (`and`) or any of which (`or`) must hold. Empty `and`: everything."""

    join: Literal["and", "or"] = "and"
    conditions: tuple["Condition | Filter", ...] = ()

    @model_validator(mode="after")
    def _something_to_choose_from(self) -> Self:
        if self.join == "or" and not self.conditions:
            raise InvalidInput("a filter joined by `or` needs at least one condition; without any it finds nothing")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a filter as people write it; InvalidInput points at what was not understood."""
        tokens = list(_tokens(text))
        if not tokens:
            return cls()
        parsed, rest = _any_of(tokens, text)
        if rest:
            raise InvalidInput(f"filter {text!r}: did not expect {rest[0][1]!r}; join conditions by `and` or `or`")
        return cls(join=parsed.join, conditions=parsed.conditions)

    def fields(self) -> set[str]:
        """The names of all fields that it looks at."""
        return {
            name for part in self.conditions for name in (part.fields() if isinstance(part, Filter) else {part.field})
        }

    def holds_always(self) -> bool:
        """True when no condition limits it, so that it holds for every record."""
        free = (isinstance(part, Filter) and part.holds_always() for part in self.conditions)
        return all(free) if self.join == "and" else any(free)

    def __str__(self) -> str:
        """The filter as text that parses back to it."""
        return f" {self.join} ".join(
            _written(part) if isinstance(part, Condition) else f"({part})" for part in self.conditions
        )


def number_text(value: float) -> str:
    """A number as people write it: 42 rather than 42.0."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


_Token = tuple[str, str]
_Parsed = tuple[Filter, list[_Token]]


def _tokens(text: str) -> Iterator[_Token]:
    position = depth = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidInput(f"filter {text!r}: cannot read it from {text[position:].strip()!r} on")
        kind = str(match.lastgroup)
        written = match.group(kind)
        depth += {"(": 1, ")": -1}.get(written, 0) if kind == "paren" else 0
        if depth > MAX_DEPTH:
            raise InvalidInput(f"a filter may nest at most {MAX_DEPTH} parentheses; write it flatter")
        yield kind, re.sub(r"\\(.)", r"\1", written, flags=re.DOTALL) if kind == "quoted" else written
        position = match.end()


def _any_of(tokens: list[_Token], text: str) -> _Parsed:
    return _joined("or", _all_of, tokens, text)


def _all_of(tokens: list[_Token], text: str) -> _Parsed:
    return _joined("and", _one, tokens, text)


def _joined(
    word: Literal["and", "or"], read: Callable[[list[_Token], str], _Parsed], tokens: list[_Token], text: str
) -> _Parsed:
    first, tokens = read(tokens, text)
    parts = [first]
    while tokens and tokens[0][0] == "word" and tokens[0][1].lower() == word:
        part, tokens = read(tokens[1:], text)
        parts.append(part)
    if len(parts) == 1:
        return first, tokens
    return Filter(join=word, conditions=tuple(_unwrapped(part) for part in parts)), tokens


def _unwrapped(part: Filter) -> Condition | Filter:
    return part.conditions[0] if len(part.conditions) == 1 else part


def _one(tokens: list[_Token], text: str) -> _Parsed:
    if tokens and tokens[0] == ("paren", "("):
        if tokens[1:2] == [("paren", ")")]:
            return Filter(), tokens[2:]
        inner, rest = _any_of(tokens[1:], text)
        if not rest or rest[0] != ("paren", ")"):
            raise InvalidInput(f"filter {text!r}: a closing parenthesis is missing")
        return inner, rest[1:]
    names = ("word", "quoted")
    if len(tokens) < 3 or tokens[0][0] not in names or tokens[1][0] != "operator" or tokens[2][0] not in names:
        found = " ".join(written for _, written in tokens[:3]) or "nothing"
        raise InvalidInput(f"filter {text!r}: expected `field operator value`, found {found!r}")
    (_, field), (_, operator), (kind, written) = tokens[:3]
    value = written if kind == "quoted" else _value(written)
    return Filter(conditions=(Condition(field=field, operator=operator, value=value),)), tokens[3:]


def _value(word: str) -> Value:
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    try:
        number = float(word)
    except ValueError:
        return word
    # 007, 1.50 and an id such as 12e9 stay text, so that nothing of them is lost where the field is text.
    return number if number - number == 0 and number_text(number) == word else word


def _written(condition: Condition) -> str:
    value = condition.value
    if isinstance(value, bool) or value is None:
        shown = {True: "true", False: "false", None: "null"}[value]
    else:
        shown = number_text(value) if isinstance(value, float) else _quoted(value)
    field = condition.field if _BARE.fullmatch(condition.field) else _quoted(condition.field)
    return f"{field} {condition.operator} {shown}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
