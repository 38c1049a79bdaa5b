"""Turns a Filter into SQL.

`!=` is exactly "not `=`": it also holds where the field is missing. Every other comparison with a missing field fails.
"""

from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
    union,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.sql import operators

from journeyman.records import Condition, Exchange, Feedback, Filter, Record
from journeyman.store.encoding import storable
from journeyman.store.fields import Comparable, Field, comparable, field_of
from journeyman.store.search import saying
from journeyman.store.tables import TABLES, exchanges, table_of

_ORDER = {"<": operators.lt, "<=": operators.le, ">": operators.gt, ">=": operators.ge}
_USUAL = "complete"
"""The state of nearly all exchanges, which has no index of its own: a list walks the newest."""
_feedback = TABLES[Feedback]


class Clauses:
    """Filters as SQL, for one kind of record in one kind of database (`sqlite` or `postgresql`)."""

    def __init__(self, kind: type[Record], dialect: str) -> None:
        self._kind, self._dialect = kind, dialect
        self._table = table_of(kind)

    def clause(self, where: Filter | None) -> ColumnElement[bool]:
        """The SQL condition that holds for the records for which `where` holds."""
        if where is None or not where.conditions:
            return true()
        parts = [self.clause(part) if isinstance(part, Filter) else self._condition(part) for part in where.conditions]
        return and_(*parts) if where.join == "and" else or_(*parts)

    def column(self, field: Field, value: Comparable = None) -> ColumnElement[Any]:
        """Where the field's value stands; `value` tells the type of a field that may hold anything."""
        table = self._table
        if self._kind is Exchange:
            if field.path[0] == "feedback":
                return newest_feedback(field.path[1])
            if field.path == ("usage", "total_tokens"):
                return exchanges.c.prompt_tokens + exchanges.c.completion_tokens
            if field.path[0] == "usage":
                return exchanges.c[field.path[1]]
            if field.path[0] in ("tags", "sampling"):
                return self._stored(table.c[field.path[0]], field.path[1:], field.type, value)
        if len(field.path) == 1 and field.path[0] in table.c:
            return table.c[field.path[0]]
        return self._stored(table.c.body, field.path, field.type, value)

    def _condition(self, condition: Condition) -> ColumnElement[bool]:
        field = field_of(self._kind, condition.field)
        value = comparable(field, condition)
        if isinstance(value, str):
            value = storable(value)
        if field.type == "words":
            return exchanges.c.number.in_(saying(str(value), self._dialect))
        left = self.column(field, value)
        if condition.operator == "=":
            if self._kind is Exchange and field.path == ("state",) and value not in (None, _USUAL):
                # Said twice, so that SQLite sees that the index of all other states holds them.
                return and_(left == value, left != literal_column(f"'{_USUAL}'"))
            if value is None:
                return left.is_(None)
            return and_(*self._says_so(field, value), left == value)
        if condition.operator == "!=":
            return left.is_not(None) if value is None else left.is_distinct_from(value)
        if condition.operator == "~":
            find = func.strpos if self._dialect == "postgresql" else func.instr
            return find(left, value) > 0
        return left.operate(_ORDER[condition.operator], value)

    def _says_so(self, field: Field, value: Comparable) -> list[ColumnElement[bool]]:
        """What holds of all rows that have that tag, and is quicker to tell than to read their JSON."""
        if self._kind is not Exchange or field.path[0] != "tags" or self._dialect != "sqlite":
            return []
        said = orjson.dumps({storable(field.path[1]): value}).decode()[1:-1]
        # What JSON escapes it may escape in several ways.
        return [] if "\\" in said else [func.instr(exchanges.c.tags, said) > 0]

    def _stored(
        self, column: ColumnElement[Any], path: tuple[str, ...], type: str, value: Comparable
    ) -> ColumnElement[Any]:
        """What stands in a JSON column."""
        is_truth = type == "boolean" or isinstance(value, bool)
        is_number = type == "number" or (isinstance(value, float) and not is_truth)
        if self._dialect != "postgresql":
            stored: Any = column[path]
            typed: ColumnElement[Any] = stored.as_string()
            if is_truth:
                typed = stored.as_boolean()
            elif is_number:
                typed = stored.as_float()
            return typed
        steps = cast(array([storable(step) for step in path]), ARRAY(Text))
        found = column.op("#>>")(steps).cast(Text).collate("C")
        # PostgreSQL refuses to cast what is none, where SQLite finds that it is no number.
        kind_found = func.json_typeof(column.op("#>")(steps))
        if is_truth:
            return case((kind_found == "boolean", found == "true"))
        if is_number:
            return case((kind_found == "number", cast(found, Double)))
        return case((kind_found == "string", found)) if type == "any" and value is not None else found


def newest_feedback(name: str) -> ColumnElement[float]:
    """The value of the newest feedback of that name about an exchange: by its id, its caller's own, or its session."""
    given = _feedback.alias()
    # As expressions, so that SQLite looks up what is about the exchange rather than walk all feedback of that name.
    newest = select(given.c.value).where(given.c.name.concat("") == storable(name), _is_about(given))
    return newest.order_by((given.c.at + 0).desc(), given.c.id.desc()).limit(1).correlate(exchanges).scalar_subquery()


def rated(name: str) -> Any:
    """A query for the numbers of all exchanges about which there is feedback of that name."""
    given, number = _feedback, exchanges.c.number
    named = given.c.name == storable(name)
    return union(
        select(number).join(given, given.c.exchange_id == exchanges.c.id).where(named),
        select(number).join(given, given.c.external_id == exchanges.c.external_id).where(named),
        select(number).join(given, given.c.session == exchanges.c.session).where(named),
    )


def _is_about(given: Any) -> ColumnElement[bool]:
    """Whether feedback speaks of the exchange: all that it names fits, and it names something."""
    earlier = exchanges.alias()
    before = or_(
        earlier.c.at < exchanges.c.at, and_(earlier.c.at == exchanges.c.at, earlier.c.id < exchanges.c.id)
    )  # fmt: skip
    turn = select(func.count()).select_from(earlier).where(earlier.c.session == exchanges.c.session, before)
    named = [
        (given.c.exchange_id, exchanges.c.id),
        (given.c.external_id, exchanges.c.external_id),
        (given.c.session, exchanges.c.session),
    ]
    return and_(
        or_(*(name == own for name, own in named)),
        # An expression again: nearly all feedback leaves a name out, and an index would find just that.
        *(or_(name.concat("").is_(None), name == own) for name, own in named),
        or_(given.c.turn.is_(None), given.c.turn == turn.correlate(exchanges).scalar_subquery()),
    )
