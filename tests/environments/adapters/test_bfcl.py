"""The contract with the real package: its tasks, its answers, and its verdicts."""

import json

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.bfcl import BFCLSettings, BFCLSuite, bfcl_suite
from journeyman.environments.adapters.bfcl_tasks import CATEGORIES, Apis, Call, read_tasks
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.verifying import scored_again
from journeyman.errors import InvalidInput
from journeyman.records import FunctionCall, Message, Outcome, ToolCall
from journeyman.records.message import assistant, call

WHY = "NOT TESTED: pip install --no-deps bfcl-eval && pip install mpmath"
pytest.importorskip("bfcl_eval", reason=WHY)
pytest.importorskip("mpmath", reason=WHY)


async def played(suite: BFCLSuite, scenario, script):
    [trajectory] = await roll_out_many(suite, [scenario], ScriptedEngine(script), "player", max_calls=200)
    return trajectory


@pytest.mark.parametrize("category", CATEGORIES)
async def test_gold_and_other_right_paths_win_and_doing_nothing_does_not(category: str) -> None:
    suite = bfcl_suite(category)
    for scenario in suite.scenarios("held-out", 8, 0):
        for script in (suite.gold(scenario), *suite.other_paths(scenario)):
            gold = await played(suite, scenario, script)
            assert (gold.error, gold.score("success"), gold.score("reward")) == (None, 1, 1)
            assert scored_again(suite, gold) == gold.scores
            assert gold.scores[0].version.startswith("bfcl-eval 20")
        assert (await played(suite, scenario, lambda messages, tools: assistant("Done."))).score("success") == 0


def their_verdict(task, turns: list[list[Call]]) -> bool:
    """What the package's own checker says of the same calls, which it evaluates as Python."""
    from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_checker as theirs
    from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils

    def written(calls: list[Call]) -> list[str]:
        return [f"{c.name}({', '.join(f'{k}={v!r}' for k, v in c.arguments.items())})" for c in calls]

    entry = {"id": task.id, "initial_config": dict(task.config), "involved_classes": list(task.apis)}
    known = set(vars(multi_turn_utils))
    try:
        steps = [[written([c]) for c in turn] for turn in turns]
        gold = [written(list(turn)) for turn in task.gold]
        return bool(theirs.multi_turn_checker(steps, gold, entry, "multi_turn_base", "ours")["valid"])
    finally:
        for name in set(vars(multi_turn_utils)) - known:  # it keeps every task's state there for good
            del vars(multi_turn_utils)[name]


async def test_verdicts_are_the_package_s_own() -> None:
    suite = BFCLSuite()
    verdicts = []
    for number, task in enumerate([*read_tasks("base").values()][::4]):
        turns = [list(turn) for turn in task.gold]
        if number % 3:  # a call is left out, sometimes one that does not matter
            longest = max(turns, key=len)
            longest.pop(number % len(longest))
        ours = await played(suite, suite.scenario(task), saying(turns))
        verdicts.append(ours.score("success") == 1)
        assert verdicts[-1] == their_verdict(task, turns), task.id
    assert 10 < sum(verdicts) < 45


def saying(turns: list[list[Call]]):
    """All calls of a turn in one reply, then words."""

    def act(messages, tools):
        mine = [message for message in messages if message.role == "assistant"]
        turn = sum(not message.tool_calls for message in mine)
        if messages[-1].role == "tool" or not turns[turn]:
            return assistant("Done.")
        return Message(role="assistant", tool_calls=tuple(
            ToolCall(id=f"{turn}-{n}", function=FunctionCall(name=c.name, arguments=json.dumps(c.arguments)))
            for n, c in enumerate(turns[turn])
        ))  # fmt: skip

    return act


def test_splits_never_meet_in_any_category():
    def numbers(split: str, count: int) -> set[str]:
        made = [each for name in CATEGORIES for each in bfcl_suite(name).scenarios(split, count, 1)]
        return {each.data["task"].rsplit("_", 1)[1] for each in made}

    assert not numbers("held-out", 30) & numbers("train", 130)
    with pytest.raises(InvalidInput, match="the train tasks"):
        bfcl_suite("base").scenarios("train", 400, 0)


async def test_a_fork_shares_nothing() -> None:
    suite = BFCLSuite()
    task = read_tasks("base")["multi_turn_base_1"]
    environment = suite.environment(suite.scenario(task))
    await environment.start()
    first, second = environment.fork(2)
    before = environment.outcome()
    await first.step(call("a", "cd", folder="workspace"))
    await first.step(call("b", "rm", file_name="log.txt"))
    assert second.outcome() == environment.outcome() == before
    assert "log.txt" not in json.dumps(first.outcome().state)


async def test_calls_that_cannot_be_made_are_answered() -> None:
    suite = BFCLSuite()
    environment = suite.environment(suite.scenario(read_tasks("base")["multi_turn_base_1"]))
    await environment.start()
    for name, arguments in {
        "rm": "{", "ls": "[]", "__class__": "{}", "_load_scenario": "{}", "cd": '{"nonsense": 1}',
        "__import__('os').system": '{"command": "true"}',
    }.items():  # fmt: skip
        bad = ToolCall(id="c", function=FunctionCall(name=name, arguments=arguments))
        seen = await environment.step(Message(role="assistant", tool_calls=(bad,)))
        assert seen.messages[0].text.startswith("Error during execution: ")
    assert not seen.done


async def test_a_log_that_was_made_up_is_worth_nothing() -> None:
    suite = BFCLSuite()
    task = read_tasks("base")["multi_turn_base_0"]
    scenario, state = suite.scenario(task), Apis(task).state()
    gold = await played(suite, scenario, suite.gold(scenario))
    assert gold.outcome is not None
    forged = gold.model_copy(update={"outcome": Outcome(state=state, events=gold.outcome.events)})
    assert {score.value for score in scored_again(suite, forged)} == {0.0}


async def test_a_function_that_comes_later_is_not_on_offer_before() -> None:
    suite = bfcl_suite("miss_func")
    task = next(task for task in read_tasks("miss_func").values() if min(task.added) > 0)
    environment = suite.environment(suite.scenario(task))
    observation = await environment.start()
    turn, [late] = next(iter(task.added.items()))[0], next(iter(task.added.items()))[1][:1]
    for number in range(turn):
        assert late not in {tool.function.name for tool in observation.tools}, number
        observation = await environment.step(assistant("What next?"))
    assert late in {tool.function.name for tool in observation.tools}


def test_short_descriptions_are_much_shorter():
    full, short = (
        suite.environment(suite.scenario(read_tasks("base")["multi_turn_base_0"])).tools()
        for suite in (BFCLSuite(), BFCLSuite(BFCLSettings(descriptions="short")))
    )
    sizes = [sum(len(tool.model_dump_json()) for tool in tools) for tools in (full, short)]
    assert sizes[1] < 0.7 * sizes[0]
