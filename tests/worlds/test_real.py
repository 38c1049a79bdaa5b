"""Tools that the real system answers: a server of the real package, which attempts only read."""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from journeyman.errors import InvalidInput, Refused, UpstreamFailed
from journeyman.records import Scenario
from journeyman.records.message import call
from journeyman.worlds.build import Built, build
from journeyman.worlds.environment import WorldSuite
from journeyman.worlds.real import Allowed, RealTools, allow, allowed_for, forbid
from journeyman.worlds.world import Start, World, load_world
from tests.worlds import shop

SERVER = """
import os, sys, time
from mcp.server.mcpserver import MCPServer

server, asked = MCPServer("shop"), [0]

@server.tool()
def read_item(item: str) -> str:
    asked[0] += 1
    if item == "slow":
        time.sleep(30)
    if item == "gone":
        os._exit(1)
    return '{"error": "no item called ghost"}' if item == "ghost" else '{"stock": %d, "price": 1.5}' % asked[0]

@server.tool()
def list_orders() -> str:
    return '{"orders": [], "key": "%s"}' % os.environ.get("SHOP_KEY", "none")

server.run("stdio")
"""
READING = Allowed(("read_item",), ("shop-server", "--quiet"), ("SHOP_KEY",))


@cache
def built() -> Built:
    return build(shop.sessions(12))


@pytest.fixture
def world(tmp_path: Path) -> World:
    one = shop.session(0)[0]
    made = World("shop", built(), (Start("s", (), one.before or {}),))
    made.save(tmp_path / "worlds")
    return made


@pytest.fixture
def served(tmp_path: Path) -> Allowed:
    pytest.importorskip("mcp.server.mcpserver", reason='NOT TESTED: pip install "mcp>=2"')
    (tmp_path / "server.py").write_text(SERVER)
    return Allowed(("read_item", "list_orders"), (sys.executable, "-I", str(tmp_path / "server.py")), ("SHOP_KEY",))


def scenario() -> Scenario:
    return Scenario(id="x", environment="world/shop", kind="world", data={"start": "s", "seed": 0})


async def asked(environment, tool, **arguments):
    said = await environment.step(call("c", tool, **arguments))
    return json.loads(said.messages[0].text)


def test_only_what_reads_may_be_allowed_and_it_is_kept_beside_the_world(world, tmp_path):
    folder = tmp_path / "worlds"
    for tool in ("sell", "restock", "sign_in"):
        with pytest.raises(Refused, match=f"{tool} was seen to change the state"):
            allow(world, folder, Allowed(("read_item", tool), ("server",)))
    with pytest.raises(InvalidInput, match="has no tool burn"):
        allow(world, folder, Allowed(("burn",), ("server",)))
    for nothing in (Allowed((), ("server",)), Allowed(("read_item",), ())):
        with pytest.raises(InvalidInput, match="are needed; nothing was allowed"):
            allow(world, folder, nothing)
    assert allowed_for(world, folder) is None
    allow(world, folder, READING)
    assert allowed_for(world, folder) == READING
    assert load_world("shop", folder).content == world.content
    # A folder that is handed on brings nothing that is allowed, and one that is taken in finds nothing.
    assert [path.name for path in (folder / "shop").iterdir()] == ["world.json.zst"]
    assert allowed_for(replace(world, name="another"), folder) is None
    with pytest.raises(Refused, match="was built again since read_item of shop-server were allowed"):
        allowed_for(replace(world, starts=()), folder)
    assert forbid("shop", folder)
    assert not forbid("shop", folder)
    assert allowed_for(world, folder) is None


def test_what_was_checked_without_real_tools_is_not_what_is_played_with_them(world):
    plain, real = WorldSuite(world), WorldSuite(world, allowed=READING)
    other = WorldSuite(world, allowed=Allowed(READING.tools, ("another",)))
    assert len({plain.content, real.content, other.content}) == 3
    assert plain.content == world.content


def test_a_file_that_says_nothing_allows_nothing(world, tmp_path):
    for text in ("no json", "[1]", '{"shop": {"tools": ["read_item"]}}', '{"shop": {"world": "", "other": []}}'):
        (tmp_path / ".real-tools.json").write_text(text)
        with pytest.raises(InvalidInput, match="delete it, and allow it again"):
            allowed_for(world, tmp_path)


async def test_the_real_tool_is_asked_and_the_world_answers_the_rest(world, served, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "k1")
    environment = WorldSuite(world, allowed=served).environment(scenario())
    try:
        before = environment.state.document
        assert await asked(environment, "read_item", item="lamp") == {"stock": 1, "price": 1.5}
        assert await asked(environment, "read_item", item="lamp") == {"stock": 2, "price": 1.5}
        assert await asked(environment, "list_orders") == {"orders": [], "key": "k1"}
        assert environment.state.document is before
        assert await asked(environment, "sign_in", name="ada") == {"signed_in": "ada"}
        assert environment.state.document["shop"]["user"] == "ada"
        # Each fork has a server of its own.
        (fork,) = environment.fork(1)
        assert await asked(fork, "read_item", item="ghost") == {"error": "no item called ghost"}
        assert await asked(fork, "read_item", item="lamp") == {"stock": 2, "price": 1.5}
        await fork.close()
        assert [(each.source, each.confidence) for each in environment.log[:3]] == [("real", 1.0)] * 3
        assert environment.log[3].source != "real"
        assert environment.log[0].evidence == (f"asked of {served.command[0]}",)
        assert environment.outcome().events[2]["observation"] == {"orders": [], "key": "k1"}
    finally:
        await environment.close()


async def test_a_server_that_does_not_answer_loses_the_attempt_by_name(served):
    tools = RealTools(served, longest=60)
    try:
        with pytest.raises(UpstreamFailed, match="is gone in the middle of a call"):
            await tools.answer("read_item", {"item": "gone"})
        hasty = RealTools(served, longest=60)
        await hasty.answer("list_orders", {})
        hasty._longest = 0.2
        with pytest.raises(UpstreamFailed, match=r"the real read_item did not answer within 0\.2 s"):
            await hasty.answer("read_item", {"item": "slow"})
        late = RealTools(Allowed(("read_item",), (sys.executable, "-c", "import time; time.sleep(60)")), longest=0.5)
        with pytest.raises(UpstreamFailed, match="did not start within"):
            await late.answer("read_item", {"item": "lamp"})
        await late.close()
        absent = RealTools(Allowed(("read_item",), ("no-such-server-here",)))
        with pytest.raises(UpstreamFailed, match="cannot be reached"):
            await absent.answer("read_item", {"item": "lamp"})
    finally:
        await tools.close()
