import pytest

from journeyman.demos.bank.environment import MAX_CALLS, PROMPT, BankEnvironment, BankSuite
from journeyman.demos.bank.expert import ASK_BOTH, ASK_CITY, reply
from journeyman.demos.bank.players import gold
from journeyman.environments.environment import Environment, Suite
from journeyman.errors import InvalidInput
from journeyman.records import FunctionCall, Message, Scenario, ToolCall
from journeyman.records.message import assistant, call


def environment(kind: str, split: str = "train") -> BankEnvironment:
    suite: Suite = BankSuite()
    scenario = next(scenario for scenario in suite.scenarios(split, 30, 0) if scenario.kind == kind)
    played: Environment = suite.environment(scenario)
    assert isinstance(played, BankEnvironment)
    return played


async def until(played: BankEnvironment, tool: str) -> list[Message]:
    """The conversation under the expert up to just before it calls `tool`."""
    messages = list((await played.start()).messages)
    while not any(made.function.name == tool for made in reply(messages).tool_calls or ()):
        message = reply(messages)
        messages += [message, *(await played.step(message)).messages]
    return messages


async def test_it_opens_with_the_rules_the_wish_and_the_tools() -> None:
    played = environment("freeze")
    opening = await played.start()
    assert [message.role for message in opening.messages] == ["system", "user"]
    assert opening.messages[0].text == PROMPT
    assert played.case.goals[0].ask in opening.messages[1].text
    assert len(opening.tools) == 8
    await played.close()


async def test_several_calls_in_one_message_run_in_order() -> None:
    played = environment("freeze")
    await played.start()
    both = Message(
        role="assistant",
        tool_calls=tuple(
            ToolCall(id=id, function=FunctionCall(name=name, arguments=arguments))
            for id, name, arguments in (
                ("a", "find_customer", '{"name": "Nobody"}'),
                ("b", "fly", "{}"),
                ("c", "get_balance", "{"),
            )
        ),
    )
    observation = await played.step(both)
    assert [(message.tool_call_id, message.text) for message in observation.messages] == [
        ("a", '{"matches":0,"customers":{}}'),
        ("b", '{"error":"no tool named fly"}'),
        ("c", '{"error":"arguments are not valid JSON"}'),
    ]
    assert not observation.done
    await played.close()


async def test_the_last_answer_ends_the_episode() -> None:
    played = environment("freeze")
    messages = await until(played, "freeze_card")
    message = reply(messages)
    observation = await played.step(message)
    assert not observation.done
    last = await played.step(reply([*messages, message, *observation.messages]))
    assert (last.done, last.messages) == (True, ())
    assert played.score()[0].value == 1
    with pytest.raises(InvalidInput, match="episode is over"):
        await played.step(assistant("Bye."))
    await played.close()


async def test_the_customer_nudges_once_and_hangs_up() -> None:
    played = environment("freeze")
    await played.start()
    answers = [await played.step(assistant("Hm.")) for _ in range(2)]
    assert [answer.done for answer in answers] == [False, True]
    assert played.case.goals[0].again in answers[0].messages[0].text
    assert played.score()[0].value == 0
    await played.close()


async def test_calls_are_capped() -> None:
    played = environment("freeze")
    await played.start()
    observations = [await played.step(call("x", "find_customer", name="Nobody")) for _ in range(MAX_CALLS)]
    assert [observation.done for observation in observations] == [False] * (MAX_CALLS - 1) + [True]
    await played.close()


async def test_forks_share_a_past_and_no_future() -> None:
    played = environment("freeze")
    messages = await until(played, "freeze_card")
    before = played.bank.snapshot()
    first, second = played.fork(2)
    for _ in range(2):
        message = reply(messages)
        messages += [message, *(await first.step(message)).messages]
    assert first.score()[0].value == 1
    assert first.is_done
    assert played.bank.snapshot() == second.bank.snapshot() == before
    assert not played.is_done
    assert len(played.log) == len(second.log) < len(first.log)
    await first.close()
    await second.step(reply(messages[:-2]))
    assert second.bank.snapshot() != before == played.bank.snapshot()
    await second.close()
    await played.close()


async def test_a_timeout_strikes_once_and_changes_nothing() -> None:
    played = environment("timeout")
    assert played.case.fault is not None
    messages = await until(played, played.case.fault)
    before = played.bank.snapshot()
    first = await played.step(reply(messages))
    assert first.messages[0].text == '{"error":"timeout, try again"}'
    assert played.bank.snapshot() == before
    second = await played.step(reply([*messages, reply(messages), *first.messages]))
    assert "error" not in second.messages[0].text
    await played.close()


async def test_a_namesake_tells_the_city_only_when_asked(play) -> None:
    for trajectory in await play(gold, "same_name"):
        words = [message.text for message in trajectory.messages]
        asked = words.index(ASK_CITY)
        assert len([word for word in words[asked - 1].split('"') if word.startswith("C") and word[1:].isdigit()]) == 2
        assert trajectory.messages[asked + 1].role == "user"


async def test_a_payment_on_the_second_page_needs_two_looks(play) -> None:
    for trajectory in await play(gold, "dispute_page_2"):
        made = [call.function for message in trajectory.messages for call in message.tool_calls or ()]
        assert [call.arguments[-2] for call in made if call.name == "list_transactions"] == ["1", "2"]


async def test_identity_is_told_as_asked() -> None:
    suite = BankSuite()
    manners = set()
    for scenario in suite.scenarios("train", 60, 2):
        if scenario.kind not in ("balance", "freeze", "dispute"):
            continue
        played = suite.environment(scenario)
        opening = (await played.start()).messages[-1].text
        answer = (await played.step(assistant(ASK_BOTH))).messages[0].text
        case, manner = played.case, played.case.manner
        manners.add(manner)
        assert (case.name in opening and case.birth_dates[0] in opening) == (manner == "up_front")
        assert (case.name in answer and case.birth_dates[-1] in answer) == (manner != "name_first")
        await played.close()
    assert manners == {"when_asked", "name_first", "up_front"}


@pytest.mark.parametrize("question", ["Shall I transfer €1.23?", "Shall I transfer this from {target} to {source}?"])
async def test_a_wrong_proposal_is_not_agreed_to(question: str) -> None:
    played = environment("transfer")
    await played.start()
    goal = played.case.goals[0]
    answer = await played.step(assistant(question.format(target=goal.target, source=goal.source)))
    assert goal.again in answer.messages[0].text
    answer = await played.step(assistant(f"Shall I transfer this from {goal.source} to {goal.target}?"))
    assert answer.messages[0].text == played.case.wording.agree
    await played.close()


async def test_confirming_an_identity_is_no_yes_to_a_transfer() -> None:
    played = environment("transfer")
    await played.start()
    answer = await played.step(assistant("Please confirm your full name and date of birth?"))
    assert answer.messages[0].text != played.case.wording.agree
    assert played.case.name in answer.messages[0].text
    await played.close()


def test_a_scenario_of_another_environment_is_refused() -> None:
    with pytest.raises(InvalidInput, match="belongs to 'shop'"):
        BankSuite().environment(Scenario(environment="shop", kind="x"))
