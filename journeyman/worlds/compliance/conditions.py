"""Predicates as data: a field, an operator and a value, so that a policy's file can hold no code."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from journeyman.errors import InvalidInput
from journeyman.records import Frozen

Operator = Literal[
    "=", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "matches", "mentions", "exists", "missing"
]
Known = Mapping[str, Any]
"""What a condition may speak of by name."""
_NOTHING = object()


class Condition(Frozen):
    """`field` is a dotted path; a `value` that begins with `$` is looked up among what is known of the scenario.

    A field that is not there fulfils only `missing`. `contains` looks for the value inside the field's text or list;
    `mentions` for any of several texts inside the field's, written out; `matches` is a regular expression, in any case.
    """

    field: str = Field(min_length=1)
    op: Operator = "="
    value: Any = None

    @field_validator("value")
    @classmethod
    def _no_broken_reference(cls, value: Any) -> Any:
        if value == "$":
            raise ValueError("$ must be followed by a name")
        return value

    def holds(self, subject: Any, known: Known) -> bool:
        """Whether it is true of `subject`; InvalidInput when the value names an unknown fact."""
        wanted = resolve(self.value, known)
        found = look_up(subject, self.field)
        if self.op in ("exists", "missing"):
            return (found is _NOTHING) == (self.op == "missing")
        return found is not _NOTHING and _OPERATORS[self.op](found, wanted)


def resolve(value: Any, known: Known) -> Any:
    """The value itself, or what `$name` (a dotted path) stands for."""
    if isinstance(value, str) and value.startswith("$"):
        found = look_up(known, value[1:])
        if found is _NOTHING or found is None:
            raise InvalidInput(f"the scenario holds no fact {value}; say it in its facts, or leave the rule out there")
        return found
    if isinstance(value, list | tuple):
        return [resolve(each, known) for each in value]
    return value


def references(value: Any) -> set[str]:
    """The first names of all `$name` inside a value, however deep."""
    if isinstance(value, str):
        return {value[1:].split(".")[0]} if value.startswith("$") else set()
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return set().union(*map(references, inside))


def look_up(subject: Any, path: str) -> Any:
    """What stands at a dotted path of mappings, lists (by number, or `length`) and attributes."""
    for name in path.split("."):
        if isinstance(subject, Mapping):
            subject = subject.get(name, _NOTHING)
        elif isinstance(subject, Sequence) and not isinstance(subject, str):
            if name == "length":
                subject = len(subject)
            else:
                subject = subject[int(name)] if name.isdigit() and int(name) < len(subject) else _NOTHING
        elif isinstance(subject, Frozen) and name in type(subject).model_fields:
            subject = getattr(subject, name)
        else:
            return _NOTHING
        if subject is _NOTHING:
            return _NOTHING
    return subject


def written(value: Any) -> str:
    """A value as text to search in."""
    return value if isinstance(value, str) else repr(value)


def is_mentioned(wanted: str, text: str) -> bool:
    """Whether it stands there as a whole: account A1 is not mentioned by A12."""
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) is not None


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(found: Any, wanted: Any) -> bool:
        numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
        return (numbers or (isinstance(found, str) and isinstance(wanted, str))) and test(found, wanted)

    return holds


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda found, wanted: bool(found == wanted),
    "!=": lambda found, wanted: bool(found != wanted),
    "<": _compared(lambda found, wanted: found < wanted),
    "<=": _compared(lambda found, wanted: found <= wanted),
    ">": _compared(lambda found, wanted: found > wanted),
    ">=": _compared(lambda found, wanted: found >= wanted),
    "in": lambda found, wanted: found in wanted,
    "not in": lambda found, wanted: found not in wanted,
    "contains": lambda found, wanted: wanted in found if isinstance(found, list | tuple | dict)
    else str(wanted) in written(found),
    "mentions": lambda found, wanted: any(
        is_mentioned(str(each), written(found)) for each in (wanted if isinstance(wanted, list | tuple) else [wanted])
    ),
    "matches": lambda found, wanted: re.search(str(wanted), written(found), re.IGNORECASE) is not None,
}  # fmt: skip
