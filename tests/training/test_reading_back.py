"""From a program's stock client to a trajectory with tokens, through the real gateway, engine, spool and ingester."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from openai import AsyncOpenAI

from journeyman.config import Settings
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.environments.episode import named_loss
from journeyman.environments.programs import Assignment, Command, roll_out_programs
from journeyman.records import Exchange, Scenario
from journeyman.store.memory import MemoryStore
from journeyman.training.reading_back import ReadBack
from tests.gateway.conftest import Running, running

SCENARIOS = [
    Scenario(id=f"s{number}", environment="mine", kind="k", data={"ask": f"hello {number}"}) for number in (1, 2)
]
SCRIPT = """
import json, os
from openai import OpenAI
client = OpenAI()
messages = [{"role": "user", "content": json.loads(os.environ["JOURNEYMAN_SCENARIO"])["data"]["ask"]}]
for word in ("please", "thanks"):
    said = client.chat.completions.create(model=os.environ["JOURNEYMAN_MODEL"], messages=messages, max_tokens=6, seed=1)
    messages += [said.choices[0].message.model_dump(exclude_unset=True), {"role": "user", "content": word}]
"""


@pytest.fixture
async def gateway(tiny: Path, tmp_path: Path) -> AsyncIterator[Running]:
    settings, store = Settings(home=tmp_path), MemoryStore()
    async with (
        SupervisedEngine(EngineProcess.local(tiny, "tiny", tmp_path)) as engine,
        running(store, settings, engine) as served,
    ):
        served.read_back = ReadBack(store, settings.spool)
        yield served


async def roll_out(gateway, program, model="tiny", **more):
    options = {"gateway": gateway.url, "read_back": gateway.read_back, "attempts": 2, "seconds_per_episode": 60.0}
    return await roll_out_programs(program, SCENARIOS, model, **(options | more))


async def test_what_a_program_sampled_is_read_back_token_by_token(gateway) -> None:
    async def program(assignment: Assignment) -> None:
        async with AsyncOpenAI(base_url=assignment.base_url, api_key=assignment.api_key) as client:
            messages = [{"role": "user", "content": assignment.scenario.data["ask"]}]
            for word in ("please", "thanks", "bye"):
                said = await client.chat.completions.create(model=assignment.model, messages=messages, max_tokens=6)
                messages += [said.choices[0].message.model_dump(exclude_unset=True), {"role": "user", "content": word}]

    groups = await roll_out(gateway, program)
    stored = {exchange.id: exchange for exchange in gateway.store.find(Exchange)}
    assert len(stored) == 12
    for group in groups:
        for trajectory in group.trajectories:
            assert trajectory.error is None
            assert (trajectory.turns, trajectory.model, trajectory.scenario_id) == (3, "tiny", group.scenario.id)
            assert [message.role for message in trajectory.messages] == ["user", "assistant"] * 3
            assert trajectory.messages[0].text == group.scenario.data["ask"]
            mine = sorted((e for e in stored.values() if e.session == trajectory.session), key=lambda e: e.id)
            assert trajectory.tokens == tuple(exchange.choices[0].tokens for exchange in mine)
            assert all(len(each.logprobs) == len(each.reply) > 0 for each in trajectory.tokens)
            assert len(trajectory.finish_reasons) == 3


async def test_a_command_with_the_stock_client_too_and_its_feedback_are_scores(gateway) -> None:
    groups = await roll_out(gateway, Command([sys.executable, "-c", SCRIPT]))
    trajectories = [each for group in groups for each in group.trajectories]
    assert [each.error for each in trajectories] == [None] * 4
    assert [each.turns for each in trajectories] == [2] * 4

    async def program(assignment: Assignment) -> None:
        async with AsyncOpenAI(base_url=assignment.base_url, api_key="unused") as client:
            hi = [{"role": "user", "content": "Hi"}]
            await client.chat.completions.create(model="tiny", messages=hi, max_tokens=2)
        said = {"session": assignment.session, "name": "reward", "value": 0.25}
        async with aiohttp.ClientSession(raise_for_status=True) as http:
            await (await http.post(f"{gateway.url}/v1/feedback", json=said)).read()

    groups = await roll_out(gateway, program)
    assert [each.score("reward") for group in groups for each in group.trajectories] == [0.25] * 4


async def test_a_program_that_asks_somebody_else_or_nobody_is_not_learned_from(gateway) -> None:
    async def silent(assignment: Assignment) -> None: ...

    async def another(assignment: Assignment) -> None:
        async with AsyncOpenAI(base_url=assignment.base_url, api_key="unused") as client:
            hi = [{"role": "user", "content": "Hi"}]
            await client.chat.completions.create(model="tiny", messages=hi, max_tokens=2)

    groups = await roll_out(gateway, silent, attempts=1)
    assert all("made no call in its session" in str(group.trajectories[0].error) for group in groups)
    groups = await roll_out(gateway, another, model="tiny@4", attempts=1)
    assert all("asked tiny, not tiny@4" in str(group.trajectories[0].error) for group in groups)
    assert {named_loss(group.trajectories[0]) for group in groups} == {"InvalidInput"}
