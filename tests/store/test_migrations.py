"""Databases that released versions made are opened and nothing in them is lost."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect

from journeyman.errors import JourneymanError
from journeyman.records import (
    Choice,
    Exchange,
    Feedback,
    Filter,
    Message,
    Point,
    Run,
    Sampling,
    Tokens,
    Tool,
    Usage,
    UsageEntry,
)
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.store.migrations import MIGRATIONS
from journeyman.store.sql import SqlStore
from journeyman.store.tables import METADATA

SCHEMAS = Path(__file__).parent / "schemas"
"""Dumps of databases that the last version with each schema wrote, all with the records below."""
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def id_of(number: int) -> str:
    return f"{number:032x}"


def kept_then() -> list[Exchange]:
    tool = Tool.model_validate(
        {"type": "function", "function": {"name": "balance", "parameters": {"z": 1, "a": {"type": "string"}}}, "x": 1}
    )
    said = [system("You work in a bank."), user("Résumé of my account?")]
    calls = []
    for turn in range(4):
        reply = call(f"c{turn}", "balance", account=turn)
        tokens = Tokens(prompt=(1, 2), reply=(3,), logprobs=(-0.5,)) if turn == 1 else None
        calls.append(
            Exchange(
                id=id_of(turn), at=DAY + timedelta(minutes=turn), model="support", state="complete", session="a",
                messages=tuple(said), tools=(tool,),
                choices=(Choice(message=reply, finish_reason="tool_calls", tokens=tokens),),
                usage=Usage(prompt_tokens=9 * turn, completion_tokens=turn), cost_usd=0.25, latency=1.5, status=200,
                tags={"stage": "production"},
            )
        )  # fmt: skip
        said += [reply, tool_result(f"c{turn}", "12.00")]
    content = [{"type": "text", "text": "half \ud83d"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
    odd = Message.model_validate({"zeta": {"b": 1, "a": [1.0, 1]}, "role": "user", "content": content})
    calls.append(
        Exchange(
            id=id_of(4), at=DAY + timedelta(minutes=4), model="gpt-4.1", state="complete", messages=(odd,),
            choices=(Choice(message=assistant("one")), Choice(message=assistant("two"))), session="ü \ud83d",
            sampling=Sampling.model_validate({"temperature": 0.5, "n": 2, "x": {"y": None}}),
        )
    )  # fmt: skip
    for number, more in ((5, {"state": "failed", "error": "boom", "status": 500}), (6, {"state": "started"})):
        about = {"id": id_of(number), "at": DAY + timedelta(minutes=number), "model": "support", **more}
        calls.append(Exchange.model_validate({**about, "messages": (user("hello"),)}))
    return calls


@pytest.fixture(params=[1, 2, 3, 4, 5])
def schema(request) -> int:
    return request.param


@pytest.fixture
def path(schema, tmp_path):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((SCHEMAS / f"{schema}.sql").read_text())
    return path


def test_a_released_schema_is_brought_up_to_date(schema, path):
    store = SqlStore(f"sqlite:///{path}")
    assert store.find(Exchange) == kept_then()[::-1]
    odd = store.get(Exchange, id_of(4)).messages[0]
    assert str(odd.wire()) == str(kept_then()[4].messages[0].wire())
    assert store.get(Feedback, id_of(20)).value == 1
    assert store.get(Run, id_of(21)).config == {"rank": 8}
    loss = store.get(Point, id_of(22)).values["loss"]
    assert loss != loss
    if schema > 1:
        assert store.get(UsageEntry, id_of(23)).picodollars == 5
    where = "feedback.success = 1 and text ~ resume and tags.stage = production and usage.prompt_tokens > 10"
    assert [each.id for each in store.find(Exchange, Filter.parse(where))] == [id_of(3), id_of(2)]
    store.put(*(each.model_copy(update={"state": "complete"}) for each in kept_then()[5:]))
    assert store.count(Exchange, by="state") == {"complete": 6, "failed": 1}
    store.close()


def test_the_result_is_what_a_new_database_is(path, tmp_path):
    def tables(store: SqlStore) -> dict[str, set[str]]:
        found = inspect(store._engine)
        columns = {name: {column["name"] for column in found.get_columns(name)} for name in found.get_table_names()}
        indexes = {index["name"] for name in columns for index in found.get_indexes(name)}
        return {**columns, "indexes": indexes}

    old, new = SqlStore(f"sqlite:///{path}"), SqlStore(f"sqlite:///{tmp_path / 'new.db'}")
    assert tables(old) == tables(new)
    old.close()
    new.close()


@pytest.mark.parametrize("schema", [1, 2], indirect=True)
def test_a_migration_that_fails_leaves_the_database_as_it_was(schema, path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE exchanges SET body = '{}' WHERE id = ?", (id_of(3),))
    before = "\n".join(sqlite3.connect(path).iterdump())
    with pytest.raises(KeyError):
        SqlStore(f"sqlite:///{path}")
    assert "\n".join(sqlite3.connect(path).iterdump()) == before


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "store.db"
    SqlStore(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(JourneymanError, match=r"newer Journeyman \(schema 99"):
        SqlStore(f"sqlite:///{path}")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_newest_migration_makes_the_tables_that_the_code_uses(database, request, tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}" if database == "sqlite" else request.getfixturevalue("postgres")
    store = SqlStore(url)
    found = inspect(store._engine)
    columns = {
        name: {column["name"] for column in found.get_columns(name)}
        for name in found.get_table_names()
        if "_words" not in name
    }
    assert columns == {table.name: {column.name for column in table.c} for table in METADATA.tables.values()}
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM schema_version").scalar() == len(MIGRATIONS)
        if database == "sqlite":
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 2
    store.close()
