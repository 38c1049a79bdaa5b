"""Turns a Filter into SQL.

`!=` is exactly "not `=`": it also holds where the field is missing. Every other comparison with a missing field fails.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.sql import operators

from journeyman.records import Condition, Exchange, Feedback, Filter, Record
from journeyman.store.fields import Comparable, Field, comparable, field_of
from journeyman.store.tables import TABLES, exchange_tips, exchanges, messages, storable, table_of

_ORDER = {"<": operators.lt, "<=": operators.le, ">": operators.gt, ">=": operators.ge}


def clause(kind: type[Record], where: Filter | None) -> ColumnElement[bool]:
    """The SQL condition that holds for the records of that kind for which `where` holds."""
    if where is None or not where.conditions:
        return true()
    parts = [clause(kind, part) if isinstance(part, Filter) else _condition(kind, part) for part in where.conditions]
    return and_(*parts) if where.join == "and" else or_(*parts)


def column(kind: type[Record], field: Field, value: Comparable = None) -> ColumnElement[Any]:
    """Where the field's value stands; `value` tells the type of a field that may hold anything."""
    table = table_of(kind)
    if field.path[0] == "feedback" and kind is Exchange:
        return _newest_feedback(field.path[1])
    if field.path == ("usage", "total_tokens"):
        parts = (("usage", "prompt_tokens"), ("usage", "completion_tokens"))
        return column(kind, Field(parts[0], "number")) + column(kind, Field(parts[1], "number"))
    if len(field.path) == 1 and field.path[0] in table.c:
        return table.c[field.path[0]]
    stored: Any = table.c.body[field.path]
    typed: ColumnElement[Any] = stored.as_string()
    if field.type == "boolean" or isinstance(value, bool):
        typed = stored.as_boolean()
    elif field.type == "number" or isinstance(value, float):
        typed = stored.as_float()
    return typed


def _condition(kind: type[Record], condition: Condition) -> ColumnElement[bool]:
    field = field_of(kind, condition.field)
    value = comparable(field, condition)
    if isinstance(value, str):
        value = storable(value)
    if field.type == "words":
        return _says(str(value))
    left = column(kind, field, value)
    if condition.operator == "=":
        return left.is_(None) if value is None else left == value
    if condition.operator == "!=":
        return left.is_not(None) if value is None else left.is_distinct_from(value)
    if condition.operator == "~":
        return func.instr(left, value) > 0
    return left.operate(_ORDER[condition.operator], value)


def _says(text: str) -> ColumnElement[bool]:
    """An exchange says what any message before its tips says: search each message once, then go down the chains."""
    hit = select(messages.c.hash).where(func.instr(messages.c.text, text) > 0).cte(recursive=True)
    hit = hit.union(select(messages.c.hash).where(messages.c.parent == hit.c.hash))
    return exchanges.c.id.in_(select(exchange_tips.c.exchange).where(exchange_tips.c.message.in_(select(hit.c.hash))))


def _newest_feedback(name: str) -> ColumnElement[float]:
    given = TABLES[Feedback].alias()
    about = or_(given.c.session == exchanges.c.session, given.c.exchange_id == exchanges.c.id)
    newest = select(given.c.body["value"].as_float()).where(given.c.body["name"].as_string() == storable(name), about)
    return newest.order_by(given.c.at.desc(), given.c.id.desc()).limit(1).scalar_subquery()
