"""Programs as agents: what they are told, how they end, and that each attempt is its own."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from journeyman.environments.episode import named_loss
from journeyman.environments.programs import Assignment, Command, roll_out_programs
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Scenario, Score, Trajectory
from journeyman.records.message import assistant, user

SCENARIOS = [Scenario(id=f"case/{number} ü", environment="mine", kind="k", data={"n": number}) for number in range(3)]


async def from_memory(assignment: Assignment) -> Trajectory:
    """As if all had been captured: one call."""
    return Trajectory(
        scenario_id="", model=assignment.model, session=assignment.session,
        messages=(user("Hi"), assistant("Hello")), latencies=(0.1,),
    )  # fmt: skip


async def roll_out(program, scenarios=SCENARIOS, **more):
    options = {"gateway": "http://here:1/v1/", "read_back": from_memory, "attempts": 2, "seconds_per_episode": 20.0}
    return await roll_out_programs(program, scenarios, "m@3", **(options | more))


async def test_each_attempt_has_a_url_of_its_own_and_its_scores() -> None:
    told: list[Assignment] = []

    async def program(assignment: Assignment) -> list[Score]:
        told.append(assignment)
        return [Score(name="success", value=float(assignment.scenario.data["n"] != 1), by="program")]

    groups = await roll_out(program)
    assert [group.scenario for group in groups] == SCENARIOS
    assert [[each.score("success") for each in group.trajectories] for group in groups] == [[1, 1], [0, 0], [1, 1]]
    played = [each for group in groups for each in group.trajectories]
    assert all(each.scenario_id == group.scenario.id for group in groups for each in group.trajectories)
    assert len({each.session for each in played}) == len({each.base_url for each in told}) == 6
    assert all(each.base_url == f"http://here:1/v1/sessions/{each.session}" for each in told)
    assert all(each.model == "m@3" and each.api_key == "unused" for each in told)


async def test_a_program_that_fails_or_hangs_loses_its_own_attempt_and_keeps_what_it_said() -> None:
    async def program(assignment: Assignment) -> None:
        match assignment.scenario.data["n"]:
            case 1:
                raise ValueError("no such tool")
            case 2:
                await asyncio.Event().wait()

    groups = await roll_out(program, seconds_per_episode=0.2)
    errors = [group.trajectories[0].error for group in groups]
    assert errors[0] is None
    assert errors[1] == "ValueError: no such tool"
    assert "DeadlineExceeded: the agent's program took longer than 0.2 s at case/2" in str(errors[2])
    assert all(each.messages for group in groups for each in group.trajectories)


async def test_what_cannot_be_read_back_is_a_named_loss() -> None:
    async def lost(assignment: Assignment) -> Trajectory:
        raise UpstreamFailed("no ingester is running")

    async def program(assignment: Assignment) -> None: ...

    [group] = await roll_out(program, SCENARIOS[:1], read_back=lost)
    assert [each.error for each in group.trajectories] == ["UpstreamFailed: no ingester is running"] * 2
    assert {each.messages for each in group.trajectories} == {()}


async def test_a_command_finds_its_assignment_in_its_environment(tmp_path: Path) -> None:
    code = (
        "import json, os; scenario = json.loads(os.environ['JOURNEYMAN_SCENARIO']);"
        "open(os.environ['JOURNEYMAN_SESSION'], 'w').write(json.dumps([scenario, os.environ['MORE'],"
        "os.environ['OPENAI_BASE_URL'], os.environ['OPENAI_API_KEY'], os.environ['JOURNEYMAN_MODEL']]))"
    )
    command = Command([sys.executable, "-c", code], environment={"MORE": "yes"}, folder=tmp_path)
    groups = await roll_out(command, SCENARIOS[:2], api_key="sk-1")
    for group in groups:
        for trajectory in group.trajectories:
            assert trajectory.error is None
            told = json.loads((tmp_path / trajectory.session).read_text())
            scenario = {"id": group.scenario.id, "kind": "k", "data": group.scenario.data}
            url = f"http://here:1/v1/sessions/{trajectory.session}"
            assert told == [scenario, "yes", url, "sk-1", "m@3"]


async def test_a_command_that_fails_says_its_last_words(tmp_path: Path) -> None:
    failing = Command([sys.executable, "-c", "import sys; print('x' * 9000); sys.exit('the database is gone')"])
    absent = Command([str(tmp_path / "nothing")])
    [failed] = await roll_out(failing, SCENARIOS[:1], attempts=1)
    [unknown] = await roll_out(absent, SCENARIOS[:1], attempts=1)
    assert str(failed.trajectories[0].error).startswith(f"ProgramFailed: {sys.executable} ended with 1: xxx")
    assert str(failed.trajectories[0].error).endswith("the database is gone")
    assert len(str(failed.trajectories[0].error)) < 2200
    assert "cannot be started" in str(unknown.trajectories[0].error)


@pytest.mark.parametrize(
    "apart", [False, pytest.param(True, marks=pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc"))]
)
async def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path, apart: bool) -> None:
    child = "import pathlib, time; time.sleep(6); pathlib.Path('survived').touch()"
    started = f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session={apart})"
    parent = f"import subprocess, sys, time; {started}; time.sleep(60)"
    began = time.monotonic()
    [group] = await roll_out(
        Command([sys.executable, "-c", parent], folder=tmp_path), SCENARIOS[:1], attempts=1, seconds_per_episode=3.0
    )
    assert named_loss(group.trajectories[0]) == "DeadlineExceeded"
    await asyncio.sleep(max(0.0, began + 8 - time.monotonic()))
    assert not (tmp_path / "survived").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seconds_per_episode": 0}, "needs time"),
        ({"attempts": 0}, "at least one"),
        ({"scenarios": [Scenario(environment="mine", kind="k")]}, "no id"),
    ],
)
async def test_what_cannot_be_is_refused_first(changed, words) -> None:
    async def program(assignment: Assignment) -> None:
        raise AssertionError("nothing may be run")

    with pytest.raises(InvalidInput, match=words):
        await roll_out(program, **changed)
    with pytest.raises(InvalidInput, match="at least one word"):
        Command([])
