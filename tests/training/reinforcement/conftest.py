"""Attempts whose tokens a tiny model really sampled, or nearly so, and a suite that it can learn within seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from journeyman.environments.environment import Observation
from journeyman.records import Message, Scenario, Score, Tokens, Trajectory, TrajectoryGroup
from journeyman.records.message import user
from journeyman.records.reinforcement import RLConfig
from journeyman.training.batches import pack_rows
from journeyman.training.policy import Policy
from journeyman.training.reinforcement.rows import rows_of
from tests.training.test_batches import stirred

SHARED = 20
"""Tokens that every prompt begins with."""


def make_rl_config(**fields: Any) -> RLConfig:
    settings = {
        "base": "tiny", "name": "n", "suite": "tests.training.reinforcement.conftest:LetterSuite", "rank": 4,
        "alpha": 8.0, "precision": "float32", "pack_tokens": 256, "steps": 3, "scenarios": 2, "attempts": 4,
        "new_tokens": 6, "max_calls": 2, "evaluate_every": 0, "evaluate_scenarios": 4, "canaries": 0,
    }  # fmt: skip
    return RLConfig(**{**settings, **fields})


@pytest.fixture
def policy(tiny: Path) -> Policy:
    return stirred(Policy(tiny, make_rl_config()))


def make_groups(policy: Policy, scenarios: int = 3, attempts: int = 4, seed: int = 0) -> list[TrajectoryGroup]:
    """Groups of attempts of one or two turns, whose log-probabilities are the policy's of now."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        length = int(torch.randint(least, most, (1,), generator=generator))
        return tuple(torch.randint(3, 300, (length,), generator=generator).tolist())

    opening, groups = tokens(SHARED, SHARED + 1), []
    for number in range(scenarios):
        asked = opening + tokens(17, 24)
        found = []
        for attempt in range(attempts):
            first = tokens(2, 6)
            calls = [(asked, first)]
            if attempt % 2:
                calls.append((asked + first + tokens(4, 8), tokens(1, 5)))
            found.append(attempted(policy, f"s{number}", f"s{number}-{attempt}", calls))
        scenario = Scenario(id=f"s{number}", environment="test", kind="test")
        groups.append(TrajectoryGroup(scenario=scenario, trajectories=tuple(found)))
    return groups


def attempted(
    policy: Policy, scenario: str, id: str, calls: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
) -> Trajectory:
    """An attempt of those prompts and replies."""
    unknown = [Tokens(prompt=prompt, reply=reply, logprobs=(-1.0,) * len(reply)) for prompt, reply in calls]
    bare = Trajectory(
        id=id, scenario_id=scenario, model="tiny@0", session=id, messages=(), tokens=tuple(unknown),
        latencies=(0.1,) * len(calls), finish_reasons=("stop",) * len(calls),
    )  # fmt: skip
    known = []
    for each in unknown:
        (row,) = rows_of(bare.model_copy(update={"tokens": (each,), "latencies": (0.1,)}), 0)
        (pack,) = pack_rows([row], 10**6)
        known.append(each.model_copy(update={"logprobs": tuple(policy.logprobs(pack).clamp(max=-1e-7).tolist())}))
    return bare.model_copy(update={"tokens": tuple(known)})


def scored(groups: Sequence[TrajectoryGroup], rewards: Sequence[Sequence[float | None]]) -> list[list[Score | None]]:
    return [
        [None if value is None else Score(name="reward", value=value) for value in given]
        for given, _ in zip(rewards, groups, strict=True)
    ]


class _Letters:
    """Ask for a word; the reward is the share of the letter `a` among the reply's letters."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._said = scenario, ""

    async def start(self) -> Observation:
        return Observation(messages=(user(f"Write {self._scenario.data['word']}"),))

    async def step(self, reply: Message) -> Observation:
        self._said = reply.text
        return Observation(done=True)

    def fork(self, n: int) -> "list[_Letters]":
        return [_Letters(self._scenario) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        share = self._said.count("a") / max(len(self._said), 1)
        return (Score(name="reward", value=share), Score(name="success", value=float(share > 0.5)))

    async def close(self) -> None:
        pass


class LetterSuite:
    """A task that a model of random weights can learn."""

    name = "letters"

    def scenarios(self, split: str, count: int, seed: int) -> list[Scenario]:
        return [
            Scenario(id=f"{split}-{seed}-{at}", environment=self.name, kind="word", data={"word": f"{split[0]}{at}"})
            for at in range(count)
        ]

    def environment(self, scenario: Scenario) -> _Letters:
        return _Letters(scenario)
