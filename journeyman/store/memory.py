"""The store without a database, for tests and throw-away runs: what is put is gone with the process."""

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from threading import RLock
from typing import Any, TypeVar

from journeyman.errors import InvalidInput
from journeyman.records import UNFINISHED, Condition, Exchange, Feedback, Filter, Record, Tagging, WireExchange
from journeyman.store.fields import COUNTABLE, Comparable, Field, comparable, field_of, refuse_everything, shown
from journeyman.store.tables import kind_of, microseconds, table_of
from journeyman.store.tagging import is_about, merged
from journeyman.store.words import says, texts_of

R = TypeVar("R", bound=Record)

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class MemoryStore:
    """Keeps records in dictionaries; the same answers as the SQL store (see the `Store` protocol)."""

    def __init__(self) -> None:
        self._kept: dict[type[Record], dict[str, Record]] = {}
        self._lock = RLock()

    def put(self, *records: Record | WireExchange) -> None:
        """Keep records, all of them or none."""
        for record in records:
            kind_of(record)
        whole = [record.exchange() if isinstance(record, WireExchange) else record for record in records]
        with self._lock:
            for record in whole:
                known = self._of(type(record)).get(record.id)
                if known is None or (isinstance(known, Exchange) and known.state in UNFINISHED):
                    self._of(type(record))[record.id] = record
            if self._of(Tagging):
                self._tag(whole)

    def get(self, kind: type[R], id: str) -> R | None:
        """The record with that id; None when there is none."""
        table_of(kind)
        with self._lock:
            return self._of(kind).get(id)

    def find(self, kind: type[R], where: Filter | None = None, after: str | None = None, limit: int = 1000) -> list[R]:
        """Records for which `where` holds, newest first."""
        if limit < 0:
            raise InvalidInput(f"cannot find {limit} records; the limit is 0 or more")
        with self._lock:
            found = sorted(self._holding(kind, where), key=_age, reverse=True)
            if after is not None:
                last = self._of(kind).get(after)
                if last is None:
                    raise InvalidInput(f"no {kind.__name__} {after!r} to read on from; start again without `after`")
                found = [record for record in found if _age(record) < _age(last)]
        return found[:limit]

    def count(self, kind: type[Record], where: Filter | None = None, by: str | None = None) -> dict[str, int]:
        """How many records hold, by the value of the field `by` ({'': n} without it)."""
        with self._lock:
            found = list(self._holding(kind, where))
            if by is None:
                return {"": len(found)}
            field = field_of(kind, by)
            if field.type not in COUNTABLE:
                raise InvalidInput(f"cannot count {kind.__name__} records by {by}: its values hardly ever repeat")
            return dict(Counter(shown(self._value(record, field)) for record in found))

    def forget(self, kind: type[Record], where: Filter) -> int:
        """Remove records for good (retention, erasure); how many went. An empty filter is refused."""
        refuse_everything(where)
        with self._lock:
            gone = list(self._holding(kind, where))
            for record in gone:
                del self._of(kind)[record.id]
        return len(gone)

    def close(self) -> None:
        """Nothing to close."""

    def _tag(self, arrived: list[Record]) -> None:
        """Give exchanges the tags that taggings gave them, where either has just arrived."""
        taggings, kept = list(self._of(Tagging).values()), self._of(Exchange)
        new = [record for record in arrived if isinstance(record, Tagging)]
        ids = {record.id for record in arrived if isinstance(record, Exchange)}
        for exchange in list(kept.values()):
            if exchange.id in ids or any(is_about(each, exchange) for each in new):
                about = [each for each in taggings if is_about(each, exchange)]
                kept[exchange.id] = exchange.model_copy(update={"tags": merged(exchange.tags, about)})

    def _of(self, kind: type[R]) -> dict[str, R]:
        return self._kept.setdefault(kind, {})  # type: ignore[return-value]

    def _holding(self, kind: type[R], where: Filter | None) -> Iterator[R]:
        table_of(kind)
        holds = self._test(kind, where or Filter())
        return (record for record in self._of(kind).values() if holds(record))

    def _test(self, kind: type[Record], where: Filter) -> Callable[[Record], bool]:
        tests = [
            self._test(kind, part) if isinstance(part, Filter) else self._comparison(kind, part)
            for part in where.conditions
        ]
        join = all if where.join == "and" else any
        return lambda record: join(test(record) for test in tests)

    def _comparison(self, kind: type[Record], condition: Condition) -> Callable[[Record], bool]:
        field = field_of(kind, condition.field)
        wanted = comparable(field, condition)
        if field.type == "words":
            return lambda record: _says(record, str(wanted))
        return lambda record: _holds(self._value(record, field), condition.operator, wanted)

    def _value(self, record: Record, field: Field) -> Any:
        if isinstance(record, Exchange) and field.path[0] == "feedback":
            return self._newest_feedback(record, field.path[1])
        value: Any = record
        for step in field.path:
            value = value.get(step) if isinstance(value, dict) else getattr(value, step, None)
        return microseconds(value) if field.type == "time" else value

    def _newest_feedback(self, exchange: Exchange, name: str) -> float | None:
        about = [
            given
            for given in self._of(Feedback).values()
            if given.name == name
            and is_about(given, exchange)
            and (given.turn is None or given.turn == self._turn(exchange))
        ]
        return max(about, key=_age).value if about else None

    def _turn(self, exchange: Exchange) -> int:
        """Which call of its session it is, from 0."""
        session = (each for each in self._of(Exchange).values() if each.session == exchange.session)
        return sum(_age(each) < _age(exchange) for each in session)


def _age(record: Record) -> tuple[int, str]:
    return microseconds(record.at), record.id


def _says(record: Record, phrase: str) -> bool:
    if not isinstance(record, Exchange):
        return False
    said = (*record.messages, *(choice.message for choice in record.choices))
    return says((text for message in said for text in texts_of(message.wire())), phrase)


def _holds(value: Any, operator: str, wanted: Comparable) -> bool:
    if operator == "=":
        return bool(value == wanted)
    if operator == "!=":
        return bool(value != wanted)
    if value is None or isinstance(value, str) != isinstance(wanted, str):
        return False
    return str(wanted) in value if operator == "~" else _ORDER[operator](value, wanted)
