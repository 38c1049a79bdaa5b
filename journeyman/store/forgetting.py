"""Removes exchanges, and of what they shared with others all that nobody needs any more."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, delete, select, update

from journeyman.store import search
from journeyman.store.blocks import erase
from journeyman.store.conversations import ASKED, TIP_BYTES
from journeyman.store.encoding import pack
from journeyman.store.parts import delete_parts, read_parts, release_parts
from journeyman.store.payloads import CHOICES, MESSAGES, PARTS, PAYLOAD_COLUMNS, Payload, read_payloads
from journeyman.store.tables import exchanges, payloads, text_index, tips

_AT_ONCE = 500
T = TypeVar("T")


def remove_exchanges(connection: Connection, numbers: Sequence[int]) -> None:
    """Remove the exchanges of those numbers. The caller holds the lock.

    Of an exchange that others continue, the messages that they have in common with it stay, and nothing else.
    """
    for some in _batches(numbers):
        connection.execute(delete(exchanges).where(exchanges.c.number.in_(some)))
    uses: Counter[int] = Counter()
    unowned = set(numbers)
    while unowned:
        unowned = _remove_payloads(connection, sorted(unowned), uses)
    unused = release_parts(connection, uses)
    if searched := [number for number, is_searched in unused.items() if is_searched]:
        search.forget_parts(connection, read_parts(connection, searched))
    delete_parts(connection, list(unused))


def _remove_payloads(connection: Connection, numbers: Sequence[int], uses: Counter[int]) -> set[int]:
    """Remove payloads that no exchange owns, or what of them nobody continues; the parents that may go next."""
    continued = _points_continued(connection, numbers)
    indexed = connection.scalar(select(text_index.c.indexed)) or 0
    parents: set[int] = set()
    for some in _batches(numbers):
        columns = (*PAYLOAD_COLUMNS, payloads.c.tips)
        rows = connection.execute(select(*columns).where(payloads.c.number.in_(some))).all()
        hashes = [row.tips[start : start + TIP_BYTES] for row in rows for start in range(0, len(row.tips), TIP_BYTES)]
        for few in _batches(hashes):
            connection.execute(delete(tips).where(tips.c.hash.in_(few), tips.c.number.in_(some)))
        gone = []
        for row, payload in zip(rows, read_payloads(connection, rows), strict=True):
            if row.number <= indexed:
                search.forget_words(connection, payload)
            if points := continued[row.number]:
                _strip(connection, payload, points, uses, reindex=row.number <= indexed)
                continue
            gone.append(row.number)
            uses.update(payload.uses())
            if row.parent is not None:
                parents.add(row.parent)
        connection.execute(delete(payloads).where(payloads.c.number.in_(gone)))
        erase(connection, ((row.block, row.number) for row in rows if row.block is not None))
    for some in _batches(sorted(parents)):
        parents -= set(connection.scalars(select(exchanges.c.number).where(exchanges.c.number.in_(some))))
    return parents


def _strip(connection: Connection, payload: Payload, points: set[int], uses: Counter[int], *, reindex: bool) -> None:
    """Leave of a payload what those who continue it need; no tip leads to it any more."""
    before = payload.uses()
    kept = {name: payload.body[name] for name in (MESSAGES, PARTS) if name in payload.body}
    if points != {ASKED}:
        kept[CHOICES] = [{"message": payload.choices[0]["message"]}]
    payload.body = kept
    uses.update(before - payload.uses())
    values = {"body": pack(kept, exact=True), "block": None, "tips": b""}
    connection.execute(update(payloads).where(payloads.c.number == payload.number).values(values))
    if reindex:
        search.add_words(connection, [payload])


def _points_continued(connection: Connection, numbers: Sequence[int]) -> dict[int, set[int]]:
    """From which points payloads that stay continue those that may go."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for some in _batches(numbers):
        columns = (payloads.c.parent, payloads.c.number, payloads.c.point)
        for row in connection.execute(select(*columns).where(payloads.c.parent.in_(some))):
            found[row.parent].append((row.number, row.point))
    going: set[int] = set()
    continued = {}
    # Who continues an exchange has the higher number, so it is decided before.
    for number in sorted(numbers, reverse=True):
        continued[number] = {point for child, point in found[number] if child not in going}
        if not continued[number]:
            going.add(number)
    return continued


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    found = list(values)
    for start in range(0, len(found), _AT_ONCE):
        yield found[start : start + _AT_ONCE]
