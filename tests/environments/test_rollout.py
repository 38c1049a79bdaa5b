import asyncio
from collections.abc import Callable, Sequence

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.environment import Environment, Observation
from journeyman.environments.rollout import roll_out, roll_out_many
from journeyman.environments.scripted import ScriptedEnvironment
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Message, Scenario
from journeyman.records.message import assistant

SCENARIO = Scenario(id="s", environment="scripted", kind="talk")


def polite(replies: Sequence[Message]) -> bool:
    return all("please" in reply.text for reply in replies)


def talk(*lines: str) -> ScriptedEnvironment:
    return ScriptedEnvironment(lines or ("one", "two", "three"), polite)


class Suite:
    name = "scripted"

    def __init__(self, make: Callable[[Scenario], Environment] = lambda scenario: talk()) -> None:
        self.make = make

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        return [Scenario(id=f"s{index}", environment="scripted", kind="talk") for index in range(count)]

    def environment(self, scenario: Scenario) -> Environment:
        return self.make(scenario)


def engine(say: Callable[[Sequence[Message]], str] = lambda messages: "yes please") -> ScriptedEngine:
    return ScriptedEngine(lambda messages, tools: assistant(say(messages)))


async def test_an_episode_becomes_a_trajectory() -> None:
    environment = talk()
    trajectory = await roll_out(environment, SCENARIO, engine(), "m", session="mine")
    assert [message.text for message in trajectory.messages] == [
        "one", "yes please", "two", "yes please", "three", "yes please",
    ]  # fmt: skip
    assert (trajectory.turns, trajectory.score("success"), trajectory.error) == (3, 1, None)
    assert (trajectory.session, trajectory.model, trajectory.scenario_id) == ("mine", "m", "s")
    assert trajectory.prompt_tokens > trajectory.completion_tokens > 0
    assert trajectory.cost_usd is None
    assert environment.is_closed


async def test_calls_are_bounded() -> None:
    trajectory = await roll_out(talk(), SCENARIO, engine(), "m", max_calls=2)
    assert trajectory.turns == 2
    assert trajectory.error is None


async def test_an_engine_that_fails_leaves_a_scored_trajectory() -> None:
    def say(messages: Sequence[Message]) -> str:
        if len(messages) > 1:
            raise UpstreamFailed("the engine is gone")
        return "rude"

    environment = talk()
    trajectory = await roll_out(environment, SCENARIO, engine(say), "m")
    assert trajectory.error == "UpstreamFailed: the engine is gone"
    assert trajectory.turns == 1
    assert [score.value for score in trajectory.scores] == [0.0]
    assert environment.is_closed


async def test_an_environment_that_fails_in_every_way_is_data_too() -> None:
    class Broken(ScriptedEnvironment):
        async def step(self, reply: Message) -> Observation:
            raise RuntimeError("step")

        def score(self) -> tuple[()]:
            raise RuntimeError("score")

        async def close(self) -> None:
            raise RuntimeError("close")

    trajectory = await roll_out(Broken(("one",), polite), SCENARIO, engine(), "m")
    assert trajectory.error == "RuntimeError: step; RuntimeError: score; RuntimeError: close"
    assert len(trajectory.messages) == 2


async def test_a_silent_engine_is_given_up_and_named() -> None:
    class Silent(ScriptedEngine):
        async def reply(self, *args, **kwargs):
            await asyncio.Event().wait()

    trajectory = await roll_out(talk(), SCENARIO, Silent(lambda *_: assistant("")), "slow-one", call_timeout=0.01)
    assert trajectory.error is not None
    assert "no reply of slow-one within 0.01 s" in trajectory.error


async def test_a_cancellation_passes_and_still_closes() -> None:
    environment, called = talk(), asyncio.Event()

    class Silent(ScriptedEngine):
        async def reply(self, *args, **kwargs):
            called.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(roll_out(environment, SCENARIO, Silent(lambda *_: assistant("")), "m"))
    await called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert environment.is_closed


async def test_many_keep_their_order_and_sessions_and_report_each() -> None:
    suite, done = Suite(), []
    scenarios = suite.scenarios("train", 7, 0)
    trajectories = await roll_out_many(suite, scenarios, engine(), "m", concurrency=3, on_done=done.append)
    assert [trajectory.scenario_id for trajectory in trajectories] == [scenario.id for scenario in scenarios]
    assert len({trajectory.session for trajectory in trajectories}) == 7
    assert {trajectory.id for trajectory in done} == {trajectory.id for trajectory in trajectories}


async def test_one_failure_leaves_its_siblings_alone() -> None:
    def make(scenario: Scenario) -> Environment:
        if scenario.id == "s1":
            raise InvalidInput("cannot play this one")
        return talk()

    suite = Suite(make)
    trajectories = await roll_out_many(suite, suite.scenarios("train", 3, 0), engine(), "m")
    assert [trajectory.error for trajectory in trajectories] == [None, "InvalidInput: cannot play this one", None]
    assert [trajectory.score("success") for trajectory in trajectories] == [1, 0, 1]


async def test_concurrency_is_bounded() -> None:
    running = most = 0

    class Counting(ScriptedEngine):
        async def reply(self, *args, **kwargs):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().reply(*args, **kwargs)

    counting, suite = Counting(lambda *_: assistant("please")), Suite()
    await roll_out_many(suite, suite.scenarios("train", 9, 0), counting, "m", concurrency=2)
    assert most == 2
    with pytest.raises(InvalidInput, match="concurrency is 0"):
        await roll_out_many(suite, [], counting, "m", concurrency=0)


async def test_session_and_tags_reach_the_engine() -> None:
    seen = []

    class Noting(ScriptedEngine):
        async def reply(self, *args, session=None, tags=None, **kwargs):
            seen.append((session, tags))
            return await super().reply(*args, **kwargs)

    await roll_out(talk("one"), SCENARIO, Noting(lambda *_: assistant("x")), "m", session="abc", tags={"stage": "eval"})
    assert seen == [("abc", {"stage": "eval"})]
