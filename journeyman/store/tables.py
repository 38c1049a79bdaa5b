"""Where each kind of record is kept: id, time, the fields that are searched most, and the whole record as JSON.

Exchanges share their messages. Each message is one row of `messages`, under the hash of everything that was said
before it and of itself; `exchange_tips` names the last message of each exchange's request and each of its replies.
Columns here mirror the newest migration (a test compares them).
"""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Integer, LargeBinary, MetaData, String, Table

from journeyman.errors import InvalidInput
from journeyman.records import (
    Adapter,
    Dataset,
    EvalReport,
    Exchange,
    Feedback,
    Point,
    Promotion,
    Record,
    Run,
    RunEvent,
    Scenario,
    Trajectory,
    UsageEntry,
)

METADATA = MetaData()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SURROGATE = re.compile("[\ud800-\udfff]")

messages = Table(
    "messages",
    METADATA,
    Column("hash", String, primary_key=True),
    Column("parent", ForeignKey("messages.hash")),
    Column("text", String),
    Column("body", String, nullable=False),
)
tool_sets = Table(
    "tool_sets", METADATA, Column("hash", String, primary_key=True), Column("body", String, nullable=False)
)
schema_version = Table("schema_version", METADATA, Column("version", Integer, nullable=False))


def _records(name: str, *columns: Column[Any]) -> Table:
    identity: tuple[Column[Any], ...] = (Column("id", String, primary_key=True), Column("at", BigInteger))
    return Table(name, METADATA, *identity, *columns, Column("body", JSON, nullable=False))


exchanges = _records(
    "exchanges",
    Column("session", String),
    Column("state", String),
    Column("tools", ForeignKey("tool_sets.hash")),
    Column("tokens", LargeBinary),
)
exchange_tips = Table(
    "exchange_tips",
    METADATA,
    Column("exchange", ForeignKey("exchanges.id", ondelete="CASCADE"), primary_key=True),
    Column("message", ForeignKey("messages.hash"), primary_key=True),
)

TABLES: dict[type[Record], Table] = {
    Adapter: _records("adapters", Column("name", String)),
    Dataset: _records("datasets", Column("name", String)),
    EvalReport: _records("eval_reports"),
    Exchange: exchanges,
    Feedback: _records("feedback", Column("session", String), Column("exchange_id", String)),
    Point: _records("points", Column("run_id", String)),
    Promotion: _records("promotions", Column("alias", String)),
    Run: _records("runs"),
    RunEvent: _records("run_events", Column("run_id", String)),
    Scenario: _records("scenarios"),
    Trajectory: _records("trajectories", Column("session", String)),
    UsageEntry: _records("usage_entries", Column("request", String), Column("epoch", String)),
}


def table_of(kind: type[Record]) -> Table:
    """The table of that kind of record; InvalidInput when the store does not keep it."""
    if kind not in TABLES:
        known = ", ".join(sorted(each.__name__ for each in TABLES))
        raise InvalidInput(f"the store does not keep {kind.__name__} records; it keeps {known}")
    return TABLES[kind]


def microseconds(at: datetime) -> int:
    """A moment as the `at` columns hold it; a time without a zone is taken as UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def storable(text: str) -> str:
    """Text that any database takes: half a surrogate pair, which some clients send, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def to_json(value: Any) -> str:
    """JSON that SQL can search: real letters, no half surrogate pairs, and NaN as the text that pydantic reads back."""
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        written = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", written)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value
