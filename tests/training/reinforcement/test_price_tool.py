"""A real model learns a task with a tool within ten steps: the gate that no change of the loop may close."""

import asyncio

import pytest

from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.environments.tasks.price_tool import PriceToolSuite
from journeyman.records.reinforcement import RLConfig
from journeyman.rewards.rules import own_score
from journeyman.training.reinforcement.trainer import ReinforcementTrainer, Task


@pytest.mark.slow
def test_a_real_model_learns_to_use_a_tool(smollm2, tmp_path):
    config = RLConfig(
        base="smollm2-135m", name="agent", suite="price-tool", rank=1, learning_rate=3e-4, steps=10, scenarios=8,
        attempts=8, new_tokens=24, max_calls=2, evaluate_every=0, evaluate_scenarios=16, precision="float32",
    )  # fmt: skip

    async def play():
        process = EngineProcess.local(
            smollm2, "smollm2-135m", tmp_path, threads=1, precision="float32", arguments=("--rows", "64")
        )
        async with SupervisedEngine(process) as running, HeldEngine(running) as engine:
            task = Task(PriceToolSuite(), own_score("reward"), engine, tmp_path / "adapters" / "run")
            trainer = ReinforcementTrainer(config, task, smollm2, tmp_path / "run")
            reports = []
            await trainer.train(reports.append)
            return reports, await trainer.held_out()

    reports, held_out = asyncio.run(play())
    assert reports[0].reward < 0.65, "it is not solved from the start"
    assert held_out.mean >= 0.7
    assert max(report.values["sampler gap"] for report in reports) < 1e-4, "engine and trainer agree in float32"
