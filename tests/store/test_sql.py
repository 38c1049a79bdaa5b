import json
import multiprocessing
import os
import random
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, select

from journeyman.config import Settings
from journeyman.errors import DiskFull, InvalidInput, JourneymanError
from journeyman.records import Choice, Exchange, Filter, Message, Point, Tool
from journeyman.records.message import assistant, system, user
from journeyman.store.encoding import decompress
from journeyman.store.payloads import read_payloads
from journeyman.store.sql import SqlStore, open_store
from journeyman.store.tables import blocks, payloads


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


def own_messages(store: SqlStore) -> list[int]:
    """How many messages each payload holds itself, in the order in which they came."""
    with store._engine.connect() as connection:
        rows = connection.execute(select(payloads).order_by(payloads.c.number)).all()
        return [len(payload.own) for payload in read_payloads(connection, rows)]


def test_each_message_and_tool_set_is_stored_once(store, path):
    tools = (Tool.model_validate({"type": "function", "function": {"name": "balance"}}),)
    store.put(*conversation("a", 4, tools))
    for each in conversation("a", 8, tools):  # arrives call by call; the first half again, under new ids
        store.put(each)
    store.put(*conversation("b", 1, tools))
    assert own_messages(store) == [2, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert rows(path, "parts") == 1


def test_a_reply_that_comes_back_without_the_answers_own_fields_is_stored_once(store):
    reply = Message.model_validate({"role": "assistant", "content": "hi", "refusal": None, "annotations": []})
    first = Exchange(model="m", state="complete", messages=(user("a"),), choices=(Choice(message=reply),))
    said = (user("a"), assistant("hi"), user("b"))
    as_it_was = Exchange(model="m", state="complete", messages=(user("a"), reply, user("b")))
    changed = Exchange(model="m", state="complete", messages=(user("a"), assistant("Hi!"), user("b")))
    calls = [first, Exchange(model="m", state="complete", messages=said), as_it_was, changed]
    store.put(*calls)
    assert own_messages(store) == [1, 1, 1, 2]
    assert [store.get(Exchange, each.id) for each in calls] == calls
    assert [str(each.wire()) for each in store.get(Exchange, as_it_was.id).messages[1:2]] == [str(reply.wire())]


def test_large_pieces_are_shared_between_sessions(store, path):
    prompt, image = "Answer in one line. " * 50, {"type": "image_url", "image_url": {"url": "data:," + "A" * 9000}}
    calls = [
        Exchange(
            model="m", state="complete", session=f"s{number}",
            messages=(system(prompt), Message(role="user", content=[{"type": "text", "text": str(number)}, image])),
        )
        for number in range(5)
    ]  # fmt: skip
    store.put(*calls[:3])
    store.put(*calls[3:])
    assert store.find(Exchange) == calls[::-1]
    assert rows(path, "parts") == 2
    assert store.count(Exchange, Filter.parse('text ~ "answer in one line"')) == {"": 5}
    assert store.count(Exchange, Filter.parse("text ~ AAAA")) == {"": 0}
    assert store.forget(Exchange, Filter.parse("session != s4")) == 4
    assert rows(path, "parts") == 2
    assert store.find(Exchange) == calls[4:]
    store.forget(Exchange, Filter.parse("session = s4"))
    assert [rows(path, table) for table in ("parts", "part_bodies", "payloads", "tips")] == [0] * 4


def test_a_long_session_takes_a_tenth_of_its_requests(store, path):
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(2, 9))) for _ in range(3000)]
    said, raw = [], 0
    for _ in range(50):
        said += [user(" ".join(chance.choices(words, k=160)))]
        reply = assistant(" ".join(chance.choices(words, k=160)))
        call = Exchange(model="m", state="complete", messages=tuple(said), choices=(Choice(message=reply),))
        raw += sum(len(message.model_dump_json()) for message in said)
        store.put(call)
        said.append(reply)
    store.index_text()
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        empty = 90  # pages of the tables themselves
        used = (pages - empty) * connection.exec_driver_sql("PRAGMA page_size").scalar()
    assert used < raw / 10


def test_forget_removes_messages_and_tools_that_nothing_needs(store, path):
    tool = Tool.model_validate({"function": {"name": "only a"}})
    kept = conversation("b", 2)
    store.put(*conversation("a", 5, (tool,)), *kept)
    store.index_text()
    assert store.forget(Exchange, Filter.parse("session = a")) == 5
    assert store.find(Exchange) == kept[::-1]
    assert (rows(path, "payloads"), rows(path, "parts")) == (2, 0)
    store.forget(Exchange, Filter.parse("session = b"))
    assert (rows(path, "payloads"), rows(path, "tips")) == (0, 0)


def test_what_others_continue_stays_and_nothing_else(store, path):
    first, second, third = conversation("a", 3)
    secret = third.model_copy(update={"id": "0", "choices": (Choice(message=assistant("a secret")),), "at": first.at})
    retried = second.model_copy(update={"id": "1", "at": first.at})
    store.put(first, second, secret, retried)
    store.index_text()
    assert store.forget(Exchange, Filter.parse(f"id = {first.id} or id = {second.id}")) == 2
    assert store.find(Exchange) == [retried, secret]
    assert store.count(Exchange, Filter.parse('text ~ "i am a"')) == {"": 2}
    assert store.forget(Exchange, Filter.parse("id = 0")) == 1
    assert b"secret" not in b"".join(unpacked(store))
    assert b"a 1" not in b"".join(unpacked(store.__class__(f"sqlite:///{path}"))[:1])
    assert store.find(Exchange) == [retried]
    store.forget(Exchange, Filter.parse("id = 1"))
    assert rows(path, "payloads") == 0


def unpacked(store: SqlStore) -> list[bytes]:
    with store._engine.connect() as connection:
        rows = connection.execute(select(payloads).order_by(payloads.c.number)).all()
        found = [json.dumps(payload.body).encode() for payload in read_payloads(connection, rows)]
        return [*found, *map(decompress, connection.scalars(select(blocks.c.body)))]


def test_the_disk_gets_back_what_was_forgotten(store, path):
    noise = random.Random(0)
    store.put(
        *(
            Exchange(model="m", state="complete", session="s", messages=(user(noise.randbytes(2000).hex()),))
            for _ in range(300)
        )
    )
    store.index_text()
    store.shrink()
    before = path.stat().st_size
    store.forget(Exchange, Filter.parse("session = s"))
    store.shrink()
    assert path.stat().st_size < before / 3


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
    assert (rows(path, "payloads"), rows(path, "exchanges")) == (0, 0)


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
    huge = Exchange(model="m", state="complete", messages=(user(random.Random(0).randbytes(500_000).hex()),))
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


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JourneymanError, match="damaged or not a Journeyman database"):
        SqlStore(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x", "not a url"])
def test_databases_that_would_lose_records_are_refused(url):
    with pytest.raises(InvalidInput, match="sqlite:///PATH"):
        SqlStore(url)


def test_a_postgres_that_is_not_there_says_so_without_its_password():
    with pytest.raises(JourneymanError, match="does not answer") as told:
        SqlStore("postgresql://me:hidden@127.0.0.1:1/x")
    assert "hidden" not in str(told.value)


def _put_and_die(path) -> None:
    opened = SqlStore(f"sqlite:///{path}")

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    event.listen(opened._engine, "commit", die)
    opened.put(*conversation("a", 20))


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_half_done(store, path):
    kept = conversation("b", 2)
    store.put(*kept)
    worker = multiprocessing.get_context("spawn").Process(target=_put_and_die, args=(path,))
    worker.start()
    worker.join(timeout=120)
    assert worker.exitcode == -signal.SIGKILL
    assert store.find(Exchange) == kept[::-1]
    store.put(*conversation("a", 20))
    assert store.count(Exchange) == {"": 22}


def test_others_write_while_many_are_forgotten(store, path):
    for number in range(30):
        store.put(*conversation(f"s{number}", 40))
    other = SqlStore(f"sqlite:///{path}", busy_timeout=5)
    with ThreadPoolExecutor(1) as pool:
        forgetting = pool.submit(store.forget, Exchange, Filter.parse("session ~ s"))
        written = 0
        while not forgetting.done():
            other.put(*conversation("kept", 1))
            written += 1
        assert forgetting.result() == 1200
    assert written > 2
    assert other.count(Exchange, by="session") == {"kept": written}
    other.close()


def test_words_that_came_after_the_index_are_found_at_once(store):
    store.put(*conversation("a", 2))
    assert store.index_text() == 2
    assert store.index_text() == 0
    store.put(*conversation("b", 3))
    assert store.count(Exchange, Filter.parse('text ~ "I am b"')) == {"": 3}


def test_another_rule_for_words_indexes_anew(store, path):
    store.put(*conversation("a", 2))
    store.index_text()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE text_index SET words = words - 1")
    assert store.count(Exchange, Filter.parse("text ~ bank")) == {"": 2}
    assert store.index_text() == 0
