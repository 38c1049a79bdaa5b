"""Where each kind of record is kept.

A record is a row: id, time, the fields that are searched most, and the whole of it as JSON. An exchange is two: what
lists and filters ask for in `exchanges`, what was said in `payloads`, under the same number. A payload holds only what
its exchange added to a conversation that was known already, its `parent`; `tips` finds that one, by the hash of all
that was said. `parts` are large pieces that many payloads share. Columns here mirror the newest migration (a test
compares them).
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Double, Integer, LargeBinary, MetaData, SmallInteger, Table, Text

from journeyman.errors import InvalidInput
from journeyman.records import (
    Adapter,
    ApiKey,
    Dataset,
    Erasure,
    EvalReport,
    Exchange,
    Feedback,
    JudgeCard,
    KeyRevocation,
    Point,
    Promotion,
    Record,
    Run,
    RunEvent,
    Scenario,
    Tagging,
    Trajectory,
    UsageEntry,
    WireExchange,
)
from journeyman.store.encoding import to_json as to_json

METADATA = MetaData()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

schema_version = Table("schema_version", METADATA, Column("version", Integer, nullable=False))


def _records(name: str, *columns: str | Column[Any]) -> Table:
    """`exact` holds the JSON of a record whose `body` had to be changed so that a database can search it."""
    own = (Column(column, Text) if isinstance(column, str) else column for column in columns)
    identity: tuple[Column[Any], ...] = (Column("id", Text, primary_key=True), Column("at", BigInteger))
    return Table(name, METADATA, *identity, *own, Column("body", JSON, nullable=False), Column("exact", Text))


TEXT_COLUMNS = (
    "id", "session", "state", "api", "model", "upstream", "served", "adapter", "key", "project", "person",
    "external_id", "response_id", "trace", "span", "source", "fidelity", "error",
)  # fmt: skip
WHOLE_COLUMNS = ("status", "parser", "prompt_tokens", "completion_tokens", "cached_prompt_tokens")
REAL_COLUMNS = ("cost_usd", "latency", "time_to_first_token")

exchanges = Table(
    "exchanges",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    *(Column(name, Text) for name in TEXT_COLUMNS),
    *(Column(name, BigInteger) for name in WHOLE_COLUMNS),
    *(Column(name, Double) for name in REAL_COLUMNS),
    Column("tags", JSON),
    Column("sampling", JSON),
)
payloads = Table(
    "payloads",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("parent", BigInteger),
    Column("point", SmallInteger),
    Column("tips", LargeBinary),
    Column("body", LargeBinary, nullable=False),
    Column("block", BigInteger),
)
blocks = Table(
    "blocks",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)
tips = Table(
    "tips",
    METADATA,
    Column("hash", LargeBinary, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("point", SmallInteger, nullable=False),
)
parts = Table(
    "parts",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("searched", SmallInteger, nullable=False),
)
part_bodies = Table(
    "part_bodies",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)
text_index = Table(
    "text_index", METADATA, Column("indexed", BigInteger, nullable=False), Column("words", Integer, nullable=False)
)
"""One row: the number of the last payload whose words are indexed, and the version of the rule that made words."""

TABLES: dict[type[Record], Table] = {
    Adapter: _records("adapters", "name"),
    ApiKey: _records("api_keys", "hash", "fingerprint"),
    Dataset: _records("datasets", "name"),
    Erasure: _records("erasures", "who"),
    EvalReport: _records("eval_reports"),
    Exchange: exchanges,
    Feedback: _records(
        "feedback", "session", "exchange_id", "external_id", "name", Column("turn", Integer), Column("value", Double)
    ),
    JudgeCard: _records("judge_cards", "name", "judge", "rubric"),
    KeyRevocation: _records("key_revocations", "fingerprint"),
    Point: _records("points", "run_id"),
    Promotion: _records("promotions", "alias"),
    Run: _records("runs"),
    RunEvent: _records("run_events", "run_id"),
    Scenario: _records("scenarios"),
    Tagging: _records("taggings", "session", "exchange_id", "external_id"),
    Trajectory: _records("trajectories", "session"),
    UsageEntry: _records("usage_entries", "request", "epoch"),
}


def kind_of(record: Record | WireExchange) -> type[Record]:
    """The kind under which a record is kept; InvalidInput when the store does not keep it."""
    kind = Exchange if isinstance(record, WireExchange) else type(record)
    table_of(kind)
    return kind


def table_of(kind: type[Record]) -> Table:
    """The table of that kind of record; InvalidInput when the store does not keep it."""
    if kind not in TABLES:
        known = ", ".join(sorted(each.__name__ for each in TABLES))
        raise InvalidInput(f"the store does not keep {kind.__name__} records; it keeps {known}")
    return TABLES[kind]


def microseconds(at: datetime) -> int:
    """A moment as the `at` columns hold it; a time without a zone is taken as UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
