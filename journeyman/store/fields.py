"""Which fields of a record a filter may name, what type each has, and what its value may be compared with."""

import types
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from journeyman.errors import InvalidInput
from journeyman.records import Condition, Exchange, Filter, Record
from journeyman.records.filter import number_text
from journeyman.store.tables import microseconds
from journeyman.store.words import tokens

FieldType = Literal["text", "number", "boolean", "time", "any", "words"]
Comparable = str | float | bool | None

_SCALARS: dict[Any, FieldType] = {
    str: "text", int: "number", float: "number", bool: "boolean", datetime: "time", Any: "any",
}  # fmt: skip
_COMPUTED: dict[type[Record], dict[str, FieldType]] = {
    Exchange: {"text": "words", "usage.total_tokens": "number", "feedback.NAME": "number"},
}
_OPERATORS: dict[FieldType, tuple[str, ...]] = {
    "text": ("=", "!=", "<", "<=", ">", ">=", "~"),
    "number": ("=", "!=", "<", "<=", ">", ">="),
    "boolean": ("=", "!="),
    "time": ("=", "!=", "<", "<=", ">", ">="),
    "any": ("=", "!=", "<", "<=", ">", ">="),
    "words": ("~",),
}
COUNTABLE: tuple[FieldType, ...] = ("text", "number", "boolean")
"""Types of fields whose values repeat often enough to count records by them."""


class Field(NamedTuple):
    """A place in a record: the path to it, and the type of what stands there (`words`: the whole conversation)."""

    path: tuple[str, ...]
    type: FieldType


def field_of(kind: type[Record], name: str) -> Field:
    """The field that a filter names; InvalidInput lists the fields that exist."""
    computed = _COMPUTED.get(kind, {})
    if name in computed and not name.endswith(".NAME"):
        return Field(tuple(name.split(".")), computed[name])
    if kind is Exchange and name.startswith("feedback.") and name != "feedback.":
        return Field(("feedback", name.removeprefix("feedback.")), "number")
    found = _walk(kind, tuple(name.split(".")))
    if found is None:
        known = ", ".join(field_names(kind))
        raise InvalidInput(f"{kind.__name__} has no field {name!r} to filter by; there is: {known}")
    # SQL addresses a key between double quotes and knows no way to escape one inside.
    if any('"' in step for step in found.path):
        raise InvalidInput(f"cannot filter by {name!r}: a key that holds a double quote cannot be searched")
    return found


def field_names(kind: type[Record]) -> list[str]:
    """All fields of that kind that a filter may name; NAME stands for any key."""
    return sorted([*_names(kind), *_COMPUTED.get(kind, {})])


def comparable(field: Field, condition: Condition) -> Comparable:
    """The condition's value in the field's own type (a time in microseconds); InvalidInput when it cannot be."""
    name, operator, value = condition.field, condition.operator, condition.value
    if operator not in _OPERATORS[field.type]:
        allowed = " ".join(_OPERATORS[field.type])
        raise InvalidInput(f"{name} cannot be compared by `{operator}`; use one of: {allowed}")
    if value is None:
        if operator not in ("=", "!="):
            raise InvalidInput(f"{name} {operator} null has no meaning; use `= null` or `!= null`")
        return None
    if field.type == "any":
        return value
    if field.type == "words" and not tokens(_text(value)):
        raise InvalidInput(f"{name} ~ {_text(value)!r} holds no word to search for; name a letter or a digit")
    if field.type in ("text", "words"):
        return _text(value)
    if field.type == "boolean":
        if isinstance(value, bool):
            return value
        raise InvalidInput(f"{name} is true or false, not {value!r}")
    return _number(name, value) if field.type == "number" else _time(name, value)


def refuse_everything(where: Filter) -> None:
    """InvalidInput when a filter that says what to remove holds no condition."""
    if where.holds_always():
        raise InvalidInput("nothing was removed: a filter without conditions would remove every record")


def shown(value: Any) -> str:
    """A field's value as a filter would write it, for counts."""
    return "null" if value is None else _text(value)


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value)


def _number(name: str, value: str | float | bool) -> float:
    try:
        # A boolean is a number to Python, not to people.
        return float("not a number" if isinstance(value, bool) else value)
    except ValueError:
        raise InvalidInput(f"{name} is a number, it cannot be compared with {_text(value)!r}") from None


def _time(name: str, value: str | float | bool) -> int:
    try:
        return microseconds(datetime.fromisoformat(_text(value)))
    except ValueError:
        raise InvalidInput(f"{name} is a time such as 2026-07-01 or 2026-07-01T12:00+02:00, not {value!r}") from None


def _plain(annotation: Any) -> Any:
    """The annotation without `Annotated` and without `None`; an Enum-like Literal counts as text."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        others = [each for each in get_args(annotation) if each is not type(None)]
        return _plain(others[0]) if len(others) == 1 else None
    return str if get_origin(annotation) is Literal else annotation


def _walk(model: type[BaseModel], path: tuple[str, ...]) -> Field | None:
    info = model.model_fields.get(path[0])
    if info is None:
        return None
    annotation, rest = _plain(info.annotation), path[1:]
    if not rest:
        return Field(path, _SCALARS[annotation]) if annotation in _SCALARS else None
    if get_origin(annotation) is dict:
        value = _plain(get_args(annotation)[1])
        # Keys of a flat mapping may themselves hold dots, as `tags.app.version`.
        inner = rest if value is Any else (".".join(rest),)
        return Field((path[0], *inner), _SCALARS[value]) if value in _SCALARS else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inner_field = _walk(annotation, rest)
        return inner_field and Field((path[0], *inner_field.path), inner_field.type)
    return None


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, info in model.model_fields.items():
        annotation = _plain(info.annotation)
        if annotation in _SCALARS:
            found.append(prefix + name)
        elif get_origin(annotation) is dict:
            found.append(f"{prefix}{name}.NAME")
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found += _names(annotation, f"{prefix}{name}.")
    return found
