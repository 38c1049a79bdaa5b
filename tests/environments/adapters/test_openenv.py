"""The contract with the real package: its servers played here, and our suites played by its clients."""

import json
import random

import aiohttp
import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.openenv import OpenEnvSettings, OpenEnvSuite, TaskSplit, openenv_suite
from journeyman.environments.planes.server import serving
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.suites import load_suite
from journeyman.environments.verifying import scored_again
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import FunctionCall, Message, ToolCall
from journeyman.records.message import assistant
from tests.absences import skip_for_lack_of

WHY = "pip install openenv"


@pytest.fixture
def openenv(request):
    try:
        from openenv import core
        from openenv.core import env_server  # noqa: F401
    except ImportError as error:
        skip_for_lack_of("OpenEnv, both ways", f"{error}; {WHY}", request.config)
    return core


def guessing(core, drawn=None):
    """A game of the package's own kind: guess a number; the nearer, the more."""
    server = core.env_server

    class Guess(server.Action):
        guess: str

    class Seen(server.Observation):
        hint: str = ""

    class Game(server.Environment):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def reset(self, seed=None, episode_id=None, split="train", index=0):
            self._wanted, self._made = random.Random(f"{seed}/{split}/{index}").randrange(100), 0
            return Seen(hint=f"A number of {split} below 100{'' if drawn is None else drawn()}.")

        def step(self, action, timeout_s=None):
            self._made += 1
            guess = int(action.guess)
            hint = "right" if guess == self._wanted else "more" if guess < self._wanted else "less"
            return Seen(hint=hint, reward=1.0 if hint == "right" else 0.0, done=hint == "right")

        @property
        def state(self):
            return server.State(step_count=self._made)

    return server.create_fastapi_app(Game, Guess, Seen, max_concurrent_envs=8, env_name="guess")


def halving(messages, tools):
    """Finds the number."""
    low, high = 0, 99
    for said, heard in zip(messages[1::2], messages[2::2], strict=False):
        low, high = (int(said.text) + 1, high) if heard.text == "more" else (low, int(said.text) - 1)
    return assistant(str((low + high) // 2))


def suite_at(url, **changed):
    return OpenEnvSuite(OpenEnvSettings(url=url, action="guess", seen=("hint",), max_steps=8, **changed))


async def test_an_environment_goes_as_with_the_packages_own_client(openenv):
    async with serving(guessing(openenv)) as url:
        suite = suite_at(url, tasks={"held-out": TaskSplit(name="test", count=5)})
        scenarios = suite.scenarios("held-out", 3, 0)
        assert len({each.data["index"] for each in scenarios}) == 3
        played = await roll_out_many(suite, scenarios, ScriptedEngine(halving), "halving")
        for attempt, scenario in zip(played, scenarios, strict=True):
            assert attempt.error is None
            assert attempt.score("success") == 1
            assert scored_again(suite, attempt) == attempt.scores
            said = [each.text for each in attempt.messages if each.role == "assistant"]
            async with openenv.GenericEnvClient(base_url=url) as theirs:
                found = await theirs.reset(seed=scenario.data["seed"], split="test", index=scenario.data["index"])
                heard, earned = [found.observation["hint"]], 0.0
                for guess in said:
                    found = await theirs.step({"guess": guess})
                    heard.append(found.observation["hint"])
                    earned += found.reward
            assert [each.text for each in attempt.messages if each.role == "user"] == heard
            assert (found.done, earned) == (True, attempt.score("reward"))


async def test_a_fork_is_brought_to_the_same_state_and_goes_its_own_way(openenv):
    async with serving(guessing(openenv)) as url:
        suite = suite_at(url)
        environment = suite.environment(suite.scenarios("train", 1, 0)[0])
        await environment.start()
        await environment.step(assistant("50"))
        one, other = environment.fork(2)
        assert (await one.step(assistant("-1"))).messages[0].text == "more"
        assert (await other.step(assistant("100"))).messages[0].text == "less"
        assert one.outcome() != other.outcome()
        for each in (environment, one, other):
            await each.close()


async def test_what_cannot_be_repeated_or_played_is_refused(openenv):
    numbers = iter(range(100))
    async with serving(guessing(openenv, drawn=lambda: next(numbers))) as url:
        suite = suite_at(url)
        environment = suite.environment(suite.scenarios("train", 1, 0)[0])
        await environment.start()
        with pytest.raises(UpstreamFailed, match="cannot be forked"):
            await environment.fork(1)[0].step(assistant("1"))
        with pytest.raises(UpstreamFailed, match=r"refused step.*invalid literal"):
            await environment.step(assistant("fifty"))
        await environment.close()
        plain = openenv_suite(url)
        toolless = plain.environment(plain.scenarios("train", 1, 0)[0])
        with pytest.raises(UpstreamFailed, match="refused step"):
            await toolless.start()
        await toolless.close()
    gone = suite.environment(suite.scenarios("train", 1, 0)[0])
    with pytest.raises(UpstreamFailed, match="cannot be reached"):
        await gone.start()
    with pytest.raises(InvalidInput, match="names no server"):
        load_suite("openenv/price-tool")
    assert load_suite(f"openenv/{url}").name == suite.name


def shop(core):
    """Tools by the package's own kind of server."""
    from fastmcp import FastMCP
    from openenv.core.env_server.mcp_environment import MCPEnvironment

    server = core.env_server

    class Shop(MCPEnvironment):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def __init__(self):
            mcp = FastMCP("shop")

            @mcp.tool
            def price(item: str, count: int = 1) -> str:
                """What so many of an item cost."""
                return f"{item}: {7 * count}"

            super().__init__(mcp)

        def reset(self, seed=None, episode_id=None, **kwargs):
            return server.Observation(metadata={"question": "hidden"})

        def _step_impl(self, action, timeout_s=None, **kwargs):
            raise ValueError("only tools")

        @property
        def state(self):
            return server.State()

    return server.create_fastapi_app(Shop, server.CallToolAction, server.CallToolObservation, max_concurrent_envs=4)


def calls(name, arguments):
    function = FunctionCall(name=name, arguments=arguments)
    return Message(role="assistant", content=None, tool_calls=(ToolCall(id="c", function=function),))


async def test_a_servers_tools_are_offered_and_its_answers_are_theirs(openenv):
    async with serving(shop(openenv)) as url:
        suite = openenv_suite(url)
        environment = suite.environment(suite.scenarios("train", 1, 0)[0])
        opening = await environment.start()
        [tool] = opening.tools
        assert (tool.function.name, tool.function.description) == ("price", "What so many of an item cost.")
        assert "hidden" not in opening.messages[0].text
        answers = [
            (await environment.step(calls(name, arguments))).messages[0].text
            for name, arguments in (
                ("price", '{"item": "rope", "count": 3}'), ("price", "rope"), ("nothing", "{}"),
            )
        ]  # fmt: skip
        from openenv.core.mcp_client import MCPToolClient

        async with MCPToolClient(base_url=url) as theirs:
            await theirs.reset()
            assert await theirs.call_tool("price", item="rope", count=3) == answers[0] == "rope: 21"
        assert answers[1] == "Error: the arguments are not a JSON object"
        assert answers[2].startswith("Error: ")
        assert (await environment.step(assistant("21"))).done
        await environment.close()


async def test_our_suite_is_played_by_the_packages_clients_and_scores_the_same(openenv):
    from openenv.core.mcp_client import MCPToolClient

    from journeyman.environments.adapters.openenv_server import openenv_app

    class Said(openenv.env_server.Action):
        text: str

    class Replied(openenv.env_server.Action):
        type: str = "reply"
        message: dict

    ours = load_suite("price-tool")
    async with serving(openenv_app(ours, count=4, seed=1)) as url:
        for index, scenario in enumerate(ours.scenarios("held-out", 4, 1)):
            [local] = await roll_out_many(ours, [scenario], ScriptedEngine(ours.gold(scenario)), "gold")
            async with MCPToolClient(base_url=url) as theirs:
                first = await theirs.reset(split="held-out", index=index)
                offered = [each.name for each in await theirs.list_tools()]
                opening = first.observation.messages
                earned, heard = 0.0, [each.get("content") or "" for each in opening]
                replies = [each for each in local.messages[len(opening) :] if each.role == "assistant"]
                for reply in replies:
                    if index % 2:
                        found = await theirs.step(Replied(message=reply.wire()))
                        heard += [each["content"] for each in found.observation.messages]
                        earned += found.reward
                        continue
                    for call in reply.tool_calls or ():
                        action = openenv.env_server.CallToolAction(
                            tool_name=call.function.name, arguments=json.loads(call.function.arguments)
                        )
                        found = await theirs.step(action)
                        heard.append(found.observation.result)
                        earned += found.reward
                    if not reply.tool_calls:
                        found = await theirs.step(Said(text=reply.text))
                        heard += [each["content"] for each in found.observation.messages]
                        earned += found.reward
            assert offered == [tool.function.name for tool in local.tools]
            later = [each.text for each in local.messages[len(opening) :] if each.role != "assistant"]
            assert heard == [each.text for each in local.messages[: len(opening)]] + later
            assert found.done
            assert earned == pytest.approx(local.score("reward") if local.score("reward") is not None else 1.0)


async def test_our_suites_tasks_are_listed_and_what_is_not_there_is_refused(openenv):
    from journeyman.environments.adapters.openenv_server import openenv_app

    ours = load_suite("price-tool")
    async with serving(openenv_app(ours, count=3)) as url:
        theirs = openenv.GenericEnvClient(base_url=url)
        async with theirs:
            for data, word in (({"index": 7}, "no task 7"), ({"split": "dev"}, "no split 'dev'")):
                with pytest.raises(RuntimeError, match=word):
                    await theirs.reset(**data)
            with pytest.raises(RuntimeError, match="reset first"):
                await theirs.step({"text": "hello"})
        async with aiohttp.ClientSession() as web:
            assert await (await web.get(f"{url}/price-tool/splits")).json() == [
                {"name": "train", "type": "train"}, {"name": "held-out", "type": "test"},
            ]  # fmt: skip
            told = await web.post(f"{url}/price-tool/num_tasks", json={"split": "train"})
            assert (await told.json())["num_tasks"] == 3
