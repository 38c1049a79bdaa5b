"""From conversations to transitions: what is taken, what is left out and named, what is redacted."""

import json
from datetime import UTC, datetime

from journeyman.records import Choice, Exchange, Message, Trajectory
from journeyman.records.message import FunctionCall, ToolCall, assistant, call, tool_result, user
from journeyman.worlds.traces import attempts_of, from_exchanges, from_trajectories
from journeyman.worlds.transitions import contradictions


def conversation(*messages: Message, session: str = "s1") -> Trajectory:
    return Trajectory(scenario_id="x", model="m", session=session, messages=messages)


def test_calls_and_their_results_become_transitions():
    traces = from_trajectories([
        conversation(
            user("hello"), call("c1", "balance", account="A17"), tool_result("c1", '{"euros": "12.50"}'),
            call("c2", "balance", account="A99"), tool_result("c2", '{"error": "unknown account A99"}'),
            assistant("done"),
        )
    ])  # fmt: skip
    first, second = traces.transitions
    assert (first.tool, first.arguments, first.observation, first.error) == (
        "balance", {"account": "A17"}, {"euros": "12.50"}, None
    )  # fmt: skip
    assert second.error == "unknown account {account}"
    assert second.name == "s1#1"


def test_a_call_without_a_result_and_arguments_that_are_no_json_are_named():
    broken = Message(
        role="assistant", tool_calls=(ToolCall(id="c2", function=FunctionCall(name="pay", arguments="{not json")),)
    )
    traces = from_trajectories([conversation(call("c1", "pay", cents=5), broken, tool_result("c2", "{}"))])
    assert traces.transitions == []
    assert traces.left_out == {"calls without a result": 1, "arguments that are no JSON object": 1}
    assert traces.named["calls without a result"] == ["s1#0 pay"]


def test_secrets_are_redacted_before_anything_is_built():
    secret = "sk-proj-" + "a1B2c3D4" * 6
    traces = from_trajectories([
        conversation(call("c1", "login", key=secret), tool_result("c1", json.dumps({"mail": "ada@example.com"})))
    ])  # fmt: skip
    (found,) = traces.transitions
    assert secret not in json.dumps([dict(found.arguments), found.observation])
    assert "ada@example.com" not in json.dumps(found.observation)
    assert traces.redacted["secret"] == 1
    assert traces.redacted["email"] == 1


def test_an_answer_that_contradicts_the_one_before_is_named():
    def read(id: str, value: int) -> tuple[Message, Message]:
        return call(id, "stock", item="lamp"), tool_result(id, json.dumps({"stock": value}))

    traces = from_trajectories([
        conversation(*read("a", 3), *read("b", 3), *read("c", 3), *read("d", 3), *read("e", 9))
    ])  # fmt: skip
    assert traces.named["answers that contradict the one before"] == ["s1#4 stock"]
    assert (traces.left_out.total(), traces.in_doubt.total(), len(traces.transitions)) == (0, 1, 5)
    ticking = from_trajectories([conversation(*read("a", 1), *read("b", 2), *read("c", 3))])
    assert contradictions(ticking.transitions) == []


def test_captured_calls_count_once_however_many_branches_share_them():
    opening = (user("hello"),)
    asked = call("c1", "stock", item="lamp")
    answered = (*opening, asked, tool_result("c1", '{"stock": 3}'))
    first = Exchange(model="m", state="complete", messages=opening, choices=(Choice(message=asked),), session="s")
    later = [
        Exchange(
            model="m", state="complete", messages=answered, choices=(Choice(message=assistant(said)),), session="s"
        )
        for said in ("three", "3")
    ]
    traces = from_exchanges([first, *later])
    assert [each.tool for each in traces.transitions] == ["stock"]


def asked(at: int, said: tuple[Message, ...], reply: Message, session: str | None = "s") -> Exchange:
    return Exchange(
        id=f"e{at}", at=datetime(2026, 1, 1, 0, at, tzinfo=UTC), latency=1.0, model="m", state="complete",
        messages=said, choices=(Choice(message=reply),), session=session,
    )  # fmt: skip


def test_a_session_is_one_run_of_time_whatever_conversations_and_branches_it_has():
    def told(id: str, cents: int) -> Message:
        return tool_result(id, json.dumps({"cents": cents}))

    hello, look, pay = user("hello"), call("c1", "balance"), call("c2", "pay", cents=30)
    first = (hello, look, told("c1", 100))
    second = (user("how much is left?"), call("c1", "balance"), told("c1", 70))
    traces = from_exchanges([
        asked(0, (hello,), look), asked(1, first, pay),
        asked(4, (*first, pay, tool_result("c2", "{}")), assistant("!")),
        # Another conversation of the session, whose ids begin anew, while the first one waited for its last reply.
        asked(5, second[:1], second[1]), asked(6, second, assistant("70")),
        # The first conversation, tried again later from its first look.
        asked(7, first, call("c3", "balance")),
        asked(8, (*first, call("c3", "balance"), told("c3", 70)), assistant("70")),
    ])  # fmt: skip
    assert [(each.name, each.tool, each.observation) for each in traces.transitions] == [
        ("s#0", "balance", {"cents": 100}), ("s#1", "pay", {}), ("s#2", "balance", {"cents": 70}),
        ("s#3", "balance", {"cents": 70}),
    ]  # fmt: skip
    assert [each.latency for each in traces.transitions] == [59.0, 179.0, 59.0, 59.0]


def test_calls_without_a_session_are_of_one_conversation_however_often_it_was_tried_again():
    opening, look = (user("hello"),), call("c1", "stock", item="lamp")
    answered = (*opening, look, tool_result("c1", '{"stock": 3}'))
    tried = [asked(at, answered, assistant(f"{at} times three"), None) for at in (1, 2, 3)]
    exchanges = [asked(0, opening, look, None), *tried]
    traces = from_exchanges(exchanges)
    assert [each.name for each in traces.transitions] == ["e0#0"]
    again, answered = asked(5, opening, look, None), (*opening, look, tool_result("c1", '{"stock": 2}'))
    order = call("c2", "order", item="lamp")
    exchanges += [again, asked(6, answered, order, None)]
    exchanges.append(asked(7, (*answered, order, tool_result("c2", "{}")), assistant("!"), None))
    traces = from_exchanges(exchanges)
    assert [(each.name, each.tool, each.observation) for each in traces.transitions] == [
        ("e0#0", "stock", {"stock": 3}), ("e0#1", "stock", {"stock": 2}), ("e0#2", "order", {}),
    ]  # fmt: skip
    assert {each.session for each in attempts_of(exchanges)} == {"e0"}


def test_what_a_later_request_repeats_is_no_other_call():
    hello, look, pay, again = user("hello"), call("c1", "balance"), call("c2", "pay", cents=30), call("c3", "balance")
    looked = (look, tool_result("c1", '{"cents": 100}'))
    paid = (*looked, pay, tool_result("c2", "{}"))
    told = (*paid, again, tool_result("c3", '{"cents": 70}'))

    def at(minute: int) -> tuple[Message, ...]:
        return (Message(role="system", content=f"It is {minute} past."), hello)

    one = [asked(0, (hello,), look), asked(1, (hello, *looked), pay), asked(2, (hello, *paid), again)]
    one.append(asked(3, (hello, *told), assistant("70")))
    # The same with a clock in the system prompt, and with what was long ago cut out of the last request.
    clock = [asked(0, at(0), look), asked(1, (*at(1), *looked), pay), asked(2, (*at(2), *paid), again)]
    clock.append(asked(3, (*at(3), *told), assistant("70")))
    cleared = (hello, look, tool_result("c1", "[cleared]"), *told[2:])
    for exchanges in (one, clock, [*one[:3], asked(3, cleared, assistant("70"))]):
        found = from_exchanges(exchanges)
        assert [(each.tool, each.observation) for each in found.transitions] == [
            ("balance", {"cents": 100}), ("pay", {}), ("balance", {"cents": 70}),
        ]  # fmt: skip
        assert not found.left_out


def test_a_result_counts_whichever_branch_brings_it():
    two = Message(role="assistant", tool_calls=tuple(
        ToolCall(id=name, function=FunctionCall(name=name, arguments="{}")) for name in ("x", "y")
    ))  # fmt: skip
    opening = (user("hello"), two)
    half, both = (*opening, tool_result("x", "1")), (*opening, tool_result("x", "1"), tool_result("y", "2"))
    exchanges = [
        asked(0, opening[:1], two), asked(1, half, assistant("?")), asked(2, (*opening, user("well?")), assistant("!")),
        asked(3, both, assistant("done")),
    ]  # fmt: skip
    found = from_exchanges(exchanges)
    assert [(each.tool, each.observation) for each in found.transitions] == [("x", 1), ("y", 2)]
    assert not found.left_out
    # Sessions that began alike are sessions all the same.
    others = [each.model_copy(update={"id": f"other {each.id}", "session": "t"}) for each in exchanges]
    found = from_exchanges([*exchanges, *others])
    assert sorted(each.name for each in found.transitions) == ["s#0", "s#1", "t#0", "t#1"]


def test_a_result_belongs_to_one_call_even_where_ids_come_again():
    two = Message(role="assistant", tool_calls=tuple(
        ToolCall(id="c0", function=FunctionCall(name="get", arguments=json.dumps({"account": name})))
        for name in ("A1", "B2")
    ))  # fmt: skip
    both = from_trajectories([conversation(two, tool_result("c0", '{"v": 1}'), tool_result("c0", '{"v": 2}'))])
    assert [each.observation for each in both.transitions] == [{"v": 1}, {"v": 2}]
    one = from_trajectories([conversation(two, tool_result("c0", '{"v": 1}'))])
    assert [each.observation for each in one.transitions] == [{"v": 1}]
    assert one.named == {"calls without a result": ["s1#1 get"]}
    later = from_trajectories([
        conversation(call("c0", "get", account="A1"), call("c0", "get", account="B2"), tool_result("c0", '{"v": 2}'))
    ])  # fmt: skip
    assert [(each.arguments, each.observation) for each in later.transitions] == [({"account": "B2"}, {"v": 2})]
    assert later.left_out == {"calls without a result": 1}
