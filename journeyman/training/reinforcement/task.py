"""What a run attempts, by what it is rewarded, and where attempts are made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from journeyman.engines.engine import AdapterEngine
from journeyman.environments.environment import Suite
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.waiting import RolloutProgress
from journeyman.records import Sampling, Scenario, TrajectoryGroup
from journeyman.records.reinforcement import RLConfig
from journeyman.rewards.reward import Reward

RollOut = Callable[..., Awaitable[list[TrajectoryGroup]]]
"""Called like `roll_out_groups`: attempts are made in this process by that, or elsewhere by something alike."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is attempted, by what it is rewarded, and where it is sampled."""

    suite: Suite
    reward: Reward
    engine: AdapterEngine
    weights: Path
    """Folder for the adapters of single steps, which the engine can read."""
    held_out: Reward | None = None
    """A judge that never trains, which the reward is held against."""
    label: str = "policy"
    """What the engine calls the weights, before the step's number: no two runs may share it."""
    roll_out: RollOut = roll_out_groups
    anchor: Suite | None = None
    """The real system, of which the suite is a simulation: what that pays is held against it."""

    async def play(
        self,
        config: RLConfig,
        scenarios: Sequence[Scenario],
        model: str,
        attempts: int,
        seed: int,
        *,
        temperature: float = 1.0,
        tags: Mapping[str, str],
        progress: RolloutProgress | None = None,
        suite: Suite | None = None,
    ) -> list[TrajectoryGroup]:
        """`attempts` at each scenario under the weights called `model`, within the bounds of the config; the scenarios
        are the task's suite's, or those of another one."""
        limits = RolloutLimits(
            max_calls=config.max_calls, seconds_per_call=config.seconds_per_call,
            seconds_per_step=config.seconds_per_step, seconds_per_episode=config.seconds_per_episode,
        )  # fmt: skip
        return await self.roll_out(
            self.suite if suite is None else suite, scenarios, self.engine, model,
            Sampling(temperature=temperature, max_tokens=config.new_tokens), attempts=attempts, limits=limits,
            seed=seed, concurrency=config.concurrency, tags=tags, progress=progress,
        )  # fmt: skip
