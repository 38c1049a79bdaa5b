"""Inserts many rows at once, past the query builder, which takes longer than the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection


def insert_columns(
    connection: Connection, table: str, columns: Mapping[str, Sequence[Any]], ending: str = ""
) -> None:  # fmt: skip
    """Insert the rows that these columns make, all of the same length; `ending` ends the statement."""
    given = {name: bindable(values) for name, values in columns.items() if not _is_empty(values)}
    if given:
        mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        names = ", ".join(f'"{name}"' for name in given)
        marks = ", ".join([mark] * len(given))
        rows = [*zip(*given.values(), strict=True)]
        connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks}){ending}", rows)


def bindable(values: Sequence[Any]) -> Sequence[Any]:
    """The values, all of one type, as they are bound to a statement in the shortest time."""
    # sqlite3 looks for an adapter of each None and each `bytes`, which takes longer than to store it.
    return [*map(bytearray, values)] if values and type(values[0]) is bytes else values


def _is_empty(values: Sequence[Any]) -> bool:
    return not values or (values[0] is None and values.count(None) == len(values))
