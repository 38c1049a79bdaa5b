"""F8 with scripted agents: one that looks at the answer, and one that does not."""

import asyncio
import json

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.errors import InvalidInput
from journeyman.records import Message, Trajectory
from journeyman.records.message import assistant, call, tool_result, user
from journeyman.worlds.behaviour import compare, of_behaviour
from journeyman.worlds.resolver import Answer
from journeyman.worlds.traces import from_trajectories


class Halved:
    """A world that is right about odd accounts, half right about even ones, and knows no account above 7."""

    def answer(self, tool, arguments, state):
        number = int(arguments["account"])
        if number > 7:
            return Answer(None, "abstain", 0.0)
        return Answer({"cents": 100 * number if number % 2 else 50 * number}, "nearest", 0.9)


def trajectory(number: int) -> Trajectory:
    asked = call("c", "get_balance", account=str(number))
    told = tool_result("c", json.dumps({"cents": 100 * number}))
    return Trajectory(
        scenario_id="s", model="m", session=f"s{number}", messages=(user("How much?"), asked, told, assistant("There."))
    )


def report(messages, tools) -> Message:
    cents = json.loads(messages[-1].text)["cents"]
    return call("d", "alert", cents=cents) if cents >= 200 else assistant(f"It is {cents}.")


def measured(script):
    trajectories = [trajectory(number) for number in range(1, 10)]
    calls = from_trajectories(trajectories).transitions
    found = asyncio.run(compare(ScriptedEngine(script), "agent", Halved(), trajectories, calls))
    whole, differing = of_behaviour(found, "S1")
    return whole, differing


def test_an_agent_that_reads_the_answer_acts_otherwise_where_it_differs():
    whole, differing = measured(report)
    assert (whole.calls, differing.calls) == (7, 3)
    assert whole.value.estimate == pytest.approx(4 / 7)
    assert differing.value.estimate == 0


def test_an_agent_that_does_not_look_agrees_with_itself():
    whole, differing = measured(lambda messages, tools: assistant(f"I do not care about {messages[-1].text}."))
    assert whole.value.estimate == differing.value.estimate == 1


def test_calls_of_other_trajectories_compare_nothing():
    with pytest.raises(InvalidInput, match="nothing was compared"):
        asyncio.run(compare(ScriptedEngine(report), "agent", Halved(), [trajectory(1)], []))
