"""The fourth schema: payloads of a batch compressed together, and an index of states without the usual one."""

from sqlalchemy import Connection


def m004_payloads_in_blocks(connection: Connection) -> None:
    """New payloads stand in blocks; those that are there stay where they are."""
    postgres = connection.dialect.name == "postgresql"
    number, body = ("BIGINT", "BYTEA") if postgres else ("INTEGER", "BLOB")
    connection.exec_driver_sql("ALTER TABLE payloads ADD COLUMN block BIGINT")
    connection.exec_driver_sql(f"CREATE TABLE blocks (number {number} PRIMARY KEY, body {body} NOT NULL)")
    if not postgres:
        # Whose conversation goes back far: the few that a search among the newest must look for.
        connection.exec_driver_sql(
            "CREATE INDEX payloads_far ON payloads (number, parent) WHERE number - parent > 4096"
        )
    connection.exec_driver_sql("DROP INDEX exchanges_state")
    connection.exec_driver_sql("CREATE INDEX exchanges_state ON exchanges (state, at) WHERE state <> 'complete'")
