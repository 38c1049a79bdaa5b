"""Compresses the payloads of a batch together: many small texts that are alike take half the time and less disk.

A block holds the JSON of consecutive payloads, a line each, and bears the number of its first. A payload that is
alone, or that was changed since, has its body in its own row.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from journeyman.store.encoding import compress, decompress, read_json, unpack
from journeyman.store.tables import blocks

BLOCK_BYTES = 16 << 10
"""From that size of its JSON on, a block is full: larger ones save little, and are read whole for one payload."""
_AT_ONCE = 500

Home = tuple[int | None, bytes]
"""The number of the block that a payload stands in, or None, and the body in its own row, which is empty then."""


def in_blocks(first: int, texts: Sequence[bytes]) -> tuple[list[Home], dict[int, bytes]]:
    """Where the payloads go whose numbers begin with `first`, and the bodies of their blocks by number."""
    homes: list[Home] = []
    bodies: dict[int, bytes] = {}
    begin, size, last = 0, 0, len(texts) - 1
    for place, text in enumerate(texts):
        size += len(text) + 1
        if size < BLOCK_BYTES and place != last:
            continue
        if place == begin:
            homes.append((None, compress(text)))
        else:
            bodies[first + begin] = compress(b"\n".join(texts[begin : place + 1]))
            homes += [(first + begin, b"")] * (place + 1 - begin)
        begin, size = place + 1, 0
    return homes, bodies


def read_bodies(connection: Connection, rows: Iterable[tuple[int, int | None, bytes]]) -> dict[int, Any]:
    """What payloads say, by their numbers, given each one's number, block and body."""
    found: dict[int, Any] = {}
    inside: dict[int, list[int]] = defaultdict(list)
    for number, block, body in rows:
        if block is None:
            found[number] = unpack(body)
        else:
            inside[block].append(number)
    for block, lines in _lines(connection, list(inside)):
        for number in inside[block]:
            found[number] = read_json(lines[number - block])
    return found


def erase(connection: Connection, gone: Iterable[tuple[int, int]]) -> None:
    """Remove payloads from their blocks, given the block and the number of each; a block that is empty goes."""
    inside: dict[int, set[int]] = defaultdict(set)
    for block, number in gone:
        inside[block].add(number)
    empty: list[int] = []
    for block, lines in _lines(connection, list(inside)):
        for number in inside[block]:
            lines[number - block] = b""
        if any(lines):
            body = compress(b"\n".join(lines))
            connection.execute(update(blocks).where(blocks.c.number == block).values(body=body))
        else:
            empty.append(block)
    for some in _batches(empty):
        connection.execute(delete(blocks).where(blocks.c.number.in_(some)))


def _lines(connection: Connection, numbers: Collection[int]) -> Iterable[tuple[int, list[bytes]]]:
    for some in _batches(sorted(numbers)):
        query = select(blocks.c.number, blocks.c.body).where(blocks.c.number.in_(some))
        for number, body in connection.execute(query).all():
            yield number, decompress(body).split(b"\n")


def _batches(numbers: Sequence[int]) -> Iterable[Sequence[int]]:
    for start in range(0, len(numbers), _AT_ONCE):
        yield numbers[start : start + _AT_ONCE]
