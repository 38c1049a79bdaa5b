"""Erasing a person or a session, on every store."""

from datetime import UTC, datetime

import pytest

from journeyman.records import Choice, Erasure, Exchange, Feedback, Filter, Tagging, Trajectory, who_hash
from journeyman.records.message import assistant, user
from journeyman.store.erasure import erase, is_erased
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore

AT = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def store(request, tmp_path):
    if request.param == "memory":
        opened = MemoryStore()
    elif request.param == "sqlite":
        opened = SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    else:
        opened = SqlStore(request.getfixturevalue("postgres"))
    yield opened
    opened.close()


def put_calls(store, person: str, session: str, number: int = 3) -> list[Exchange]:
    said = [user("the common beginning")]
    calls = []
    for turn in range(number):
        reply = assistant(f"for {person} in {session}, turn {turn}")
        calls.append(
            Exchange(model="m", state="complete", session=session, person=person, external_id=f"{session}/{turn}",
                     messages=tuple(said), choices=(Choice(message=reply),))
        )  # fmt: skip
        said += [reply, user("go on")]
    store.put(*calls)
    store.put(
        Feedback(session=session, name="success", value=1, by="test"),
        Feedback(exchange_id=calls[0].id, name="good", value=1, by="test"),
        Feedback(external_id=f"{session}/1", name="fine", value=1, by="test"),
        Tagging(session=session, tags={"seen": "yes"}, by="test"),
        Trajectory(scenario_id="1", model="m", session=session, messages=(user("x"),)),
    )
    return calls


def test_a_person_is_erased_with_all_that_was_said_about_it(store):
    gone = [*put_calls(store, "ann", "a"), *put_calls(store, "ann", "shared")]
    put_calls(store, "bob", "b")
    store.put(Exchange(model="m", state="complete", session="shared", person="bob", messages=(user("mine"),)))
    assert store.count(Exchange, Filter.parse('text ~ "for ann"')) == {"": 6}
    left = erase(store, "person", "ann", by="office")
    assert sorted(id for each in left for id in each.exchanges) == sorted(each.id for each in gone)
    assert store.count(Exchange, by="person") == {"bob": 4}
    assert store.count(Exchange, Filter.parse('text ~ "for ann"')) == {"": 0}
    assert store.count(Exchange, Filter.parse('text ~ "common beginning"')) == {"": 3}
    assert store.count(Feedback, by="session") == {"b": 1, "shared": 1, "null": 2}
    assert store.count(Tagging) == store.count(Trajectory) == {"": 2}
    assert (is_erased(store, "person", "ann"), is_erased(store, "person", "bob")) == (True, False)
    assert "ann" not in store.find(Erasure)[0].model_dump_json()


def test_a_session_is_erased_with_all_that_was_said_about_it(store):
    put_calls(store, "ann", "a")
    put_calls(store, "ann", "b")
    [left] = erase(store, "session", "a", by="office")[:1]
    assert (len(left.exchanges), left.who) == (3, who_hash("session", "a"))
    assert store.count(Exchange, by="session") == {"b": 3}
    assert store.count(Feedback) == {"": 3}
    assert store.count(Tagging) == store.count(Trajectory) == {"": 1}
    assert is_erased(store, "session", "a")


def test_an_erasure_of_what_is_not_there_is_known_too(store):
    erase(store, "session", "nobody", by="office")
    assert is_erased(store, "session", "nobody")
