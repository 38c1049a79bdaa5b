"""Reads JSON from the wire, also where it is not quite JSON, and remembers what could not be taken as it stood."""

import json
from typing import Any

import orjson

Json = dict[str, Any]

SHALLOW = 400
"""Bytes: shorter JSON cannot nest more than 200 levels."""
_DEEPEST = 200
"""Levels that are kept of what nests too deeply: what writes records refuses more than about 250."""
_TOO_DEEP = "(nested too deeply to be kept)"


class Notes:
    """How true a reading is to its bytes, by the worst that was met.

    `changed`: something is kept in another shape than it was sent in. `missing`: something is not kept at all.
    """

    __slots__ = ("changed", "missing")

    def __init__(self) -> None:
        self.changed = False
        self.missing = False


def read_json(data: bytes, notes: Notes) -> Any:
    """A JSON value that a record can hold; ValueError when the bytes are no JSON.

    Halves of surrogate pairs and NaN, which some programs write and no store can keep, become U+FFFD and null.
    """
    try:
        found = orjson.loads(data)
    except ValueError as failure:
        if b"\\u" not in data and b"NaN" not in data and b"Infinity" not in data:
            raise
        try:
            found = json.loads(data, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            raise failure from None
        notes.missing = True
        return keepable(found)
    if is_shallow(data) or fits(found):
        return found
    notes.missing = True
    return keepable(found)


def is_shallow(data: bytes) -> bool:
    """Whether JSON has too few brackets to nest too deeply; far quicker to tell than `fits`."""
    return len(data) < SHALLOW or data.count(b"{") + data.count(b"[") < _DEEPEST


def fits(value: Any) -> bool:
    """Whether a record can hold a value: records add some levels of their own, and writing stops at about 250."""
    try:
        orjson.dumps(((((((((value,),),),),),),),))
    except TypeError:
        return False
    return True


def keepable(value: Any, levels: int = _DEEPEST) -> Any:
    """The value without what no store can keep: broken characters are replaced, what is too deep is left out."""
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) is dict:
        if not levels:
            return _TOO_DEEP
        return {keepable(name): keepable(part, levels - 1) for name, part in value.items()}
    if type(value) is list:
        return [keepable(part, levels - 1) for part in value] if levels else _TOO_DEEP
    if type(value) is int and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 10**300 else None
    return value
