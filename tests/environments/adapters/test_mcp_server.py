"""The contract with the real package: a server of its own in a process of its own, its tools, its state, its errors."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journeyman.environments.adapters.mcp_server import McpSession, McpSuite, by_command
from journeyman.environments.admission.transcripts import play
from journeyman.environments.verifying import outcome_of
from journeyman.errors import UpstreamFailed
from journeyman.records import Scenario, Score
from journeyman.records.message import assistant, call

pytest.importorskip("mcp.server.mcpserver", reason='NOT TESTED: pip install "mcp>=2"')

SERVER = """
from mcp.server.mcpserver import MCPServer

server, total = MCPServer("counter"), [0]

@server.tool()
def add(number: int) -> str:
    "Add a number."
    total[0] += number
    return str(total[0])

@server.tool()
def hang() -> str:
    "Never answers."
    import time
    time.sleep(600)
    return ""

@server.tool()
def odd() -> str:
    "Another answer in every process."
    import os
    return str(os.getpid())

server.run("stdio")
"""


@pytest.fixture
def suite(tmp_path: Path) -> McpSuite:
    (tmp_path / "server.py").write_text(SERVER)
    scenario = Scenario(
        id="seven", at=datetime(2026, 1, 1, tzinfo=UTC), environment="counter", kind="sum",
        data={"question": "Make it seven.", "total": "7"},
    )  # fmt: skip

    def judge(scenario, outcome):
        last = next((each["answer"] for each in reversed(outcome.events) if each["name"] == "add"), "0")
        return (Score(name="success", value=float(last == scenario.data["total"])),)

    connect = by_command(sys.executable, "-I", str(tmp_path / "server.py"))
    return McpSuite("counter", "counter/1", connect, judge, {"train": [scenario], "held-out": []})


async def test_a_server_s_tools_are_played_forked_and_judged(suite: McpSuite) -> None:
    [scenario] = suite.scenarios("train", 1, 0)
    environment = suite.environment(scenario)
    opening = await environment.start()
    assert [each.function.name for each in opening.tools] == ["add", "hang", "odd"]
    assert opening.tools[0].function.parameters["required"] == ["number"]
    assert (await environment.step(call("a", "add", number=3))).messages[0].text == "3"
    [fork] = environment.fork(1)
    assert (await environment.step(call("b", "add", number=5))).messages[0].text == "8"
    replies = iter([call("b", "add", number=4), assistant("It is seven.")])
    went = await play(fork, lambda messages, tools: next(replies), opening)
    assert went.is_success
    assert suite.verify(scenario, outcome_of(fork)) == went.scores
    assert environment.score()[0].value == 0
    bad = await environment.step(call("c", "add", number="many"))
    assert bad.messages[0].text.startswith("Error")
    assert (await environment.step(call("d", "nothing"))).messages[0].text.startswith("Error")
    await environment.close()


async def test_what_cannot_be_repeated_cannot_be_forked(suite: McpSuite) -> None:
    environment = suite.environment(suite.scenarios("train", 1, 0)[0])
    await environment.start()
    await environment.step(call("a", "odd"))
    [fork] = environment.fork(1)
    with pytest.raises(UpstreamFailed, match="cannot be repeated"):
        await fork.step(call("b", "add", number=1))
    await fork.close()
    await environment.close()


async def test_a_server_whose_tool_hangs_ends_with_its_session(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    session = McpSession(by_command(sys.executable, "-I", str(tmp_path / "server.py")))
    await session.open()
    number = int(await session.call("odd", {}))
    hanging = asyncio.create_task(session.call("hang", {}))
    await asyncio.sleep(0.2)
    async with asyncio.timeout(60):
        await session.close()
    with pytest.raises(UpstreamFailed, match="in the middle of a call"):
        await hanging
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


async def test_a_server_that_is_not_there_is_told() -> None:
    scenario = Scenario(environment="none", kind="x", data={"question": "?"})
    suite = McpSuite("none", "1", by_command("no-such-program"), lambda *both: (), {"train": [scenario]})
    environment = suite.environment(scenario)
    with pytest.raises(UpstreamFailed, match="cannot be reached"):
        await environment.start()
    await environment.close()
