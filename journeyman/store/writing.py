"""Puts exchanges into the tables, many at once: the way of every captured call, so every microsecond here counts."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from journeyman.records import UNFINISHED, Exchange, WireExchange
from journeyman.store.blocks import in_blocks
from journeyman.store.encoding import storable
from journeyman.store.forgetting import remove_exchanges
from journeyman.store.inserting import bindable, insert_columns
from journeyman.store.parts import use_parts
from journeyman.store.payloads import Draft, exchange_columns, payload_columns
from journeyman.store.tagging import tags_given

_AT_ONCE = 500


def put_exchanges(connection: Connection, records: Sequence[Exchange | WireExchange]) -> None:
    """Keep exchanges, unless one with the same id has already come to its final state. The caller holds the lock."""
    drafts = _new_ones(connection, records)
    if not drafts:
        return
    first = _number(connection, drafts)
    new_tips = _join_conversations(connection, drafts)
    wanted: dict[bytes, Any] = {}
    uses: Counter[bytes] = Counter()
    for each in drafts:
        each.cut_parts(wanted, uses)
    parts = use_parts(connection, wanted, uses) if wanted else {}
    tags = tags_given(connection, [each.exchange for each in drafts])
    rows, exact = exchange_columns(drafts, tags)
    lines = [each.line(parts, changed) for each, changed in zip(drafts, exact, strict=True)]
    homes, bodies = in_blocks(first, lines)
    insert_columns(connection, "blocks", {"number": [*bodies], "body": [*bodies.values()]})
    insert_columns(connection, "payloads", payload_columns(drafts, homes))
    insert_columns(connection, "exchanges", rows)
    numbers, points = zip(*new_tips.values(), strict=True) if new_tips else ((), ())
    new = {"hash": [*new_tips], "number": numbers, "point": points}
    insert_columns(connection, "tips", new, " ON CONFLICT DO NOTHING")


def _new_ones(connection: Connection, records: Sequence[Exchange | WireExchange]) -> list[Draft]:
    """The records to be written, one of each id; what they replace is removed."""
    latest: dict[str, Exchange | WireExchange] = {}
    for record in records:
        known = latest.get(id := storable(record.id))
        if known is None or known.state in UNFINISHED:
            latest[id] = record
    replaced: list[int] = []
    newest = connection.exec_driver_sql("SELECT max(id) FROM exchanges").scalar() or ""
    # Ids rise with time: most of those that arrive are above all that are stored, and need no looking up.
    for row in _stored(connection, [id for id in latest if id <= newest]):
        if row.state in UNFINISHED:
            replaced.append(row.number)
        else:
            latest.pop(row.id, None)
    if replaced:
        remove_exchanges(connection, replaced)
    return [
        Draft(WireExchange.of(record), checked=True)
        if isinstance(record, Exchange)
        else Draft(record, checked=False)
        for record in latest.values()
    ]  # fmt: skip


def _stored(connection: Connection, ids: Sequence[str]) -> Iterator[Any]:
    return _having(connection, "SELECT id, number, state FROM exchanges WHERE id", ids)


def _having(connection: Connection, query: str, values: Sequence[Any]) -> Iterator[Any]:
    """The rows of a query that ends in the name of the column that is to have one of the values."""
    if connection.dialect.paramstyle != "qmark":
        yield from connection.exec_driver_sql(f"{query} = ANY(%s)", (list(values),)) if values else ()
        return
    for start in range(0, len(values), _AT_ONCE):
        some = tuple(bindable(values[start : start + _AT_ONCE]))
        yield from connection.exec_driver_sql(f"{query} IN ({', '.join('?' * len(some))})", some)


def _number(connection: Connection, drafts: Sequence[Draft]) -> int:
    """Number the drafts, in a row from the number returned. None is given twice that the text index may still know."""
    query = "SELECT (SELECT max(number) FROM payloads), (SELECT indexed FROM text_index)"
    last, indexed = connection.exec_driver_sql(query).one()
    first = max(last or 0, indexed or 0) + 1
    for number, each in enumerate(drafts, first):
        each.number = number
    return first


def _join_conversations(connection: Connection, drafts: Sequence[Draft]) -> dict[bytes, tuple[int, int]]:
    """Find for each draft the longest beginning of its request that is stored, or that a draft before it holds.

    Returned are the tips that are new.
    """
    stored = _stored_tips(connection, {tip for each in drafts for _, tip in each.near})
    far = _far_places(drafts, stored)
    if far:
        stored |= _stored_tips(connection, {tip for places in far.values() for _, tip in places})
    new: dict[bytes, tuple[int, int]] = {}
    for each in drafts:
        number = each.number
        for length, tip in (*each.near, *far.get(number, ())):
            if found := new.get(tip) or stored.get(tip):
                each.parent, each.point = found
                each.known = length
                break
        for tip, point in each.tips:
            if tip not in new:
                new[tip] = (number, point)
    return new


def _far_places(drafts: Sequence[Draft], stored: Mapping[bytes, Any]) -> dict[int, list[tuple[int, bytes]]]:
    """By number, the further places of drafts that go on from none of their near ones."""
    if not any(each.may_be_far for each in drafts):
        return {}
    far: dict[int, list[tuple[int, bytes]]] = {}
    before = set(stored)
    for each in drafts:
        if each.may_be_far and before.isdisjoint([tip for _, tip in each.near]) and (places := each.far()):
            far[each.number] = places
        before.update([tip for tip, _ in each.tips])
    return far


def _stored_tips(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, tuple[int, int]]:
    rows = _having(connection, "SELECT hash, number, point FROM tips WHERE hash", list(hashes))
    return {bytes(hash): (number, point) for hash, number, point in rows}
