"""Walks OTLP's protobuf down to single spans and log records, without a schema and without reading what they hold.

Requests of both signals have one form: resources (field 1), in each its scopes (field 2), in each its items (field 2).
So that one bad item spoils no other, and so that the gateway can check thousands of them in small steps.
"""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}


class Entry(NamedTuple):
    """One field of a message: its number, its wire type, and where its value lies."""

    number: int
    wire: int
    start: int
    end: int


class Item(NamedTuple):
    """A span or a log record: where it lies, and where the resource and the scope lie that it belongs to."""

    resource: tuple[int, int]
    scope: tuple[int, int]
    start: int
    end: int


def entries(data: bytes, start: int, end: int) -> Iterator[Entry]:
    """The fields of the message at `start … end`; ValueError when it is no message."""
    position = start
    while position < end:
        key, position = varint(data, position, end)
        wire, number = key & 7, key >> 3
        begin = position
        if wire == BYTES:
            length, begin = varint(data, position, end)
            position = begin + length
        elif wire == VARINT:
            _, position = varint(data, position, end)
        elif wire in _WIDTHS:
            position += _WIDTHS[wire]
        else:
            raise ValueError(f"byte {position} holds wire type {wire}, which protobuf does not have")
        if position > end or number == 0:
            raise ValueError(f"a field at byte {begin} reaches beyond its message")
        yield Entry(number, wire, begin, position)


def items(data: bytes) -> Iterator[Item]:
    """All spans (or log records) of a request; ValueError when its outer structure is broken."""
    for resource_part in entries(data, 0, len(data)):
        if resource_part.number != 1 or resource_part.wire != BYTES:
            continue
        resource = _first(data, resource_part)
        for scope_part in entries(data, resource_part.start, resource_part.end):
            if scope_part.number != 2 or scope_part.wire != BYTES:
                continue
            scope = _first(data, scope_part)
            for entry in entries(data, scope_part.start, scope_part.end):
                if entry.number == 2 and entry.wire == BYTES:
                    yield Item(resource, scope, entry.start, entry.end)


def varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A number and where it ends; ValueError when it does not."""
    value = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            break
    raise ValueError(f"a number that ends before byte {position} is cut off or too long")


def written_varint(value: int) -> bytes:
    """A number that is not negative, as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def written_bytes(number: int, value: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    return written_varint(number << 3 | BYTES) + written_varint(len(value)) + value


def _first(data: bytes, part: Entry) -> tuple[int, int]:
    """Where the part's own field 1 lies: the resource, or the scope. It stands first, if it is there."""
    head = next(entries(data, part.start, part.end), None)
    return (head.start, head.end) if head and head.number == 1 and head.wire == BYTES else (part.start, part.start)
