"""Gives exchanges the tags that were set afterwards: those that are stored, and those that arrive later."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy import bindparam as bound

from journeyman.records import Tagging, WireExchange
from journeyman.store.encoding import storable
from journeyman.store.tables import TABLES, exchanges

taggings = TABLES[Tagging]
_AT_ONCE = 500
_NAMES = ("session", "exchange_id", "external_id")
_OF_EXCHANGE = {"session": "session", "exchange_id": "id", "external_id": "external_id"}


def is_about(given: Any, exchange: Any) -> bool:
    """Whether a tagging, or feedback without a turn, speaks of that exchange: every name that it gives fits."""
    named = [(getattr(given, name), getattr(exchange, own)) for name, own in _OF_EXCHANGE.items()]
    return any(name is not None for name, _ in named) and all(name is None or name == own for name, own in named)


def merged(own: Mapping[str, str], given: Iterable[Any]) -> dict[str, str]:
    """Tags with those of the taggings on top, the newest last."""
    tags = dict(own)
    for each in sorted(given, key=lambda tagging: (tagging.at, tagging.id)):
        tags |= each.tags
    return tags


def tags_given(connection: Connection, arriving: Sequence[WireExchange]) -> dict[str, dict[str, str]]:
    """The tags of those exchanges that taggings speak of, by exchange id."""
    if connection.exec_driver_sql("SELECT 1 FROM taggings LIMIT 1").first() is None:
        return {}
    found = _taggings(connection, arriving)
    tags = {}
    for exchange in arriving:
        names = {name: getattr(exchange, own) for name, own in _OF_EXCHANGE.items()}
        near = {each.id: each for name, value in names.items() for each in found.get((name, value), ())}
        if about := [each for each in near.values() if is_about(each, exchange)]:
            tags[exchange.id] = merged(exchange.tags, about)
    return tags


def apply_taggings(connection: Connection, given: Sequence[Tagging]) -> None:
    """Give the stored exchanges that those taggings speak of their tags. The taggings themselves are stored already."""
    columns = (exchanges.c.number, exchanges.c.id, exchanges.c.session, exchanges.c.external_id, exchanges.c.tags)
    for tagging in given:
        about = [
            exchanges.c[own] == storable(value)
            for name, own in _OF_EXCHANGE.items()
            if (value := getattr(tagging, name)) is not None
        ]
        after = -1
        while rows := connection.execute(
            select(*columns).where(*about, exchanges.c.number > after).order_by(exchanges.c.number).limit(_AT_ONCE)
        ).all():
            after = rows[-1].number
            found = _taggings(connection, rows)
            changed = []
            for row in rows:
                near = {
                    each.id: each
                    for name, own in _OF_EXCHANGE.items()
                    for each in found.get((name, getattr(row, own)), ())
                }
                tags = merged(row.tags or {}, (each for each in near.values() if is_about(each, row)))
                if tags != row.tags:
                    changed.append({"which": row.number, "tags": tags})
            if changed:
                connection.execute(update(exchanges).where(exchanges.c.number == bound("which")), changed)


def _taggings(connection: Connection, about: Sequence[Any]) -> dict[tuple[str, str], list[Tagging]]:
    """The taggings that name something of those exchanges, by what they name."""
    found: dict[tuple[str, str], list[Tagging]] = {}
    for name, own in _OF_EXCHANGE.items():
        values = sorted({storable(value) for each in about if (value := getattr(each, own)) is not None})
        for start in range(0, len(values), _AT_ONCE):
            some = taggings.c[name].in_(values[start : start + _AT_ONCE])
            for row in connection.execute(select(taggings.c.body).where(some)):
                tagging = Tagging.model_validate(row.body)
                found.setdefault((name, getattr(tagging, name)), []).append(tagging)
    return found
