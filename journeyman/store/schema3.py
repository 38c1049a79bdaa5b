"""The third schema: exchanges in columns, what was said apart and compressed, words in an index of their own."""

from sqlalchemy import Connection

_EXCHANGES = """
CREATE TABLE exchanges (
  number {NUMBER} PRIMARY KEY, at BIGINT NOT NULL, id {TEXT} NOT NULL, session {TEXT}, state {TEXT}, api {TEXT},
  model {TEXT}, upstream {TEXT}, served {TEXT}, adapter {TEXT}, key {TEXT}, project {TEXT}, person {TEXT},
  external_id {TEXT}, response_id {TEXT}, trace {TEXT}, span {TEXT}, source {TEXT}, fidelity {TEXT}, error {TEXT},
  status BIGINT, parser BIGINT, prompt_tokens BIGINT, completion_tokens BIGINT, cached_prompt_tokens BIGINT,
  cost_usd DOUBLE PRECISION, latency DOUBLE PRECISION, time_to_first_token DOUBLE PRECISION, tags JSON, sampling JSON)
"""
_STATEMENTS = (
    "CREATE UNIQUE INDEX exchanges_id ON exchanges (id)",
    "CREATE INDEX exchanges_at ON exchanges (at, id)",
    "CREATE INDEX exchanges_state ON exchanges (state, at)",
    "CREATE INDEX exchanges_model ON exchanges (model, at)",
    "CREATE INDEX exchanges_session ON exchanges (session, at) WHERE session IS NOT NULL",
    "CREATE INDEX exchanges_external_id ON exchanges (external_id) WHERE external_id IS NOT NULL",
    "CREATE INDEX exchanges_person ON exchanges (person, at) WHERE person IS NOT NULL",
    "CREATE INDEX exchanges_trace ON exchanges (trace) WHERE trace IS NOT NULL",
    "CREATE TABLE payloads (number {NUMBER} PRIMARY KEY, parent BIGINT, point SMALLINT, tips {BYTES},"
    " body {BYTES} NOT NULL)",
    "CREATE INDEX payloads_parent ON payloads (parent) WHERE parent IS NOT NULL",
    "CREATE TABLE tips (hash {BYTES} PRIMARY KEY, number BIGINT NOT NULL, point SMALLINT NOT NULL){KEYED}",
    "CREATE TABLE parts (number {NUMBER} PRIMARY KEY, hash {BYTES} NOT NULL, uses BIGINT NOT NULL,"
    " searched SMALLINT NOT NULL)",
    "CREATE UNIQUE INDEX parts_hash ON parts (hash)",
    "CREATE TABLE part_bodies (number {NUMBER} PRIMARY KEY, body {BYTES} NOT NULL)",
    "CREATE TABLE text_index (indexed BIGINT NOT NULL, words INTEGER NOT NULL)",
    "INSERT INTO text_index (indexed, words) VALUES (0, 1)",
    "ALTER TABLE feedback ADD COLUMN external_id {TEXT}",
    "ALTER TABLE feedback ADD COLUMN name {TEXT}",
    "ALTER TABLE feedback ADD COLUMN turn INTEGER",
    "ALTER TABLE feedback ADD COLUMN value DOUBLE PRECISION",
    "CREATE INDEX feedback_external_id ON feedback (external_id, at)",
    "CREATE INDEX feedback_name ON feedback (name, at)",
)
_SQLITE = (
    "CREATE VIRTUAL TABLE exchange_words USING fts5"
    " (asked, said, others, content='', columnsize=0, tokenize='ascii')",
    "CREATE VIRTUAL TABLE part_words USING fts5 (words, content='', columnsize=0, tokenize='ascii')",
    "UPDATE feedback SET name = json_extract(body, '$.name'), turn = json_extract(body, '$.turn'),"
    " value = json_extract(body, '$.value')",
)  # fmt: skip
_POSTGRES = (
    "CREATE TABLE exchange_words (number BIGINT PRIMARY KEY, asked TEXT NOT NULL, said TEXT NOT NULL,"
    " others TEXT NOT NULL)",
    "CREATE INDEX exchange_words_all ON exchange_words USING gin (string_to_array(asked || said || others, ' '))",
    "CREATE TABLE part_words (number BIGINT PRIMARY KEY, words TEXT NOT NULL)",
    "CREATE INDEX part_words_all ON part_words USING gin (string_to_array(words, ' '))",
)
_NEW = {
    "api_keys": ("hash", "fingerprint"),
    "erasures": ("who",),
    "key_revocations": ("fingerprint",),
    "taggings": ("session", "exchange_id", "external_id"),
}
_KEPT = (
    "adapters", "datasets", "eval_reports", "feedback", "points", "promotions", "runs", "run_events", "scenarios",
    "trajectories", "usage_entries",
)  # fmt: skip


def m003_payloads_apart(connection: Connection) -> None:
    """New tables for exchanges; those that are there are set aside as `old_…` and carried over afterwards."""
    postgres = connection.dialect.name == "postgresql"
    types = {"NUMBER": "INTEGER", "TEXT": "VARCHAR", "BYTES": "BLOB", "KEYED": " WITHOUT ROWID"}
    if postgres:
        types = {"NUMBER": "BIGINT", "TEXT": 'TEXT COLLATE "C"', "BYTES": "BYTEA", "KEYED": ""}
    # Names of indexes are unique in a database, and go with their tables.
    for index in ("at", "session", "state", "tools"):
        connection.exec_driver_sql(f"DROP INDEX exchanges_{index}")
    connection.exec_driver_sql("ALTER TABLE exchanges RENAME TO old_exchanges")
    if postgres:
        connection.exec_driver_sql("ALTER INDEX exchanges_pkey RENAME TO old_exchanges_pkey")
    connection.exec_driver_sql("CREATE INDEX old_exchanges_at ON old_exchanges (at, id)")
    for table in _KEPT:
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN exact {types['TEXT']}")
    for table, columns in _NEW.items():
        own = "".join(f"{column} {types['TEXT']}, " for column in columns)
        connection.exec_driver_sql(
            f"CREATE TABLE {table} (id {types['TEXT']} PRIMARY KEY, at BIGINT NOT NULL, {own}body JSON NOT NULL,"
            f" exact {types['TEXT']})"
        )
        connection.exec_driver_sql(f"CREATE INDEX {table}_at ON {table} (at, id)")
        for column in columns:
            connection.exec_driver_sql(f"CREATE INDEX {table}_{column} ON {table} ({column}, at)")
    for statement in (_EXCHANGES, *_STATEMENTS):
        connection.exec_driver_sql(statement.format(**types))
    for statement in _POSTGRES if postgres else _SQLITE:
        connection.exec_driver_sql(statement)
