"""Sessions as agents make them: turns, retries, best-of, sub-agents, and what they look like as trajectories."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from journeyman.capture.parsing import parse
from journeyman.capture.trajectories import join
from journeyman.records import Choice, Exchange, Message, Sampling, Tokens, Usage
from journeyman.records.message import assistant, call, system, tool_result, user
from tests.capture.calls import ANTHROPIC_ANSWER, ANTHROPIC_REQUEST, CALLED, RESPONSES_ANSWER, dump, end, start

BEGAN = datetime(2026, 7, 1, tzinfo=UTC)


class Session:
    """Makes exchanges, a second apart."""

    def __init__(self):
        self.exchanges = []

    def __call__(self, messages, *replies, tokens=None, **fields):
        number = len(self.exchanges)
        exchange = Exchange(
            id=f"{number:032x}",
            at=BEGAN + timedelta(seconds=number),
            model="m",
            state=fields.pop("state", "complete"),
            session="anna",
            messages=tuple(messages),
            choices=tuple(Choice(message=reply, finish_reason="stop", tokens=tokens) for reply in replies),
            usage=Usage(prompt_tokens=10, completion_tokens=5),
            latency=0.5,
            cost_usd=0.25,
            **fields,
        )
        self.exchanges.append(exchange)
        return exchange


@pytest.fixture
def session():
    return Session()


ASKED = [system("Be brief."), user("My balance?")]
CALL = call("call_1", "balance", account=7)


def test_a_conversation_with_a_tool_is_one_branch(session):
    session(ASKED, CALL)
    session([*ASKED, CALL, tool_result("call_1", "12.00")], assistant("12 euros."))
    last = [*ASKED, CALL, tool_result("call_1", "12.00"), assistant("12 euros."), user("Thanks")]
    session(last, assistant("Bye."))
    [conversation] = join(session.exchanges[::-1])
    [branch] = conversation.branches
    assert branch.exchanges == tuple(session.exchanges)
    assert branch.messages == (*last, assistant("Bye."))
    assert [turn.by for turn in branch.turn.path()] == [None, "messages", "messages"]


def test_a_branch_is_a_trajectory(session):
    session(ASKED, CALL)
    session([*ASKED, CALL, tool_result("call_1", "12.00")], assistant("12 euros."), state="truncated_upstream")
    [branch] = join(session.exchanges)[0].branches
    trajectory = branch.trajectory("balance-1")
    assert (trajectory.scenario_id, trajectory.session, trajectory.turns) == ("balance-1", "anna", 2)
    assert (trajectory.prompt_tokens, trajectory.completion_tokens, trajectory.cost_usd) == (20, 10, 0.5)
    assert (trajectory.messages, trajectory.error) == (branch.messages, "truncated_upstream")
    assert trajectory.id == session.exchanges[1].id


def test_a_repeated_reply_may_be_spelled_otherwise(session):
    session(ASKED, CALL.model_copy(update={"content": None, "reasoning_content": "Hm."}))
    again = Message.model_validate(
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "balance", "arguments": '{ "account": 7 }'}}]}
    )  # fmt: skip
    session([*ASKED, again, tool_result("call_1", "12.00")], assistant(" 12 euros.\n"))
    session([*ASKED, again, tool_result("call_1", "12.00"), assistant("12 euros."), user("Ok")], assistant("Bye"))
    [conversation] = join(session.exchanges)
    assert len(conversation.branches) == 1


def test_a_retry_is_a_branch_and_the_last_of_equal_replies_is_continued(session):
    failed = session(ASKED, state="failed")
    first = session(ASKED, assistant("Which?"))
    second = session(ASKED, assistant("Which?"))
    on = session([*ASKED, assistant("Which?"), user("Mine")], assistant("12"))
    [conversation] = join(session.exchanges)
    assert [root.exchange for root in conversation.roots] == [failed, first, second]
    assert [branch.exchanges for branch in conversation.branches] == [(failed,), (first,), (second, on)]


def test_forks_in_the_middle_and_unused_choices_are_branches(session):
    root = session(ASKED, assistant("a"), assistant("b"), assistant("c"))
    left = session([*ASKED, assistant("b"), user("x")], assistant("1"))
    right = session([*ASKED, assistant("b"), user("y")], assistant("2"))
    [conversation] = join(session.exchanges)
    found = [(branch.exchanges, branch.messages[-1].text) for branch in conversation.branches]
    assert found == [((root,), "a"), ((root,), "c"), ((root, left), "1"), ((root, right), "2")]
    assert conversation.branches[2].steps == ((root, 1), (left, 0))
    assert conversation.branches[1].trajectory().id == f"{root.id}-2"


def test_a_reply_that_the_client_rewrote_stays_in_the_conversation(session):
    first = session(ASKED, assistant("Something rude"))
    second = session([*ASKED, assistant("(removed)"), user("Why?")], assistant("Because"))
    [conversation] = join(session.exchanges)
    assert [branch.exchanges for branch in conversation.branches] == [(first,), (second,)]


def test_a_sub_agent_is_a_conversation_of_its_own_within_the_call_whose_span_encloses_it(session):
    main = session(ASKED, CALL, trace="t" * 32, span="a" * 16)
    sub = session([system("You look up balances."), user("7")], assistant("12"), trace="t" * 32, span="c" * 16)
    more = [system("You look up balances."), user("7"), assistant("12"), user("sure?")]
    session(more, assistant("yes"), trace="t" * 32, span="d" * 16)
    session([*ASKED, CALL, tool_result("call_1", "12")], assistant("12 euros."), trace="t" * 32, span="a" * 16)
    outer, inner = join(session.exchanges, spans={"c" * 16: "b" * 16, "b" * 16: "a" * 16})
    assert [len(each.turns) for each in (outer, inner)] == [2, 2]
    assert (outer.within, inner.within, inner.roots[0].exchange) == (None, main, sub)
    assert [each.within for each in join(session.exchanges)] == [None, None]


def test_the_same_system_prompt_alone_joins_nothing(session):
    session(ASKED, assistant("12"))
    session([ASKED[0], user("Another thing")], assistant("Yes?"))
    assert len(join(session.exchanges)) == 2


def tokens(prompt, reply):
    return Tokens(prompt=tuple(prompt), reply=tuple(reply), logprobs=tuple(-float(id) for id in reply))


def test_token_ids_join_what_messages_do_not_and_tell_what_was_sampled(session):
    session([user("a")], assistant("b"), tokens=tokens([1, 2], [3, 4]))
    session([user("wholly different")], assistant("c"), tokens=tokens([1, 2, 3, 4, 5], [6]))
    [conversation] = join(session.exchanges)
    [branch] = conversation.branches
    assert [turn.by for turn in branch.turn.path()] == [None, "tokens"]
    [run] = branch.token_runs
    assert run.ids == (1, 2, 3, 4, 5, 6)
    assert run.sampled == (False, False, True, True, False, True)
    assert run.logprobs == (None, None, -3.0, -4.0, None, -6.0)


def test_a_prompt_that_was_tokenised_anew_begins_a_new_run(session):
    session([user("a")], assistant("b"), tokens=tokens([1, 2], [3, 4]))
    session([user("a"), assistant("b"), user("c")], assistant("d"), tokens=tokens([1, 2, 34, 5], [6]))
    [branch] = join(session.exchanges)[0].branches
    assert [turn.by for turn in branch.turn.path()] == [None, "messages"]
    assert [run.ids for run in branch.token_runs] == [(1, 2, 3, 4), (1, 2, 34, 5, 6)]


def test_a_turn_whose_reply_was_tokenised_anew_is_not_skipped(session):
    """The third prompt begins with the tokens of the first turn, but spells the second reply anew."""
    session([user("a")], assistant("b"), tokens=Tokens(prompt=(1,), reply=(2,), logprobs=(-0.5,)))
    second = [user("a"), assistant("b"), user("c")]
    session(second, assistant("d"), tokens=Tokens(prompt=(1, 2, 3), reply=(4, 5), logprobs=(-0.5, -0.5)))
    third = [*second, assistant("d"), user("e")]
    session(third, assistant("f"), tokens=Tokens(prompt=(1, 2, 3, 45, 6), reply=(7,), logprobs=(-0.5,)))
    [conversation] = join(session.exchanges)
    [branch] = conversation.branches
    assert branch.exchanges == tuple(session.exchanges)
    assert [turn.by for turn in branch.turn.path()] == [None, "tokens", "messages"]
    assert [run.ids for run in branch.token_runs] == [(1, 2, 3, 4, 5), (1, 2, 3, 45, 6, 7)]
    trajectory = branch.trajectory()
    assert trajectory.tokens == tuple(exchange.choices[0].tokens for exchange in session.exchanges)
    assert trajectory.finish_reasons == ("stop", "stop", "stop")


def test_upstreams_and_clocks_that_contradict_each_other_make_no_circle(session):
    session([user("a"), assistant("y"), user("b")], assistant("x"), tokens=tokens([1], [2]))
    session([user("a")], assistant("y"), tokens=tokens([1, 2], [3]))
    turns = [turn for conversation in join(session.exchanges) for turn in conversation.turns]
    assert len(turns) == 2


def test_a_clock_that_was_set_back_separates_nothing(session):
    first = session(ASKED, assistant("Which?"))
    second = session([*ASKED, assistant("Which?"), user("Mine")], assistant("12"))
    early = second.model_copy(update={"at": BEGAN - timedelta(hours=1)})
    [conversation] = join([early, first])
    assert [branch.exchanges for branch in conversation.branches] == [(first, early)]


def test_responses_that_name_the_one_before_are_joined_with_all_that_was_said():
    asked = {"model": "m", "input": "Weather?"}
    answered = {"type": "function_call_output", "call_id": "call_1", "output": "15"}
    more = {"model": "m", "previous_response_id": RESPONSES_ANSWER["id"], "input": [answered]}
    last = {**RESPONSES_ANSWER, "id": "resp_2", "output": [{"type": "message", "role": "assistant", "content": "15."}]}
    wires = [
        parse(start("responses", id="1", at=1), dump(asked), dump({**RESPONSES_ANSWER, "output": [CALLED]}), end()),
        parse(start("responses", id="2", at=2), dump(more), dump(last), end()),
    ]
    [conversation] = join(wire.exchange() for wire in wires)
    [branch] = conversation.branches
    assert branch.turn.by == "response_id"
    assert [message.role for message in branch.messages] == ["user", "assistant", "tool", "assistant"]
    assert branch.messages[-1].text == "15."


def test_messages_of_anthropic_are_joined_though_cache_marks_move():
    asked = {**ANTHROPIC_REQUEST, "messages": ANTHROPIC_REQUEST["messages"][:1]}
    marked = [{"type": "text", "text": asked["messages"][0]["content"], "cache_control": {"type": "ephemeral"}}]
    first = {**asked, "messages": [{"role": "user", "content": marked}]}
    wires = [
        parse(start("messages", id="1", at=1), dump(first), dump(ANTHROPIC_ANSWER), end()),
        parse(start("messages", id="2", at=2), dump(ANTHROPIC_REQUEST), dump(ANTHROPIC_ANSWER), end()),
    ]
    [conversation] = join(wire.exchange() for wire in wires)
    assert len(conversation.branches) == 1


def test_embeddings_and_calls_that_could_not_be_read_join_nothing(session):
    session([user("a")], api="embeddings")
    session([], state="failed")
    session(ASKED, assistant("b"), sampling=Sampling(previous_response_id=5))
    assert [len(conversation.turns) for conversation in join(session.exchanges)] == [1, 1]
    assert join([]) == []


def test_ten_thousand_calls_are_joined_in_seconds(session):
    for conversation in range(100):
        said = [system("Be brief."), user(f"Question {conversation}")]
        for turn in range(100):
            session(list(said), assistant(f"Reply {turn}"))
            said += [session.exchanges[-1].reply, user(f"More {turn}")]
    begun = time.process_time()
    found = join(session.exchanges)
    assert [len(conversation.branches) for conversation in found] == [1] * 100
    assert time.process_time() - begun < 5


def test_a_long_conversation_with_retries_is_no_deeper_than_it_may_be(session):
    said = [user("Begin")]
    for turn in range(1500):
        session(list(said), assistant("no"))
        session(list(said), assistant("yes"))
        said = [user(f"Step {turn}")] if turn % 50 == 49 else [*said, assistant("yes"), user(f"More {turn}")]
    found = join(session.exchanges)
    assert sum(len(conversation.branches) for conversation in found) == 1500 + len(found)


LOOK_UP = call("call_9", "look_up", question="What is the balance of account 7, in euros?")
SUB = [system("You look up balances."), user("Task: What is the balance of account 7, in euros?")]


def test_a_sub_agent_without_spans_is_inferred_from_the_words_that_it_was_given(session):
    main = session(ASKED, LOOK_UP)
    session(SUB, assistant("There are 12.00 euros."))
    session([*ASKED, LOOK_UP, tool_result("call_9", '{"euros": 12}')], assistant("12 euros."))
    outer, inner = join(session.exchanges)
    assert (inner.within, inner.inferred) == (main, True)
    assert (outer.within, outer.inferred) == (None, False)


def test_a_sub_agent_without_spans_is_inferred_from_the_words_that_it_gave(session):
    main = session(ASKED, CALL)
    session([system("You look up balances."), user("7")], assistant("12"))
    session([*ASKED, CALL, tool_result("call_1", "12")], assistant("12 euros."))
    _, inner = join(session.exchanges)
    assert (inner.within, inner.inferred) == (main, True)


def test_the_innermost_of_nested_callers_is_found(session):
    session(ASKED, LOOK_UP)
    asks = call("call_8", "ask", prompt="Please read the ledger of account seven.")
    middle = session(SUB, asks)
    session([user("Please read the ledger of account seven.")], assistant("It says 12.00 euros in all."))
    session(
        [*SUB, asks, tool_result("call_8", "It says 12.00 euros in all.")], assistant("12.00 euros, says the ledger.")
    )
    session([*ASKED, LOOK_UP, tool_result("call_9", "12.00 euros, says the ledger.")], assistant("12 euros."))
    outer, sub, ledger = join(session.exchanges)
    assert ledger.within == middle
    assert sub.within == session.exchanges[0]
    assert outer.within is None


@pytest.mark.parametrize("words", ["Something else", "1"])
def test_a_conversation_that_only_took_place_meanwhile_is_within_nothing(session, words):
    session(ASKED, LOOK_UP)
    session([user("How is the weather?")], assistant(words))
    session([*ASKED, LOOK_UP, tool_result("call_9", "12.00")], assistant("12 euros."))
    assert [each.within for each in join(session.exchanges)] == [None, None]


def test_a_conversation_that_went_on_after_the_tools_result_was_not_the_tools(session):
    session(ASKED, LOOK_UP)
    session(SUB, assistant("12.00"))
    session([*ASKED, LOOK_UP, tool_result("call_9", "12.00")], assistant("12 euros."))
    session([*SUB, assistant("12.00"), user("And now?")], assistant("13.00"))
    assert [each.within for each in join(session.exchanges)] == [None, None]
