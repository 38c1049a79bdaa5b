"""An environment behind two planes: the agent's opens nothing of the trainer's, and the official client uses it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.planes.remote import Control, RemoteEnvironment, RemoteSuite
from journeyman.environments.planes.server import control_token_in, planes, serving
from journeyman.environments.rollout import roll_out_many
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Sampling
from journeyman.records.message import assistant, call
from tests.environments.planted import SoundSuite
from tests.training.reinforcement.conftest import LetterSuite

TOKEN = "control-0123456789abcdef"
SUITE = SoundSuite()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(planes(SUITE, TOKEN)) as address:
        yield address


@pytest.fixture
async def episode(url: str) -> AsyncIterator[RemoteEnvironment]:
    environment = RemoteEnvironment(Control(url, TOKEN), SUITE.scenarios("train", 1, 0)[0])
    await environment.start()
    yield environment
    await environment.close()


async def asked(method: str, url: str, token: str, body: object = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, json=body) as response,
    ):
        return response.status, await response.text()


async def test_what_is_played_there_goes_as_here(url: str) -> None:
    remote, scenarios = RemoteSuite(SUITE, Control(url, TOKEN)), SUITE.scenarios("train", 3, 0)
    for script in (SUITE.gold(scenarios[0]), lambda messages, tools: assistant("No.")):
        there = await roll_out_many(remote, scenarios, ScriptedEngine(script), "player")
        here = await roll_out_many(SUITE, scenarios, ScriptedEngine(script), "player")
        assert [(each.messages, each.scores, each.outcome, each.error) for each in there] == [
            (each.messages, each.scores, each.outcome, None) for each in here
        ]


async def test_an_environment_that_keeps_no_outcome_is_played_there_too() -> None:
    suite = LetterSuite()
    async with serving(planes(suite, TOKEN)) as address:
        remote, scenarios = RemoteSuite(suite, Control(address, TOKEN)), suite.scenarios("train", 2, 0)
        played = await roll_out_many(remote, scenarios, ScriptedEngine(lambda *_: assistant("a")), "player")
    assert [(each.error, each.outcome) for each in played] == [(None, None)] * 2
    assert all(each.scores for each in played)


async def test_groups_fork_there(url: str) -> None:
    scenarios = SUITE.scenarios("train", 2, 0)
    golds = {scenario.data["thing"]: SUITE.gold(scenario) for scenario in scenarios}

    def play(messages, tools):
        return next(script for thing, script in golds.items() if thing in messages[1].text)(messages, tools)

    groups = await roll_out_groups(
        RemoteSuite(SUITE, Control(url, TOKEN)), scenarios, ScriptedEngine(play), "gold", Sampling(),
        attempts=3, limits=RolloutLimits(max_calls=8), seed=0,
    )  # fmt: skip
    assert [each.score("success") for group in groups for each in group.trajectories] == [1.0] * 6


async def test_a_fork_is_of_the_moment_when_it_was_asked_for(episode: RemoteEnvironment) -> None:
    early, unused = episode.fork(2)
    await episode.step(call("a", "paint", thing="door", colour="red"))
    await unused.close()
    await early.step(call("a", "look", thing="door"))
    assert early.outcome().state == {"painted": {}}
    assert episode.outcome().state == {"painted": {"door": "red"}}
    assert early.agent != episode.agent
    await early.close()


async def test_the_agent_s_token_opens_its_own_tools_and_nothing_else(url: str, episode: RemoteEnvironment) -> None:
    other = RemoteEnvironment(Control(url, TOKEN), SUITE.scenarios("train", 1, 0)[0])
    await other.start()
    assert episode.agent is not None
    assert other.agent is not None
    agent = episode.agent
    id = agent.url.rpartition("/")[2]
    closed = [
        ("POST", "/control/episodes"), ("GET", f"/control/episodes/{id}"), ("DELETE", f"/control/episodes/{id}"),
        ("POST", f"/control/episodes/{id}/step"), ("POST", f"/control/episodes/{id}/fork"),
    ]  # fmt: skip
    for token in ("", "x", agent.token, other.agent.token):
        for method, path in closed:
            assert (await asked(method, url + path, token, {"n": 1}))[0] == 401
    for token in ("", "x", other.agent.token, TOKEN):
        assert (await asked("GET", f"{agent.url}/messages", token))[0] == 401
        assert (await asked("POST", f"{agent.url}/mcp", token, {}))[0] == 401
    status, told = await asked("GET", f"{agent.url}/messages", agent.token)
    assert status == 200
    assert TOKEN not in told
    assert "score" not in told
    await other.close()
    assert (await asked("GET", f"{other.agent.url if other.agent else ''}/messages", other.agent.token))[0] == 401


AGENT = """
import json, os, sys, urllib.request
url, token = os.environ["AGENT_URL"], os.environ["AGENT_TOKEN"]

def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=20) as answer:
        return json.load(answer)

words = ask("/messages")["messages"][1]["content"].rstrip(".").split()
wanted = {"thing": words[2], "colour": words[3]}
params = {"name": "paint", "arguments": wanted}
made = ask("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
ask("/messages", {"text": "Done."})
print(made["result"]["content"][0]["text"], "control" in json.dumps(dict(os.environ)))
"""


async def test_an_agent_in_a_process_of_its_own_wins_and_holds_no_control(episode: RemoteEnvironment) -> None:
    assert episode.agent is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", AGENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"AGENT_URL": episode.agent.url, "AGENT_TOKEN": episode.agent.token},
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert out.split()[1:] == [b"False"], errors
    await episode.refresh()
    assert {score.name: score.value for score in episode.score()} == {"success": 1.0}


async def test_the_official_client_lists_and_calls(episode: RemoteEnvironment) -> None:
    pytest.importorskip("mcp", reason="NOT TESTED: pip install mcp")
    http = pytest.importorskip("httpx2", reason="NOT TESTED: pip install 'mcp>=2'")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    agent = episode.agent
    assert agent is not None
    headers = {"Authorization": f"Bearer {agent.token}"}
    async with (
        http.AsyncClient(headers=headers) as client,
        streamable_http_client(f"{agent.url}/mcp", http_client=client) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        opened = await session.initialize()
        assert opened.server_info.name == "journeyman sound"
        listed = (await session.list_tools()).tools
        assert [tool.name for tool in listed] == ["paint", "look"]
        assert listed[0].input_schema["required"] == ["thing", "colour"]
        painted = await session.call_tool("paint", {"thing": "door", "colour": "blue"})
        assert [part.text for part in painted.content] == ["blue"]
        with pytest.raises(Exception, match="there is no tool reset"):
            await session.call_tool("reset", {})
    await episode.refresh()
    assert episode.outcome().state == {"painted": {"door": "blue"}}


async def test_bad_requests_are_told_and_break_nothing(url: str, episode: RemoteEnvironment) -> None:
    control = Control(url, TOKEN)
    with pytest.raises(InvalidInput, match="256"):
        await control.ask("POST", f"/{episode._id}/fork", {"n": 1000})
    with pytest.raises(InvalidInput):
        await control.ask("POST", "", {"nonsense": 1})
    with pytest.raises(InvalidInput, match="opens nothing"):
        await Control(url, "wrong").ask("GET", "/x")
    with pytest.raises(UpstreamFailed, match="did not answer"):
        await Control("http://127.0.0.1:9", TOKEN).ask("GET", "/x")
    assert episode.agent is not None
    for body in ([], {"method": "resources/list", "id": 1}, {"method": "tools/call", "id": 2}):
        status, told = await asked("POST", f"{episode.agent.url}/mcp", episode.agent.token, body)
        assert status == 200
        assert "error" in json.loads(told)
    assert (await episode.step(call("a", "look", thing="door"))).messages[0].text == "plain"


def test_a_control_token_is_long_and_its_file_is_private(tmp_path):
    file = tmp_path / "deep" / "token"
    token = control_token_in(file)
    assert control_token_in(file) == token
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        control_token_in(file)
    with pytest.raises(InvalidInput, match="at least 16"):
        planes(SUITE, "short")
