"""How a policy does on scenarios that it never trained on: as it samples, and at its surest."""

from dataclasses import dataclass

from journeyman.records import TrajectoryGroup
from journeyman.records.reinforcement import RLConfig
from journeyman.rewards.rules import own_score
from journeyman.statistics.intervals import clustered_mean
from journeyman.training.reinforcement.scoring import score_groups
from journeyman.training.reinforcement.task import Task

ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Mean reward at temperature 1 with its 95 % interval over scenarios, and that of greedy replies.

    A gain at temperature 1 alone is sharpening: the policy does more often what it could do before.
    """

    mean: float
    low: float
    high: float
    greedy: float
    scenarios: int
    attempts: int
    by_scenario: tuple[float, ...]

    def curves(self) -> dict[str, float]:
        """What a run's curves keep of it."""
        return {
            "held-out reward": self.mean, "held-out low": self.low, "held-out high": self.high,
            "held-out greedy": self.greedy,
        }  # fmt: skip


async def measure(config: RLConfig, task: Task, model: str) -> HeldOut:
    """The same held-out scenarios under the same seeds at every step, so that two measurements are a pair.

    They are measured by the truth where the config names one, for the reward may be a judge; otherwise by the reward.
    """
    scenarios = task.suite.scenarios("held-out", config.evaluate_scenarios, config.seed)
    ruler = task.reward if config.truth is None else own_score(config.truth)

    async def played(temperature: float, attempts: int) -> list[TrajectoryGroup]:
        return await task.play(
            config, scenarios, model, attempts, config.seed, temperature=temperature, tags={"stage": "held-out"}
        )

    sampled, greedy = await played(1.0, ATTEMPTS), await played(0.0, 1)
    # Together: a reward that compares attempts has something to hold the greedy one against.
    joined = [
        each.model_copy(update={"trajectories": (*each.trajectories, *other.trajectories)})
        for each, other in zip(sampled, greedy, strict=True)
    ]
    # An attempt that failed, or that nobody could score, earned nothing.
    found = [
        [0.0 if score is None else score.value for score in given]
        for given in (await score_groups(ruler, joined)).rewards
    ]
    mean = clustered_mean([given[:ATTEMPTS] for given in found])
    means = tuple(sum(given[:ATTEMPTS]) / ATTEMPTS for given in found)
    surest = sum(given[ATTEMPTS] for given in found) / len(found)
    return HeldOut(mean.estimate, mean.low, mean.high, surest, len(means), ATTEMPTS, means)
