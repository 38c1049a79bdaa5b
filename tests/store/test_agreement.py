"""The databases and the memory store give the same answers, whatever is put, searched, tagged and forgotten."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from journeyman.records import (
    ApiKey,
    Choice,
    Condition,
    Exchange,
    Feedback,
    Filter,
    KeyRevocation,
    Message,
    Tagging,
    Tool,
    WireExchange,
)
from journeyman.records.message import assistant, system, user
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore
from journeyman.store.tables import TABLES

DAY = datetime(2026, 7, 1, tzinfo=UTC)


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


def exchange(number: int, *said: Message, **fields: object) -> Exchange:
    known = {"id": f"{number:03}", "at": DAY + timedelta(minutes=number), "model": "m", "state": "complete"}
    return Exchange.model_validate({**known, "messages": said, **fields})


def found(store, where: str) -> list[int]:
    return [int(each.id) for each in store.find(Exchange, Filter.parse(where))]


PROMPT = "You are an assistant of a bank and know its refund policy by heart. " * 5


@pytest.fixture
def library(store):
    first = assistant("Our Refund-Policy: thirty days.")
    parts = [{"type": "text", "text": "Résumé of the refund"}, {"type": "text", "text": "policy 退款"}]
    store.put(
        exchange(1, user("What is it?"), choices=(Choice(message=first), Choice(message=assistant("Ask Zoë.")))),
        exchange(2, user("What is it?"), first, user("thanks"), choices=(Choice(message=assistant("bye")),)),
        exchange(3, user("What is it?"), assistant("No."), user("oh")),
        exchange(4, Message(role="user", content=parts)),
        exchange(5, system(PROMPT), user("hello")),
        exchange(6, system(PROMPT), user("hello"), assistant("hi"), user("A" * 5000 + " zebra")),
        exchange(7, user("refund"), user("policy")),
    )
    return store


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('text ~ "refund policy"', [6, 5, 2, 1]),
        ('text ~ "REFUND, policy!"', [6, 5, 2, 1]),
        ("text ~ resume", [4]),
        ("text ~ 退款", [4]),
        ("text ~ 款退", []),
        ("text ~ zoe", [1]),
        ("text ~ bye", [2]),
        ('text ~ "What is it"', [3, 2, 1]),
        ("text ~ zebra and text ~ hello", [6]),
        ("text ~ zebra or text ~ oh", [6, 3]),
        ("text ~ fund", []),
        ('text ~ "heart You are"', [6, 5]),
        ('text ~ "by heart hello"', []),
        ('text ~ "heart" and state = failed', []),
    ],
)
def test_phrases_are_found_where_they_were_said(library, where, expected):
    assert found(library, where) == expected
    assert library.count(Exchange, Filter.parse(where)) == {"": len(expected)}


def test_a_phrase_without_a_word_is_refused(library):
    with pytest.raises(Exception, match="no word"):
        library.find(Exchange, Filter.parse('text ~ "%%"'))


def test_what_is_put_as_wire_is_the_same_record(store):
    tool = Tool.model_validate({"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}})
    kept = exchange(
        1, system(PROMPT), user("ü"), tools=(tool,), sampling={"temperature": 0.5, "x": [None]},
        choices=(Choice(message=assistant("b")),), tags={"a": "b"}, session="s", person="p", external_id="e",
        attempts=[{"upstream": "u", "served": "m", "error": "e", "latency": 0.5}], time_to_first_token=0.25, parser=1,
    )  # fmt: skip
    wire = WireExchange.of(kept)
    store.put(wire)
    assert store.get(Exchange, "001") == kept
    assert WireExchange.of(kept) == wire
    store.put(WireExchange.of(kept.model_copy(update={"state": "failed"})))
    assert store.get(Exchange, "001").state == "complete"
    assert found(store, "sampling.temperature = 0.5 and person = p and external_id = e") == [1]


def test_text_that_databases_refuse_comes_back_as_it_was(store):
    odd = exchange(1, user("a\0b \ud83d"), session="s\0", error="\ud83d", tags={"k\0": "v\0", "plain": "x"})
    note = Feedback(id="1", session="s", name="n\0", reason="a\0 \ud83d", by="t")
    store.put(odd, exchange(2), note)
    assert store.get(Exchange, "001") == odd
    assert store.get(Feedback, "1") == note
    assert found(store, "tags.plain = x and text ~ b") == [1]
    store.put(Tagging(exchange_id="001", tags={"p": "q"}, by="t"))
    assert store.get(Exchange, "001").tags == {"k\0": "v\0", "plain": "x", "p": "q"}


def test_numbers_beyond_64_bits_come_back(store):
    huge = Message.model_validate({"role": "user", "content": "x", "n": 10**30})
    store.put(exchange(1, huge), WireExchange.of(exchange(2, user("y"), Message(role="user", x=10**30))))
    assert store.get(Exchange, "001").messages == (huge,)
    assert store.get(Exchange, "002").messages[1].x == 10**30


def test_feedback_is_found_by_every_name_it_may_give(store):
    store.put(
        *(exchange(number, session="s", external_id=f"e{number}") for number in range(3)),
        Feedback(exchange_id="000", name="a", value=1, by="t"),
        Feedback(external_id="e1", name="a", value=1, by="t"),
        Feedback(session="s", turn=2, name="turn", value=1, by="t"),
        Feedback(session="s", external_id="e0", name="both", value=1, by="t"),
        Feedback(session="other", exchange_id="000", name="astray", value=1, by="t"),
    )
    assert found(store, "feedback.a = 1") == [1, 0]
    assert found(store, "feedback.turn = 1") == [2]
    assert found(store, "feedback.both = 1") == [0]
    assert found(store, "feedback.astray = 1") == []
    assert found(store, "feedback.turn != 1") == [1, 0]
    assert store.count(Exchange, by="feedback.a") == {"1": 2, "null": 1}


def test_taggings_reach_what_is_there_and_what_comes_later(store):
    store.put(exchange(1, session="s", tags={"own": "1", "stage": "test"}), exchange(2, session="t", external_id="e"))
    store.put(
        Tagging(session="s", tags={"stage": "late", "x": "1"}, by="t", at=DAY + timedelta(days=2)),
        Tagging(session="s", tags={"stage": "early", "y": "1"}, by="t", at=DAY + timedelta(days=1)),
        Tagging(external_id="e", session="u", tags={"wrong": "1"}, by="t"),
    )
    store.put(Tagging(external_id="e", tags={"right": "1"}, by="t"))
    store.put(exchange(3, session="s"))
    assert store.get(Exchange, "001").tags == {"own": "1", "stage": "late", "x": "1", "y": "1"}
    assert store.get(Exchange, "002").tags == {"right": "1"}
    assert store.get(Exchange, "003").tags == {"stage": "late", "x": "1", "y": "1"}
    assert found(store, "tags.stage = late") == [3, 1]


def test_keys_are_kept_and_found_by_their_hash(store):
    key = ApiKey(name="agent", hash="h1", fingerprint="f1")
    store.put(key, KeyRevocation(fingerprint="f1", by="me"))
    assert store.find(ApiKey, Filter.parse("hash = h1")) == [key]
    assert store.count(KeyRevocation, Filter.parse("fingerprint = f1")) == {"": 1}
    assert all(store.count(kind) for kind in TABLES)


WORDS = ["alpha", "beta", "gamma delta"]
REPLIES = [
    assistant("one"), assistant("two alpha"),
    Message.model_validate({"role": "assistant", "content": "one", "r": None}),
]  # fmt: skip
step = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 30), st.sampled_from(WORDS), st.sampled_from(REPLIES), st.booleans()),
    st.tuples(
        st.just("forget"), st.sampled_from(["session = a", "session = b", "text ~ beta", "at > 2026-07-01T00:05"])
    ),
    st.tuples(st.just("tag"), st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])),
    st.tuples(st.just("search"), st.sampled_from(["alpha", '"gamma delta"', "one", '"two alpha"', "operator"])),
)


@settings(
    max_examples=40, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(steps=st.lists(step, min_size=3, max_size=25))
def test_conversations_that_fork_and_are_forgotten_stay_whole(store, steps):
    memory = MemoryStore()
    for each in (store, memory):
        each.forget(Exchange, Filter.parse("model = m"))
        each.forget(Tagging, Filter.parse("by = t"))
    tips: list[tuple[Message, ...]] = [(system("operator " * 60),), ()]
    for number, (what, *about) in enumerate(steps):
        if what == "call":
            place, word, reply, is_final = about
            said = (*tips[place % len(tips)], user(word))
            call = exchange(
                number, *said, session="ab"[place % 2], choices=(Choice(message=reply),),
                state="complete" if is_final else "streaming",
            )  # fmt: skip
            tips += [said, (*said, reply), (*said, assistant(reply.text))]
            final = call.model_copy(update={"state": "complete"})
            for each in (store, memory):
                each.put(call)
                each.put(final)
        elif what == "forget":
            assert store.forget(Exchange, Filter.parse(about[0])) == memory.forget(Exchange, Filter.parse(about[0]))
        elif what == "tag":
            tagging = Tagging(id=f"t{number}", session=about[0], tags={"k": about[1]}, by="t")
            store.put(tagging)
            memory.put(tagging)
        else:
            where = Filter(conditions=(Condition(field="text", operator="~", value=about[0].strip('"')),))
            assert store.find(Exchange, where) == memory.find(Exchange, where)
    assert store.find(Exchange) == memory.find(Exchange)
