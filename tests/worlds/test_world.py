"""A world as a file and as an environment: episodes, forks, determinism, consent, and who may train in it."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import zstandard

from journeyman.config import Settings
from journeyman.environments.admission import check_suite, fingerprint, keep, standing_of
from journeyman.environments.sandbox import SandboxLimits
from journeyman.errors import InvalidInput, NotFound, ProgramFailed, Refused
from journeyman.records import Message, Scenario, Trajectory
from journeyman.records.message import assistant, call, tool_result, user
from journeyman.records.reinforcement import RLConfig
from journeyman.store.memory import MemoryStore
from journeyman.worker.reinforcement import plan_rl_run
from journeyman.worlds.card import FidelityCard
from journeyman.worlds.consent import agree
from journeyman.worlds.ensemble import forget_members, save_members
from journeyman.worlds.environment import WorldEnvironment, WorldSuite, world_suite
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.making import make_world
from journeyman.worlds.programs import Program
from journeyman.worlds.traces import Traces
from journeyman.worlds.verdict import verify
from journeyman.worlds.world import World, load_world, with_card
from tests.worlds import shop

STOCK = ("shop", "items")
QUICK = SandboxLimits(seconds=0.5)
TWIN = """
def restock(state, arguments):
    item = state["shop"]["items"].get(arguments["item"])
    if item is None:
        return {"error": f"no item called {arguments['item']}"}
    item["stock"] += arguments["count"]
    return {"stock": item["stock"]}
"""


@cache
def world() -> World:
    calls = [
        replace(each, policy=policy)
        for policy, count, first in (("plain", 30, 0), ("other", 8, 300))
        for each in shop.sessions(count, first, policy)
    ]
    trajectories = []
    for session in dict.fromkeys(each.session for each in calls):
        own = [each for each in calls if each.session == session]
        said: list[Message] = [user("hello")]
        for number, each in enumerate(own):
            said += [
                call(f"c{number}", each.tool, **each.arguments),
                tool_result(f"c{number}", json.dumps(each.observation)),
            ]
        trajectories.append(
            Trajectory(scenario_id="x", model="m", session=session, messages=(*said, assistant("bye"), user("thanks")))
        )
    return make_world("shop", trajectories, traces=Traces(calls))


def episode(seed: int = 0) -> WorldEnvironment:
    suite = WorldSuite(world(), faults="off")
    (scenario,) = suite.scenarios("train", 1, seed)
    return suite.environment(scenario)


async def ask(environment: WorldEnvironment, tool: str, **arguments: object) -> object:
    seen = await environment.step(call("c", tool, **arguments))
    return json.loads(seen.messages[0].text)


def stock(environment: WorldEnvironment) -> tuple[str, int]:
    items = environment.state.document["shop"]["items"]
    name = next(iter(items))
    return name, items[name]["stock"]


async def test_an_episode_remembers_and_says_where_answers_come_from():
    environment = episode()
    await environment.start()
    name, before = stock(environment)
    assert await ask(environment, "restock", item=name, count=3) == {"stock": before + 3}
    read = await ask(environment, "read_item", item=name)
    assert read == {**environment.state.document["shop"]["items"][name], "stock": before + 3}
    assert [each.source for each in environment.log] == ["twin", "twin"]


async def test_forks_go_their_own_ways_at_the_same_time():
    environment = episode()
    await environment.start()
    name, before = stock(environment)
    forks = environment.fork(64)
    found = await asyncio.gather(*(ask(fork, "restock", item=name, count=n + 1) for n, fork in enumerate(forks)))
    assert found == [{"stock": before + n + 1} for n in range(64)]
    assert stock(environment) == (name, before)
    assert environment.log == []


async def test_two_runs_of_one_seed_are_the_same_byte_for_byte():
    told = []
    for _ in range(2):
        environment = WorldSuite(world()).environment(WorldSuite(world()).scenarios("train", 1, 3)[0])
        await environment.start()
        name, _ = stock(environment)
        for tool, arguments in (("sign_in", {"name": "ada"}), ("order", {"item": name}), ("list_orders", {})):
            await ask(environment, tool, **arguments)
        told.append(environment.outcome().model_dump_json())
    assert told[0] == told[1]


async def test_what_the_world_does_not_know_ends_the_episode_without_a_success():
    environment = episode()
    await environment.start()
    seen = await environment.step(call("c", "set_fire", item="lamp"))
    assert seen.done
    assert {score.name: score.value for score in environment.score()} == {"abstained": 1.0}
    with pytest.raises(InvalidInput, match="over"):
        await environment.step(assistant("more"))


async def test_the_score_follows_from_what_the_scenario_expects_of_the_state():
    environment = episode()
    await environment.start()
    name, before = stock(environment)
    await ask(environment, "restock", item=name, count=2)
    path = ["shop", "items", name, "stock"]
    good, bad = (
        Scenario(id="s", environment="world/shop", kind="world", data={"expect": [{"path": path, "value": value}]})
        for value in (before + 2, before)
    )
    outcome = environment.outcome()
    assert {score.name: score.value for score in verify(good, outcome)} == {
        "success": 1.0, "reward": 1.0, "abstained": 0.0,
    }  # fmt: skip
    assert verify(bad, outcome)[0].value == 0.0
    assert str(before) in verify(bad, outcome)[0].reason


async def test_a_user_says_what_the_captured_one_said_and_then_the_episode_ends():
    environment = episode()
    await environment.start()
    first = await environment.step(assistant("hello"))
    assert ([each.text for each in first.messages], first.done) == (["thanks"], False)
    assert (await environment.step(assistant("bye"))).done


def test_the_card_is_of_this_world_and_lets_it_be_trained_in():
    card = world().card
    assert card is not None
    assert card.problems == ()
    world().check_training()
    assert WorldSuite(world(), training=True).name == "world/shop"
    answers = card.value("F3", "S2")
    copied = card.value("F3", "S2", "nearest neighbour")
    assert answers is not None
    assert copied is not None
    assert answers.low > copied.estimate


def test_a_world_without_a_valid_card_is_refused_with_what_to_do():
    with pytest.raises(Refused, match="journeyman world build shop"):
        replace(world(), card=None).check_training()
    with pytest.raises(Refused, match="was changed after"):
        replace(world(), tools=(), source="x = 1").check_training()
    untrue = FidelityCard(world=world().content, seed=0, measures=(), problems=("on S1 answers match in 2% of calls",))
    with pytest.raises(Refused, match="on S1"):
        WorldSuite(with_card(world(), untrue), training=True)


def test_stress_is_in_the_name_so_that_its_scores_never_mix():
    assert WorldSuite(world(), faults="stress", times=3).name == "world/shop (stress x3)"


def test_a_world_survives_its_file(tmp_path: Path):
    world().save(tmp_path)
    again = load_world("shop", tmp_path)
    assert again.content == world().content
    assert again.card == world().card
    again.check_training()
    with pytest.raises(NotFound, match="shop"):
        load_world("another", tmp_path)
    (tmp_path / "shop" / "world.json.zst").write_bytes(b"no world")
    with pytest.raises(InvalidInput, match="build it again"):
        load_world("shop", tmp_path)


@pytest.mark.parametrize("broken", [{"rules": []}, {"states": []}, {"memory": [[[]] * 10]}, {"starts": [None]}])
def test_a_file_that_is_no_world_is_refused_in_words(tmp_path: Path, broken: dict[str, object]):
    path = world().save(tmp_path)
    wire = json.loads(zstandard.ZstdDecompressor().decompress(path.read_bytes(), 1 << 28))
    path.write_bytes(zstandard.compress(json.dumps(wire | broken).encode()))
    with pytest.raises(InvalidInput, match=r"is no world that can be read .*; build it again"):
        load_world("shop", tmp_path)


def test_who_asks_for_a_few_starts_at_every_step_meets_them_all():
    starts = tuple(replace(world().starts[0], id=f"conversation {number}") for number in range(12))
    suite = WorldSuite(replace(world(), starts=starts))
    drawn = [[each.data["start"] for each in suite.scenarios("train", 3, seed)] for seed in range(30)]
    everyone = {each.data["start"] for each in suite.scenarios("train", 12, 0)}
    assert len(everyone) > 3
    assert {name for few in drawn for name in few} == everyone
    assert all(len(set(few)) == 3 for few in drawn)
    assert [each.data["start"] for each in suite.scenarios("train", 3, 7)] == drawn[7]
    assert everyone.isdisjoint(each.data["start"] for each in suite.scenarios("held-out", 12, 0))
    fewer, more = (WorldSuite(suite.world, held_out=number).scenarios("train", 12, 0) for number in (2, 1000))
    assert len({each.data["start"] for each in fewer}) < len(everyone) < len({each.data["start"] for each in more})


async def test_several_worlds_under_one_name_are_drawn_from_scenario_by_scenario(tmp_path: Path):
    for name in ("shop-1", "shop-2"):
        replace(world(), name=name).save(tmp_path)
    save_members("shop", ("shop-1", "shop-2"), tmp_path)
    suite = world_suite("shop", tmp_path)
    assert suite.name == "world/shop"
    made = suite.scenarios("train", 6, 0)
    assert sorted(each.environment for each in made) == ["world/shop-1"] * 3 + ["world/shop-2"] * 3
    environment = suite.environment(made[0])
    await environment.start()
    assert verify(made[0], environment.outcome()) == suite.verify(made[0], environment.outcome())
    forget_members("shop", tmp_path)
    with pytest.raises(NotFound, match="journeyman world build shop"):
        world_suite("shop", tmp_path)
    assert world_suite("shop-1", tmp_path).name == "world/shop-1"


async def test_a_world_that_was_built_again_asks_for_a_new_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path))
    worlds, settings = tmp_path / "worlds", Settings(home=tmp_path, models=tmp_path)
    config = RLConfig(name="a", base="b", suite="world/shop")
    world().save(worlds)
    keep(tmp_path, await check_suite(world_suite("shop"), count=2, closely=1))
    before = standing_of(tmp_path, world_suite("shop"), config.suite)
    assert before.state in ("admitted", "refused")
    built_again = replace(world(), built=replace(world().built, outside=0.5))
    card = world().card
    assert card is not None
    with_card(built_again, card.model_copy(update={"world": built_again.content})).save(worlds)
    after = world_suite("shop")
    assert fingerprint(after) == fingerprint(WorldSuite(world()))
    assert standing_of(tmp_path, after, config.suite).state == "rebuilt"
    with pytest.raises(Refused, match=r"built again since its check of .*journeyman env check world/shop.*--unchecked"):
        plan_rl_run(settings, MemoryStore(), config)
    with pytest.raises(Exception, match="model") as other:
        plan_rl_run(settings, MemoryStore(), config, unchecked=True)
    assert not isinstance(other.value, Refused)
    keep(tmp_path, await check_suite(after, count=2, closely=1))
    assert standing_of(tmp_path, after, config.suite).state == before.state


def test_programs_in_a_file_do_not_run_before_somebody_agreed(tmp_path: Path):
    mark = tmp_path / "ran"
    source = f"open({str(mark)!r}, 'w')\n{TWIN}"
    replace(world(), source=source).save(tmp_path)
    found = load_world("shop", tmp_path)
    assert not found.trusted
    assert found.built.programs == {}
    with pytest.raises(Refused, match="may not run here"):
        replace(
            world(), source=source, trusted=False, card=FidelityCard(world=found.content, seed=0, measures=())
        ).check_training()
    assert not mark.exists()
    agree(source, tmp_path)
    assert set(load_world("shop", tmp_path).built.programs) == {"restock"}
    assert not mark.exists()


def test_a_program_of_ones_own_is_a_twin():
    program = Program("restock", TWIN, Footprint(reads=(STOCK,), writes=(STOCK,)))
    before = {"shop": {"items": {"lamp": {"stock": 2}}, "user": "ada"}}
    answer, changes, error = program.run({"item": "lamp", "count": 5}, before)
    assert (answer, error) == ({"stock": 7}, None)
    assert [(each.path, each.value) for each in changes] == [(("shop", "items", "lamp", "stock"), 7)]
    assert program.run({"item": "ghost", "count": 5}, before)[2] == "no item called {item}"
    assert before["shop"]["items"]["lamp"]["stock"] == 2


def test_a_program_that_loops_is_killed_and_one_that_breaks_is_named():
    feet = Footprint(reads=(STOCK,), writes=(STOCK,))
    loops = Program("restock", "def restock(state, arguments):\n    while True: pass\n", feet, limits=QUICK)
    with pytest.raises(ProgramFailed, match="was killed; nothing was changed"):
        loops.run({}, {"shop": {"items": {}}})
    breaks = Program("restock", "def restock(state, arguments):\n    return state['elsewhere']\n", feet)
    with pytest.raises(ProgramFailed, match="KeyError"):
        breaks.run({}, {"shop": {"items": {}}})
    leaves = Program("restock", "def restock(state, arguments):\n    raise SystemExit(0)\n", feet)
    with pytest.raises(ProgramFailed, match="ended without an answer; nothing was changed"):
        leaves.run({}, {"shop": {"items": {}}})


def test_a_program_that_writes_outside_its_footprint_is_refused():
    source = "def restock(state, arguments):\n    state['shop']['user'] = 'eve'\n    return {'stock': 1}\n"
    program = Program("restock", source, Footprint(reads=(STOCK,), writes=(STOCK,)))
    resolver = world().built.resolver()
    resolver = replace(resolver, twins={**resolver.twins, "restock": program})
    start = world().starts[0]
    name = next(iter(start.document["shop"]["items"]))
    environment = WorldEnvironment(
        Scenario(id="s", environment="world/shop", kind="world"), start, world(), resolver, world().faults("off")
    )
    asyncio.run(environment.step(call("c", "restock", item=name, count=1)))
    assert environment.state.document["shop"]["user"] == start.document["shop"]["user"]
    assert resolver.refused == {"twin: it writes outside the tool's footprint": 1}


_FOOTPRINTS = """
from journeyman.worlds.footprints import footprints
from journeyman.worlds.transitions import Transition

state = {"shop": {name: f"value of {name}" for name in "abcdefgh"}}
print(footprints([Transition("read", {}, state["shop"], "s", 0, before=state, after=state)])["read"])
"""


def test_the_same_calls_have_the_same_footprint_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", _FOOTPRINTS], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1
