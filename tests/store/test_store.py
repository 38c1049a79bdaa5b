"""What every store promises; each test runs on all of them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from journeyman.errors import InvalidInput
from journeyman.records import (
    Adapter,
    Choice,
    Condition,
    Exchange,
    Feedback,
    Filter,
    Message,
    Point,
    Record,
    Run,
    Sampling,
    State,
    Tagging,
    Tokens,
    Tool,
    Trajectory,
    Usage,
)
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore
from journeyman.store.store import Store

DAY = datetime(2026, 7, 1, tzinfo=UTC)
ids = [f"{number:032x}" for number in range(100)]


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


def exchange(number: int = 0, **fields: object) -> Exchange:
    said = {"messages": (user("hello"),), "choices": (Choice(message=assistant("hi"), finish_reason="stop"),)}
    known = {"id": ids[number], "at": DAY + timedelta(minutes=number), "model": "support", "state": "complete"}
    return Exchange.model_validate({**known, **said, **fields})


def found(store: Store, where: str, kind: type[Record] = Exchange) -> list[int]:
    return [ids.index(record.id) for record in store.find(kind, Filter.parse(where))]


def test_what_was_put_is_got_back(store):
    run = Run(kind="sft", config={"a": [1, {"b": None}]}, dataset_version="v", machine={"cores": 2}, path="runs/1")
    one = exchange(session="s", tags={"stage": "production"})
    store.put(run, one)
    assert store.get(Run, run.id) == run
    assert store.get(Exchange, one.id) == one
    assert store.get(Exchange, run.id) is None


def test_newest_comes_first_and_pages_do_not_overlap(store):
    store.put(*(exchange(number) for number in (2, 0, 4, 1, 3)))
    first = store.find(Exchange, limit=2)
    second = store.find(Exchange, after=first[-1].id, limit=2)
    assert [ids.index(each.id) for each in (*first, *second)] == [4, 3, 2, 1]
    assert store.find(Exchange, limit=0) == []


def test_records_of_the_same_moment_are_paged_by_id(store):
    store.put(*(exchange(number, at=DAY) for number in range(5)))
    assert [ids.index(each.id) for each in store.find(Exchange, after=ids[3])] == [2, 1, 0]


def test_paging_from_an_unknown_record_and_a_negative_limit_are_refused(store):
    with pytest.raises(InvalidInput, match="start again"):
        store.find(Exchange, after="gone")
    with pytest.raises(InvalidInput, match="0 or more"):
        store.find(Exchange, limit=-1)


@pytest.mark.parametrize("state", ["started", "streaming"])
def test_an_unfinished_exchange_is_replaced_until_it_is_final(store, state: State):
    store.put(exchange(state=state, choices=()))
    store.put(exchange(state="complete"))
    store.put(exchange(state="failed", choices=()))
    assert store.get(Exchange, ids[0]) == exchange(state="complete")
    assert store.count(Exchange) == {"": 1}


def test_other_records_with_a_known_id_stay_as_they_were(store):
    first = Adapter(name="a", base="b", rank=1, path="p", template="t")
    store.put(first)
    store.put(first.model_copy(update={"name": "changed"}))
    assert store.get(Adapter, first.id) == first


def test_put_keeps_all_records_or_none(store):
    class Unknown(Record):
        """A kind that no store keeps."""

    with pytest.raises(InvalidInput, match="does not keep Unknown"):
        store.put(exchange(), Unknown())
    assert store.count(Exchange) == {"": 0}


def test_unknown_kinds_are_refused_everywhere(store):
    for use in (lambda: store.find(Record), lambda: store.get(Record, "x"), lambda: store.count(Record)):
        with pytest.raises(InvalidInput, match="does not keep Record"):
            use()


def test_a_conversation_of_many_calls_comes_back_call_by_call(store):
    said = [system("Be brief."), user("balance?")]
    calls = []
    for number in range(6):
        reply = call(f"call_{number}", "balance", account=number)
        calls.append(exchange(number, messages=tuple(said), choices=(Choice(message=reply),), session="s"))
        said += [reply, tool_result(f"call_{number}", "12.00")]
    store.put(*calls)
    assert store.find(Exchange) == calls[::-1]


def test_wire_fields_keep_their_order_and_absence(store):
    wire = {"zeta": {"b": 1, "a": [1.0, 1]}, "role": "assistant", "alpha": None}
    same = {"role": "assistant", "alpha": None, "zeta": {"b": 1, "a": [1.0, 1]}}
    messages = tuple(
        Message.model_validate(each) for each in (wire, same, {"role": "user"}, {"role": "user", "content": ""})
    )
    tool = Tool.model_validate({"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}, "x": 1})
    store.put(exchange(messages=messages, tools=(tool,)), exchange(1, messages=messages[:1]))
    kept = store.get(Exchange, ids[0])
    assert [str(each.wire()) for each in kept.messages] == [str(each.wire()) for each in messages]
    assert str(kept.tools[0].wire()) == str(tool.wire())


def test_messages_inside_other_records_keep_what_was_absent(store):
    tried = Trajectory(scenario_id="1", model="m", session="s", messages=(Message(role="user"), call("1", "f")))
    store.put(tried)
    assert [each.wire() for each in store.get(Trajectory, tried.id).messages] == [
        each.wire() for each in tried.messages
    ]


def test_curves_may_hold_what_is_not_a_number(store):
    store.put(Point(id="p", run_id="r", step=1, values={"loss": float("nan"), "scale": float("-inf"), "fine": 0.1}))
    values = store.get(Point, "p").values
    assert values["loss"] != values["loss"]
    assert (values["scale"], values["fine"]) == (float("-inf"), 0.1)


text = st.text(st.characters(codec="utf-8") | st.just("\ud83d"), max_size=8)
name = st.text(st.characters(codec="utf-8"), max_size=8)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(name, inner, max_size=2),
    max_leaves=4,
)
extras = st.dictionaries(name.map("x".__add__), json_value, max_size=2)
content = st.none() | text | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text}), max_size=2)
wire_call = st.builds(
    lambda id, name, arguments, more: {"id": id, "function": {"name": name, "arguments": arguments}, **more},
    text, text, text, extras,
)  # fmt: skip
message = st.builds(
    lambda role, given, calls, more: Message.model_validate(
        {"role": role, **given, **({"tool_calls": calls} if calls else {}), **more}
    ),
    st.sampled_from(["system", "user", "assistant", "tool"]),
    st.fixed_dictionaries({}, optional={"content": content, "name": st.none() | text, "tool_call_id": text}),
    st.lists(wire_call, max_size=2),
    extras,
)
numbers = st.integers(0, 2**40)
tokens = st.builds(
    lambda prompt, sampled: Tokens(
        prompt=tuple(prompt), reply=tuple(id for id, _ in sampled), logprobs=tuple(logprob for _, logprob in sampled)
    ),
    st.lists(numbers, max_size=5),
    st.lists(st.tuples(numbers, st.floats(max_value=0, allow_nan=False)), max_size=5),
)
choice = st.builds(Choice, message=message, finish_reason=st.none() | text, tokens=st.none() | tokens)
tool = extras.map(lambda more: Tool.model_validate({"function": {"name": "f"}, **more}))
odd_exchange = st.builds(
    Exchange,
    at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])),
    model=text,
    state=st.sampled_from(["complete", "failed"]),
    messages=st.lists(message, max_size=4).map(tuple),
    tools=st.lists(tool, max_size=2).map(tuple),
    sampling=extras.map(lambda more: Sampling.model_validate({**more, "stop": ["a"]})),
    choices=st.lists(choice, max_size=3).map(tuple),
    usage=st.builds(Usage, prompt_tokens=numbers, completion_tokens=numbers),
    cost_usd=st.none() | st.floats(0, 1e9),
    session=st.none() | text,
    error=st.none() | text,
    tags=st.dictionaries(name, text, max_size=3),
)


# Not shrunk: exchanges are large, and shrinking one can take minutes.
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(odd_exchange, min_size=1, max_size=3, unique_by=lambda each: each.id))
def test_any_exchange_comes_back_exactly(store, several):
    store.put(*several)
    for one in several:
        kept = store.get(Exchange, one.id)
        assert kept == one
        assert [repr(each.wire()) for each in kept.messages] == [repr(each.wire()) for each in one.messages]
        replies = [repr(each.message.wire()) for each in kept.choices]
        assert replies == [repr(each.message.wire()) for each in one.choices]


@pytest.fixture
def shelf(store):
    """A few exchanges that differ in every field a filter is likely to ask for."""
    store.put(
        exchange(0, model="support", session="a", tags={"stage": "production", "app.version": "1.50"}, latency=0.5),
        exchange(1, model="gpt-4.1", session="a", status=200, usage=Usage(prompt_tokens=90, completion_tokens=20)),
        exchange(2, session="007", cost_usd=0.25, tags={"stage": "eval", "größe": "ü"}),
        exchange(3, state="failed", choices=(), status=500, error="boom", session="7"),
        exchange(4, messages=(system("Résumé"), user("x"), user("Say 100% of a_b")), adapter="one"),
        Feedback(session="a", name="success", value=0, by="test", at=DAY),
        Feedback(session="a", name="success", value=1, by="test", at=DAY + timedelta(days=1)),
        Feedback(exchange_id=ids[4], name="success", value=1, by="test"),
    )
    return store


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", [4, 3, 2, 1, 0]),
        ("()", [4, 3, 2, 1, 0]),
        ("model = gpt-4.1", [1]),
        ("model != support", [1]),
        ("model ~ 4.1", [1]),
        ("model < h", [1]),
        ("state = failed or session = a", [3, 1, 0]),
        ("state = complete and (session = a or cost_usd > 0.1)", [2, 1, 0]),
        ("session = null", [4]),
        ("session != null", [3, 2, 1, 0]),
        ("session != a", [4, 3, 2]),
        ("session = 7", [3]),
        ("session = 007", [2]),
        ("status >= 300", [3]),
        ("status = 200", [1]),
        ("status != 200", [4, 3, 2, 0]),
        ("latency < 1.50", [0]),
        ("latency < -1", []),
        ("cost_usd = 0.25", [2]),
        ("usage.prompt_tokens = 90", [1]),
        ("usage.total_tokens > 100", [1]),
        ("tags.stage = production", [0]),
        ("tags.stage != production", [4, 3, 2, 1]),
        ("tags.app.version = 1.50", [0]),
        ("tags.größe = ü", [2]),
        ("tags.nothing = null and adapter != null", [4]),
        ("at > 2026-07-01T00:02", [4, 3]),
        ("at <= 2026-07-01T02:01:00+02:00", [1, 0]),
        ("at = 2026-07-01", [0]),
        ('text ~ "Résumé"', [4]),
        ('text ~ "100% of a_b"', [4]),
        ("text ~ hi", [4, 2, 1, 0]),
        ("text ~ hello and text ~ hi and not_a_word != x", None),
        ("text ~ hello and text ~ hi", [2, 1, 0]),
        ("feedback.success = 1", [4, 1, 0]),
        ("feedback.success = 0", []),
        ("feedback.success = null", [3, 2]),
        ("feedback.other = 1", []),
        (f"id = {ids[3]}", [3]),
    ],
)
def test_filters_find(shelf, where, expected):
    if expected is None:
        with pytest.raises(InvalidInput):
            found(shelf, where)
    else:
        assert found(shelf, where) == expected
        assert shelf.count(Exchange, Filter.parse(where)) == {"": len(expected)}


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("modle = x", "no field 'modle'.*there is: .*model.*tags.NAME"),
        ("usage = 1", "no field 'usage'"),
        ("messages = x", "no field 'messages'"),
        ("tags. = x", None),
        ("latency = quick", "latency is a number"),
        ("latency = true", "latency is a number"),
        ("latency ~ 1", "cannot be compared by `~`"),
        ("latency > null", "use `= null`"),
        ("at > yesterday", "is a time such as"),
        ("text = hello", "use one of: ~"),
        ("feedback.success ~ x", "cannot be compared"),
        ("model.name = x", "no field"),
    ],
)
def test_filters_refuse_what_makes_no_sense(store, where, complaint):
    if complaint is None:
        assert found(store, where) == []
        return
    for use in (store.find, store.count, store.forget):
        with pytest.raises(InvalidInput, match=complaint):
            use(Exchange, Filter.parse(where))


def test_a_key_that_sql_cannot_address_is_refused(store):
    with pytest.raises(InvalidInput, match="double quote"):
        store.find(Exchange, Filter(conditions=(Condition(field='tags.a"b', operator="=", value="x"),)))


def test_other_kinds_are_filtered_by_their_own_fields(store):
    store.put(
        *(Point(id=ids[step], run_id=f"r{step % 2}", step=step, values={"loss": 1.0 - step / 10}) for step in range(4))
    )
    store.put(Run(id=ids[9], kind="sft", config={"rank": 8, "base": "m", "deep": {"on": True}}, dataset_version="v",
                  machine={}, path="p"))  # fmt: skip
    assert sorted(found(store, "run_id = r1 and step > 1", Point)) == [3]
    assert sorted(found(store, "values.loss < 0.85", Point)) == [2, 3]
    for where in ("config.rank = 8", "config.base = m", "config.deep.on = true", "config.rank < 9 and config.x = null"):
        assert found(store, where, Run) == [9], where
    with pytest.raises(InvalidInput, match="Point has no field 'model'"):
        found(store, "model = x", Point)


def test_a_tag_is_found_whatever_it_says(store):
    said = ["x", 'x"y', "x\\y", "line\nline", "ü\u2028/\x7f", "1.50", '"name":"x"', ""]
    store.put(*(exchange(place, tags={"name": text, "other": "x"}) for place, text in enumerate(said)))
    store.put(exchange(90, tags={"other": '"name":"x"'}), exchange(91))
    store.put(Tagging(exchange_id=ids[91], tags={"name": 'ü"y'}, by="anna"))
    for place, text in [*enumerate(said), (91, 'ü"y')]:
        wanted = Filter(conditions=(Condition(field="tags.name", operator="=", value=text),))
        assert [ids.index(each.id) for each in store.find(Exchange, wanted)] == [place], text


def test_counts_by_a_field(shelf):
    assert shelf.count(Exchange, by="state") == {"complete": 4, "failed": 1}
    assert shelf.count(Exchange, by="tags.stage") == {"production": 1, "eval": 1, "null": 3}
    assert shelf.count(Exchange, by="status") == {"200": 1, "500": 1, "null": 3}
    assert shelf.count(Exchange, by="usage.total_tokens") == {"0": 4, "110": 1}
    assert shelf.count(Exchange, Filter.parse("session = a"), by="feedback.success") == {"1": 2}
    for field in ("text", "at"):
        with pytest.raises(InvalidInput, match="cannot count"):
            shelf.count(Exchange, by=field)


def test_forget_removes_only_what_was_chosen(shelf):
    assert shelf.forget(Exchange, Filter.parse("session = a")) == 2
    assert found(shelf, "") == [4, 3, 2]
    assert shelf.get(Exchange, ids[4]).messages[2] == user("Say 100% of a_b")
    assert shelf.count(Feedback) == {"": 3}


@pytest.mark.parametrize("everything", [Filter(), Filter.parse("()"), Filter.parse("state = failed or ()")])
def test_forget_refuses_a_filter_that_holds_always(shelf, everything):
    with pytest.raises(InvalidInput, match="nothing was removed"):
        shelf.forget(Exchange, everything)
    assert shelf.count(Exchange) == {"": 5}


conditions = st.one_of(
    st.builds(
        Condition,
        field=st.sampled_from(["model", "session", "error", "tags.stage", "tags.app.version"]),
        operator=st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]),
        value=st.sampled_from(["a", "support", "production", "", "é", 7.0, 1.5, True]),
    ),
    st.builds(
        Condition,
        field=st.sampled_from(["latency", "status", "usage.total_tokens", "cost_usd", "feedback.success"]),
        operator=st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        value=st.sampled_from([0.0, 1.0, 110.0, 200.0, "0.25", -0.5]),
    ),
    st.builds(
        Condition,
        field=st.sampled_from(["session", "latency", "tags.stage", "feedback.success"]),
        operator=st.sampled_from(["=", "!="]),
        value=st.none(),
    ),
)
filters = st.recursive(
    conditions.map(lambda one: Filter(conditions=(one,))),
    lambda inner: st.builds(
        Filter,
        join=st.sampled_from(["and", "or"]),
        conditions=st.lists(conditions | inner, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=filters)
def test_a_filter_written_as_text_finds_the_same(shelf, where):
    written = Filter.parse(str(where))
    assert shelf.find(Exchange, written) == shelf.find(Exchange, where)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=filters)
def test_memory_and_sql_agree(shelf, where):
    other = MemoryStore()
    other.put(*shelf.find(Exchange), *shelf.find(Feedback))
    assert shelf.find(Exchange, where) == other.find(Exchange, where)
