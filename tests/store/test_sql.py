import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, inspect

from journeyman.config import Settings
from journeyman.errors import DiskFull, InvalidInput, JourneymanError
from journeyman.records import Choice, Exchange, Filter, Point, Tool
from journeyman.records.message import assistant, system, user
from journeyman.store.migrations import MIGRATIONS
from journeyman.store.sql import SqlStore, open_store
from journeyman.store.tables import METADATA


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path):
    opened = SqlStore(f"sqlite:///{path}")
    yield opened
    opened.close()


def conversation(session: str, calls: int, tools: tuple[Tool, ...] = ()) -> list[Exchange]:
    """The exchanges of one conversation: each sends all that was said before."""
    said = [system("You work in a bank."), user(f"I am {session}")]
    made = []
    for number in range(calls):
        reply = assistant(f"{session} {number}")
        made.append(
            Exchange(model="m", state="complete", session=session, messages=tuple(said), tools=tools,
                     choices=(Choice(message=reply),))
        )  # fmt: skip
        said += [reply, user(f"and {number}?")]
    return made


def rows(path, table: str) -> int:
    with sqlite3.connect(path) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_each_message_and_tool_set_is_stored_once(store, path):
    tools = (Tool.model_validate({"type": "function", "function": {"name": "balance"}}),)
    store.put(*conversation("a", 8, tools), *conversation("b", 1, tools))
    said_by_a = 2 + 8 + 7
    said_by_b_alone = 2
    assert rows(path, "messages") == said_by_a + said_by_b_alone
    assert rows(path, "tool_sets") == 1


def test_forget_removes_messages_and_tools_that_nothing_needs(store, path):
    tool = Tool.model_validate({"function": {"name": "only a"}})
    kept = conversation("b", 2)
    store.put(*conversation("a", 5, (tool,)), *kept)
    assert store.forget(Exchange, Filter.parse("session = a")) == 5
    assert store.find(Exchange) == kept[::-1]
    assert (rows(path, "messages"), rows(path, "tool_sets")) == (5, 0)
    store.forget(Exchange, Filter.parse("session = b"))
    assert (rows(path, "messages"), rows(path, "exchange_tips")) == (0, 0)


def test_finding_many_exchanges_takes_few_queries(store):
    for number in range(125):
        store.put(*conversation(f"s{number}", 8))
    asked = []
    event.listen(store._engine, "before_cursor_execute", lambda *about: asked.append(about[2]))
    assert len(store.find(Exchange, limit=1000)) == 1000
    assert len(asked) < 10


def test_a_put_that_fails_leaves_nothing(store, path):
    with pytest.raises(InvalidInput):
        store.put(*conversation("a", 3), Filter())
    assert (rows(path, "messages"), rows(path, "exchanges")) == (0, 0)


def test_threads_write_and_read_at_once(store):
    def work(number: int) -> int:
        for each in conversation(f"s{number}", 5):
            store.put(each)
            store.find(Exchange, Filter.parse(f"session = s{number}"))
        return store.count(Exchange, Filter.parse(f"session = s{number}"))[""]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == [5] * 16
    assert store.count(Exchange) == {"": 80}


def _write(path, name: str) -> None:
    opened = SqlStore(f"sqlite:///{path}")
    for each in conversation(name, 10):
        opened.put(each)
    opened.close()


def test_processes_open_and_write_at_once(path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, f"p{number}")) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = SqlStore(f"sqlite:///{path}")
    assert store.count(Exchange, by="session") == {f"p{number}": 10 for number in range(4)}
    store.close()


def test_reopening_finds_what_was_kept(path):
    first = SqlStore(f"sqlite:///{path}")
    kept = conversation("a", 2)
    first.put(*kept)
    first.close()
    second = SqlStore(f"sqlite:///{path}")
    assert second.find(Exchange) == kept[::-1]
    second.close()


def test_open_store_makes_the_home_folder(tmp_path):
    settings = Settings(home=tmp_path / "deep" / "home")
    store = open_store(settings)
    store.put(Point(run_id="r", step=1, values={}))
    store.close()
    assert (settings.home / "journeyman.db").exists()


def test_a_home_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="JOURNEYMAN_HOME"):
        open_store(Settings(home=tmp_path / "file" / "home"))


def test_a_full_disk_says_so_and_keeps_what_was_there(store):
    kept = conversation("a", 1)
    store.put(*kept)
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    huge = Exchange(model="m", state="complete", messages=(user("x" * 1_000_000),))
    with pytest.raises(DiskFull, match="Nothing of this write was kept"):
        store.put(huge)
    assert store.find(Exchange) == kept


def test_a_database_locked_for_too_long_says_so(path):
    store = SqlStore(f"sqlite:///{path}", busy_timeout=0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(JourneymanError, match=r"kept .* locked for more than 0.05 seconds"):
        store.put(*conversation("a", 1))
    assert store.count(Exchange) == {"": 0}
    holder.execute("ROLLBACK")
    store.put(*conversation("a", 1))
    holder.close()
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(path):
    SqlStore(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(JourneymanError, match=r"newer Journeyman \(schema 99"):
        SqlStore(f"sqlite:///{path}")


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JourneymanError, match="damaged or not a Journeyman database"):
        SqlStore(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://localhost/x"])
def test_databases_that_would_lose_records_are_refused(url):
    with pytest.raises(InvalidInput, match="sqlite:///PATH"):
        SqlStore(url)


def test_the_newest_migration_makes_the_tables_that_the_code_uses(store):
    found = inspect(store._engine)
    expected = {table.name: {column.name for column in table.c} for table in METADATA.tables.values()}
    assert {
        name: {column["name"] for column in found.get_columns(name)} for name in found.get_table_names()
    } == expected
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM schema_version").scalar() == len(MIGRATIONS)
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
