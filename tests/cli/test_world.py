import asyncio
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from journeyman.cli.world import app
from journeyman.config import Settings
from journeyman.demos.bank.players import gold, play
from journeyman.environments.suites import load_suite
from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Choice, Exchange, Message, Trajectory
from journeyman.records.message import assistant, user
from journeyman.store.sql import open_store
from journeyman.worlds.consent import is_agreed
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.real import Allowed, allowed_for
from journeyman.worlds.world import load_world


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "250")

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke


def exchanges(trajectory: Trajectory, session: str) -> list[Exchange]:
    """The calls of an attempt, as the gateway would have captured them."""
    return [
        Exchange(
            model="gold",
            state="complete",
            session=session,
            messages=trajectory.messages[:place],
            tools=trajectory.tools,
            choices=(Choice(message=said, finish_reason="stop"),),
            latency=0.1,
        )
        for place, said in enumerate(trajectory.messages)
        if said.role == "assistant"
    ]


@pytest.fixture
def captured(run):
    store = open_store(Settings())
    for number, trajectory in enumerate(asyncio.run(play(gold, "gold", "train", 24, 0))):
        store.put(*exchanges(trajectory, f"s{number}"))
    store.close()


def test_build_then_show_then_the_gate(run, captured):
    built = run("build", "support", "--where", "model = gold")
    assert "find_customer" in built
    assert "may not be trained in" in built
    assert "S2 (unseen policy) was not measured" in built
    assert run("show", "support") == built
    assert run("show", "support", "--programs") == "it has no hand-written twins\n"
    world = load_world("support", Settings().home / "worlds")
    assert world.notes["sessions"] == 24
    assert all(start.messages[0].role == "system" for start in world.starts)
    with pytest.raises(Refused, match="S2"):
        load_suite("world/support")
    with pytest.raises(NotFound, match="hand-written twin"):
        run("trust", "support")


def test_twins_and_models_from_elsewhere_are_agreed_to_apart(run, captured):
    run("build", "support")
    folder = Settings().home / "worlds"
    world = load_world("support", folder)
    proposer = Proposer("small", "http://elsewhere.example/v1", "OTHER_KEY")
    source = "def find_customer(state, arguments):\n    return {}\n"
    replace(world, source=source, built=replace(world.built, proposer=proposer)).save(folder)
    said = run("show", "support")
    assert "it asks the model small at http://elsewhere.example/v1, with the key in OTHER_KEY; agree:" in said
    with pytest.raises(InvalidInput, match="Say --twins, --model or both"):
        run("trust", "support")
    assert run("trust", "support", "--twins").startswith("trusted: ")
    assert load_world("support", folder).trusted
    assert not is_agreed(proposer.asked_of, folder)
    assert run("trust", "support", "--model").endswith("OTHER_KEY is told what is called in this world\n")
    assert is_agreed(proposer.asked_of, folder)
    assert "it asks" not in run("show", "support")
    world.save(folder)
    with pytest.raises(NotFound, match="hand-written twin"):
        run("trust", "support", "--model")


def test_members_of_an_ensemble_are_built_of_other_sessions(run, captured):
    built = run("build", "team", "--members", "2")
    assert "world team-1" in built
    assert "world team-2" in built
    assert run("show", "team") == built
    one, other = (load_world(name, Settings().home / "worlds") for name in ("team-1", "team-2"))
    assert {call.session for call in one.built.memory} != {call.session for call in other.built.memory}
    assert {start.id for start in one.starts} == {start.id for start in other.starts}
    with pytest.raises(NotFound, match="hand-written twin"):
        run("trust", "team")


def test_real_tools_are_allowed_shown_and_forbidden_for_all_members(run, captured):
    run("build", "team", "--members", "2")
    folder, asks = Settings().home / "worlds", ("--server", "bank-server --read-only", "--variable", "BANK_KEY")
    # Captured answers do not show whether a tool changes anything: a transfer looks as harmless as a look.
    for tool in ("find_customer", "transfer"):
        with pytest.raises(Refused, match=f"cannot tell whether {tool} changes anything"):
            run("allow", "team", "--tool", tool, *asks)
    said = run("allow", "team", "--tool", "find_customer", *asks, "--reads-only")
    assert said == (
        "asked for real: find_customer of bank-server --read-only; journeyman world forbid team takes it back\n"
    )
    allowed = Allowed(("find_customer",), ("bank-server", "--read-only"), ("BANK_KEY",))
    assert [allowed_for(load_world(name, folder), folder) for name in ("team-1", "team-2")] == [allowed] * 2
    assert run("show", "team").count("asked for real: find_customer of bank-server --read-only\n") == 2
    assert run("forbid", "team") == "nothing is asked for real any more\n"
    assert run("forbid", "team") == "nothing was asked for real\n"
    with pytest.raises(InvalidInput, match="has no tool open_safe"):
        run("allow", "team", "--tool", "open_safe", *asks)


def test_calls_without_tools_build_nothing(run):
    store = open_store(Settings())
    store.put(
        Exchange(model="m", state="complete", messages=(user("hi"),), choices=(Choice(message=assistant("hello")),))
    )
    store.close()
    with pytest.raises(InvalidInput, match="no tool was called"):
        run("build", "support")
    with pytest.raises(InvalidInput, match="no captured call matches"):
        run("build", "support", "--where", "model = another")
    with pytest.raises(NotFound, match="journeyman world build support"):
        run("show", "support")


def test_secrets_never_reach_the_file(run, captured):
    secret = "sk-proj-" + "Zx9Yw8Vu" * 6
    told = asyncio.run(play(gold, "gold", "train", 1, 7))[0]
    written = json.dumps([said.wire() for said in told.messages]).replace("matches", secret)
    assert secret in written
    leaky = tuple(Message.model_validate(said) for said in json.loads(written))
    store = open_store(Settings())
    store.put(*exchanges(told.model_copy(update={"messages": leaky}), "leaky"))
    store.close()
    run("build", "support")
    world = load_world("support", Settings().home / "worlds")
    assert world.notes["redacted"]["secret"] >= 1
    assert secret not in repr(world)
    run("build", "again")
    assert load_world("again", Settings().home / "worlds").content == world.content


def test_secrets_of_stored_attempts_never_reach_the_file_either(run):
    secret = "sk-proj-" + "Zx9Yw8Vu" * 6
    store = open_store(Settings())
    for number, played in enumerate(asyncio.run(play(gold, "gold", "train", 24, 0))):
        opening = user(f"{played.messages[1].text} Write to ada@example.org, my key is {secret}.")
        messages = (played.messages[0], opening, *played.messages[2:])
        store.put(played.model_copy(update={"messages": messages, "session": f"a{number}"}))
    store.close()
    run("build", "attempted", "--attempts", "bank")
    world = load_world("attempted", Settings().home / "worlds")
    assert "my key is [secret:" in world.starts[0].messages[-1].text
    assert not any(word in repr(world) for word in (secret, "ada@example.org"))
    run("build", "again", "--attempts", "bank")
    assert load_world("again", Settings().home / "worlds").content == world.content
