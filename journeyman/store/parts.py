"""Keeps large pieces once: system prompts, tool sets, images and whatever else many payloads repeat word by word."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy import bindparam as bound

from journeyman.store.encoding import pack, unpack, written
from journeyman.store.tables import part_bodies, parts

Path = list[str | int]
Json = dict[str, Any]

LARGE = 2048
"""Characters from which any piece of a request's message is kept apart."""
LARGE_PROMPT = 256
"""Characters from which an operator's prompt is: those repeat more than anything else."""

_OPERATORS = ("system", "developer")
_AT_ONCE = 500


def part_hash(piece: Any) -> bytes:
    """What a piece is known by."""
    # Text and JSON that reads the same are different pieces.
    known = b"text" + piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else b"json" + written(piece)
    return hashlib.sha256(known).digest()[:16]


def has_large_pieces(message: Json, size: int) -> bool:
    """Whether a message whose JSON has that many bytes may have a piece that is kept apart; quick to tell."""
    return size >= LARGE or (size >= LARGE_PROMPT and message.get("role") in _OPERATORS)


def large_pieces(message: Json) -> Iterator[tuple[Path, str]]:
    """The pieces of a message that are kept apart, and where each stands."""
    content = message.get("content")
    if isinstance(content, str):
        if len(content) >= (LARGE_PROMPT if message.get("role") in _OPERATORS else LARGE):
            yield ["content"], content
    elif isinstance(content, list):
        for place, each in enumerate(content):
            yield from _large_texts(each, ["content", place])


def cut_out(message: Json, pieces: Iterable[Path]) -> Json:
    """The message with null where those pieces stood; the message itself stays as it is."""
    copied: Any = dict(message)
    for path in pieces:
        place = copied
        for step in path[:-1]:
            place[step] = dict(place[step]) if isinstance(place[step], dict) else list(place[step])
            place = place[step]
        place[path[-1]] = None
    return dict(copied)


def put_back(value: Any, path: Path, piece: Any) -> None:
    """Put a piece where it stood."""
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = piece


def use_parts(connection: Connection, wanted: dict[bytes, Any], uses: Counter[bytes]) -> dict[bytes, int]:
    """The numbers of those pieces, which are stored when they are not yet; each is counted as often as it is used."""
    numbers = {bytes(row.hash): row.number for row in _known(connection, list(wanted))}
    if numbers:
        more = update(parts).where(parts.c.number == bound("which")).values(uses=parts.c.uses + bound("more"))
        counted = [{"which": number, "more": uses[hash]} for hash, number in numbers.items()]
        connection.execute(more, counted)
    new = [hash for hash in wanted if hash not in numbers]
    if new:
        last = connection.scalar(select(func.max(parts.c.number))) or 0
        fresh = {hash: number for number, hash in enumerate(new, last + 1)}
        rows = [{"number": number, "hash": hash, "uses": uses[hash], "searched": 0} for hash, number in fresh.items()]
        connection.execute(insert(parts), rows)
        bodies = [{"number": number, "body": pack(wanted[hash])} for hash, number in fresh.items()]
        connection.execute(insert(part_bodies), bodies)
        numbers |= fresh
    return numbers


def read_parts(connection: Connection, numbers: Iterable[int]) -> dict[int, Any]:
    """The pieces of those numbers."""
    wanted = sorted(set(numbers))
    found: dict[int, Any] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = part_bodies.c.number.in_(wanted[start : start + _AT_ONCE])
        found |= {row.number: unpack(row.body) for row in connection.execute(select(part_bodies).where(some))}
    return found


def release_parts(connection: Connection, uses: Counter[int]) -> dict[int, bool]:
    """Count uses that are no more; the pieces that nobody uses now, and whether the text index knows each."""
    if not uses:
        return {}
    less = update(parts).where(parts.c.number == bound("which")).values(uses=parts.c.uses - bound("less"))
    connection.execute(less, [{"which": number, "less": count} for number, count in uses.items()])
    unused: dict[int, bool] = {}
    numbers = list(uses)
    for start in range(0, len(numbers), _AT_ONCE):
        idle = (parts.c.number.in_(numbers[start : start + _AT_ONCE]), parts.c.uses <= 0)
        rows = connection.execute(select(parts.c.number, parts.c.searched).where(*idle))
        unused |= {row.number: bool(row.searched) for row in rows}
    return unused


def delete_parts(connection: Connection, numbers: Sequence[int]) -> None:
    """Remove pieces that nobody uses."""
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        connection.execute(delete(part_bodies).where(part_bodies.c.number.in_(some)))
        connection.execute(delete(parts).where(parts.c.number.in_(some)))


def _known(connection: Connection, hashes: Sequence[bytes]) -> Iterator[Any]:
    for start in range(0, len(hashes), _AT_ONCE):
        some = parts.c.hash.in_(hashes[start : start + _AT_ONCE])
        yield from connection.execute(select(parts.c.hash, parts.c.number).where(some))


def _large_texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if len(value) >= LARGE:
            yield path, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _large_texts(each, [*path, name])
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _large_texts(each, [*path, place])
