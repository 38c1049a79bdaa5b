"""How a policy does on scenarios that it never trained on: as it samples, and at its surest."""

from dataclasses import dataclass

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Suite
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.records import Sampling
from journeyman.records.reinforcement import RLConfig
from journeyman.rewards.reward import Reward
from journeyman.statistics.intervals import clustered_mean
from journeyman.training.reinforcement.scoring import score_groups

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


async def measure(config: RLConfig, suite: Suite, reward: Reward, engine: Engine, model: str) -> HeldOut:
    """The same held-out scenarios under the same seeds at every step, so that two measurements are a pair."""
    scenarios = suite.scenarios("held-out", config.evaluate_scenarios, config.seed)

    async def played(temperature: float, attempts: int) -> list[list[float]]:
        groups = await roll_out_groups(
            suite, scenarios, engine, model, Sampling(temperature=temperature, max_tokens=config.new_tokens),
            attempts=attempts, limits=RolloutLimits(max_calls=config.max_calls), seed=config.seed,
            concurrency=config.concurrency, tags={"stage": "held-out"},
        )  # fmt: skip
        # An attempt that failed, or that nobody could score, earned nothing.
        return [
            [0.0 if score is None else score.value for score in given]
            for given in (await score_groups(reward, groups)).rewards
        ]

    sampled = await played(1.0, ATTEMPTS)
    greedy = await played(0.0, 1)
    mean = clustered_mean(sampled)
    surest = [each[0] for each in greedy]
    means = tuple(sum(each) / len(each) for each in sampled)
    return HeldOut(mean.estimate, mean.low, mean.high, sum(surest) / len(surest), len(means), ATTEMPTS, means)
