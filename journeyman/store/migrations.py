"""Brings a database from the schema it has to the schema this version knows.

A migration is a function, applied once and never changed afterwards: a later schema is a new function at the end.
Exchanges of a schema that kept them in another way are set aside by its migration; when the newest schema is there,
they are written into it as if they had just come.
"""

from collections.abc import Callable

from sqlalchemy import Connection, insert, inspect, select

from journeyman.errors import JourneymanError
from journeyman.store.carrying import carry_over
from journeyman.store.schema3 import m003_payloads_apart
from journeyman.store.schema4 import m004_payloads_in_blocks
from journeyman.store.tables import schema_version


def m001_records_and_messages(connection: Connection) -> None:
    """The first schema: a table for each kind of record, and messages in a hash chain."""
    indexed = {
        "adapters": ("name",),
        "datasets": ("name",),
        "eval_reports": (),
        "exchanges": ("session", "state"),
        "feedback": ("session", "exchange_id"),
        "points": ("run_id",),
        "promotions": ("alias",),
        "runs": (),
        "run_events": ("run_id",),
        "scenarios": (),
        "trajectories": ("session",),
    }
    statements = [
        "CREATE TABLE messages (hash VARCHAR PRIMARY KEY, parent VARCHAR REFERENCES messages (hash),"
        " text VARCHAR, body VARCHAR NOT NULL)",
        "CREATE INDEX messages_parent ON messages (parent)",
        "CREATE TABLE tool_sets (hash VARCHAR PRIMARY KEY, body VARCHAR NOT NULL)",
    ]
    for table, columns in indexed.items():
        own = "".join(f"{column} VARCHAR, " for column in columns)
        if table == "exchanges":
            own += "tools VARCHAR REFERENCES tool_sets (hash), tokens BLOB, "
        statements.append(f"CREATE TABLE {table} (id VARCHAR PRIMARY KEY, at BIGINT NOT NULL, {own}body JSON NOT NULL)")
        statements.append(f"CREATE INDEX {table}_at ON {table} (at, id)")
        statements += [f"CREATE INDEX {table}_{column} ON {table} ({column}, at)" for column in columns]
    statements += [
        "CREATE TABLE exchange_tips (exchange VARCHAR REFERENCES exchanges (id) ON DELETE CASCADE,"
        " message VARCHAR REFERENCES messages (hash), PRIMARY KEY (exchange, message))",
        "CREATE INDEX exchange_tips_message ON exchange_tips (message)",
        "CREATE INDEX exchanges_tools ON exchanges (tools)",
    ]
    for statement in statements:
        _execute(connection, statement)


def m002_usage_entries(connection: Connection) -> None:
    """The ledger."""
    columns = ("request", "epoch")
    own = "".join(f"{column} VARCHAR, " for column in columns)
    _execute(
        connection, f"CREATE TABLE usage_entries (id VARCHAR PRIMARY KEY, at BIGINT NOT NULL, {own}body JSON NOT NULL)"
    )
    _execute(connection, "CREATE INDEX usage_entries_at ON usage_entries (at, id)")
    for column in columns:
        _execute(connection, f"CREATE INDEX usage_entries_{column} ON usage_entries ({column}, at)")


def m005_judge_cards(connection: Connection) -> None:
    """What was measured of judges."""
    columns = ("name", "judge", "rubric")
    own = "".join(f"{column} VARCHAR, " for column in columns)
    _execute(
        connection,
        f"CREATE TABLE judge_cards (id VARCHAR PRIMARY KEY, at BIGINT, {own}body JSON NOT NULL, exact VARCHAR)",
    )
    _execute(connection, "CREATE INDEX judge_cards_at ON judge_cards (at, id)")
    for column in columns:
        _execute(connection, f"CREATE INDEX judge_cards_{column} ON judge_cards ({column}, at)")


def m006_costs_of_a_model(connection: Connection) -> None:
    """A model's dear calls are told from its index, without a look at each of the others."""
    _execute(connection, "DROP INDEX exchanges_model")
    _execute(connection, "CREATE INDEX exchanges_model ON exchanges (model, at, cost_usd)")


def _execute(connection: Connection, statement: str) -> None:
    """The statement, in the database's own names for its types. Text is ordered by its bytes, as in Python."""
    if connection.dialect.name == "postgresql":
        statement = statement.replace("VARCHAR", 'TEXT COLLATE "C"').replace("BLOB", "BYTEA")
    connection.exec_driver_sql(statement)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    m001_records_and_messages,
    m002_usage_entries,
    m003_payloads_apart,
    m004_payloads_in_blocks,
    m005_judge_cards,
    m006_costs_of_a_model,
)


def version(connection: Connection) -> int:
    """The schema's version; 0 for an empty database. JourneymanError when a newer Journeyman wrote it."""
    if not inspect(connection).has_table(schema_version.name):
        return 0
    found = int(connection.scalar(select(schema_version.c.version)) or 0)
    if found > len(MIGRATIONS):
        raise JourneymanError(
            f"the database was written by a newer Journeyman (schema {found}; this one knows {len(MIGRATIONS)}). "
            "Nothing was changed. Upgrade journeyman, or set JOURNEYMAN_HOME to another folder"
        )
    return found


def migrate(connection: Connection) -> None:
    """Apply the migrations that are missing, inside the caller's transaction."""
    found = version(connection)
    if found == 0:
        connection.exec_driver_sql("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute(insert(schema_version).values(version=0))
    for migration in MIGRATIONS[found:]:
        migration(connection)
    carry_over(connection)
    connection.execute(schema_version.update().values(version=len(MIGRATIONS)))
