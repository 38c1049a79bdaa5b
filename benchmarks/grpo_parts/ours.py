"""Our side: the trainer, and the engine that samples for it in a process of its own."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from grpo_parts.child import Steps, reward_of
from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.environments.environment import Environment, Observation
from journeyman.records import Message, Scenario, Score, Trajectory
from journeyman.records.algorithm import ALGORITHMS
from journeyman.records.message import user
from journeyman.records.reinforcement import RLConfig
from journeyman.rewards.rules import own_score
from journeyman.training.reinforcement.step_report import RLStepReport
from journeyman.training.reinforcement.trainer import ReinforcementTrainer, Task


class _Question:
    def __init__(self, text: str) -> None:
        self._text, self._said = text, ""

    async def start(self) -> Observation:
        return Observation(messages=(user(self._text),))

    async def step(self, reply: Message) -> Observation:
        self._said = reply.text
        return Observation(done=True)

    def fork(self, n: int) -> "list[_Question]":
        return [_Question(self._text) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        return (Score(name="reward", value=reward_of(self._said)),)

    async def close(self) -> None:
        pass


class _Questions:
    """The job's prompts in order, some for each step."""

    name = "questions"

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts, self._next = texts, 0

    def scenarios(self, split: str, count: int, seed: int) -> list[Scenario]:
        first, self._next = self._next, self._next + count
        return [
            Scenario(id=f"q{at}", environment=self.name, kind="question", data={"text": self._texts[at]})
            for at in range(first, first + count)
        ]

    def environment(self, scenario: Scenario) -> Environment:
        return _Question(scenario.data["text"])


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Take the job's steps, and tell what each cost."""
    return asyncio.run(_train(job))


async def _train(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(job["threads"])
    config = RLConfig(
        base="base", name="agent", suite="questions", rank=job["rank"], alpha=job["alpha"], precision="float32",
        learning_rate=job["learning_rate"], steps=job["steps"], scenarios=job["scenarios"], attempts=job["attempts"],
        new_tokens=job["new_tokens"], max_calls=1, evaluate_every=0, pack_tokens=job["pack_tokens"], canaries=0,
        algorithm=ALGORITHMS["grpo"],
    )  # fmt: skip
    model = Path(job["model"])
    sampled, phases = list[int](), list[dict[str, float]]()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        process = EngineProcess.local(
            model, model.name, home, threads=job["threads"], precision="float32", arguments=("--rows", "64")
        )
        async with SupervisedEngine(process) as running, HeldEngine(running) as engine:
            task = Task(_Questions(job["prompts"]), own_score("reward"), engine, home / "adapters" / "steps")
            kept: list[Trajectory] = []
            trainer = ReinforcementTrainer(config, task, model, home / "run", keep=kept.extend)
            assert process.pid is not None
            clock = Steps((process.pid,))
            clock.tick()

            def log(report: RLStepReport) -> None:
                sampled.append(int(report.values["sampled tokens"]))
                phases.append(report.phases | {"computed": report.values["computed tokens"]})
                clock.tick()

            await trainer.train(log)
            engine_mib = _peak_mib(process.pid)
    return clock.told() | {"sampled": sampled, "phases": phases, "engine_mib": engine_mib}


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
