"""Finds the few exchanges that a filter can hold for at all, where one of its conditions holds for few.

A list walks the exchanges from the newest on until its page is full: quick where the filter holds often, and endless
where it hardly ever does. A phrase that few exchanges say, or feedback that few were given, is looked up first.
"""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from journeyman.records import Condition, Exchange, Feedback, Filter
from journeyman.store.encoding import storable
from journeyman.store.fields import field_of
from journeyman.store.filters import rated
from journeyman.store.search import count_said, saying
from journeyman.store.tables import TABLES, exchanges

_FEW = 3000
"""Hits, or pieces of feedback, that are followed to their exchanges."""
_MOST = 10_000
"""Exchanges that are looked up one by one rather than walked to."""


def phrases_of(where: Filter | None) -> tuple[list[str], Filter | None]:
    """The phrases that every exchange must say for which the filter holds, and the rest of it."""
    if where is None or where.join != "and":
        return [], where
    said = [each for each in where.conditions if isinstance(each, Condition) and each.field == "text"]
    others = tuple(each for each in where.conditions if each not in said)
    return [storable(str(each.value)) for each in said], where.model_copy(update={"conditions": others})


def few_exchanges(connection: Connection, where: Filter | None) -> Collection[int] | None:
    """The numbers of those few exchanges that the filter may hold for; None when they may be many."""
    if where is None or where.join != "and":
        return None
    for condition in where.conditions:
        query = _candidates(connection, condition) if isinstance(condition, Condition) else None
        if query is not None:
            found = connection.scalars(query.limit(_MOST + 1)).all()
            if len(found) <= _MOST:
                return [int(number) for number in found]
    return None


def _candidates(connection: Connection, condition: Condition) -> Any:
    """A query for all exchanges that the condition may hold for, when it is quick; None when not."""
    field = field_of(Exchange, condition.field)
    if field.type == "words":
        phrase = storable(str(condition.value))
        if connection.dialect.name == "postgresql" and count_said(connection, phrase, _FEW + 1) <= _FEW:
            return select(saying(phrase, "postgresql").subquery().c.number)
    elif field.path[0] == "feedback" and (condition.operator != "!=") == (condition.value is not None):
        given, name = TABLES[Feedback], field.path[1]
        first = select(given.c.id).where(given.c.name == storable(name)).limit(_FEW + 1)
        if (connection.scalar(select(func.count()).select_from(first.subquery())) or 0) <= _FEW:
            return select(rated(name).subquery().c.number)
    return None


def newest_among(connection: Connection, query: Select[Any], numbers: Collection[int]) -> Select[Any]:
    """The query, newest first, of the exchanges of those numbers alone, which are looked up one by one."""
    if connection.dialect.name == "postgresql":
        query = query.where(exchanges.c.number == any_(literal([*numbers], ARRAY(BigInteger))))
    else:
        # Joined, as SQLite takes `IN` for the condition of a row that it finds by the index of models.
        listed = func.json_each(json.dumps([*numbers])).table_valued("value")
        query = query.join(listed, listed.c.value == exchanges.c.number)
    # Sorting by an expression keeps SQLite from walking the index of times, past all that are not among the few.
    return query.order_by((exchanges.c.at + 0).desc(), exchanges.c.id.desc())
