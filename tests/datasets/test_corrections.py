"""A correction takes the reply's place, and what went on from the reply is not learned."""

from datetime import UTC, datetime, timedelta

import pytest

from journeyman.config import Settings
from journeyman.datasets.build import build_dataset
from journeyman.datasets.versions import load_rows
from journeyman.records import Choice, Exchange, Feedback, Filter
from journeyman.records.message import assistant, user
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import open_store

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = open_store(Settings(home=tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def replies(store, tmp_path):
    """`replies(**options)`: what a new dataset would teach, as the texts of each row, by conversation."""

    def build(**options):
        dataset = build_dataset(store, tmp_path / "datasets", "bank", Filter(), **options)
        found = {row.conversation: [message.text for message in row.messages] for row in load_rows(dataset)}
        return found, dataset.left_out

    return build


def put(store, session, *said, minute=0, **fields):
    """An exchange in which all but the last of what was said was asked."""
    speakers = [user(text) if number % 2 == 0 else assistant(text) for number, text in enumerate(said)]
    choices = (Choice(message=speakers[-1], finish_reason="stop"),)
    given = {"model": "m", "state": "complete", "at": AT + timedelta(minutes=minute), **fields}
    made = Exchange(session=session, messages=tuple(speakers[:-1]), choices=choices, **given)
    store.put(made)
    return made


def correct(store, text, minute=100, **about):
    store.put(
        Feedback(name="correction", correction=assistant(text), by="test", at=AT + timedelta(minutes=minute), **about)
    )


@pytest.fixture
def ann(store):
    made = put(store, "Ann", "Hi", "wrong", external_id="mine")
    put(store, "Ben", "Hello", "fine")
    put(store, "Cem", "Hey", "fine too")
    return made


@pytest.mark.parametrize("name", ["id", "external id", "turn"])
def test_the_newest_correction_is_the_reply(store, ann, replies, name):
    about = {
        "id": {"exchange_id": ann.id},
        "external id": {"external_id": "mine"},
        "turn": {"session": "Ann", "turn": 0},
    }
    correct(store, "newest", minute=300, **about[name])
    correct(store, "older", minute=200, **about[name])
    correct(store, "oldest", minute=100, exchange_id=ann.id)
    store.put(Feedback(name="success", value=0, exchange_id=ann.id, by="test"))
    found, left_out = replies()
    assert found == {"Ann": ["Hi", "newest"], "Ben": ["Hello", "fine"], "Cem": ["Hey", "fine too"]}
    assert left_out == 0
    assert replies(corrections=False)[0]["Ann"] == ["Hi", "wrong"]


def test_calls_that_went_on_from_a_corrected_reply_are_left_out(store, ann, replies):
    put(store, "Ann", "Hi", "wrong", "And?", "more", minute=1)
    put(store, "Ann", "Hi", "wrong", "And?", "more", "So?", "most", minute=2)
    assert replies()[0]["Ann"][-1] == "most"
    correct(store, "right", exchange_id=ann.id)
    found, left_out = replies()
    assert found["Ann"] == ["Hi", "right"]
    assert left_out == 2


def test_a_later_turn_is_corrected_in_its_place(store, ann, replies):
    put(store, "Ann", "Hi", "wrong", "And?", "more", minute=1)
    correct(store, "better", session="Ann", turn=1)
    correct(store, "nobody's", session="Ann", turn=7)
    assert replies()[0]["Ann"] == ["Hi", "wrong", "And?", "better"]


def test_a_correction_that_says_the_same_leaves_nothing_out(store, ann, replies):
    put(store, "Ann", "Hi", "wrong", "And?", "more", minute=1)
    correct(store, "wrong", exchange_id=ann.id)
    found, left_out = replies()
    assert (found["Ann"][-1], left_out) == ("more", 0)
