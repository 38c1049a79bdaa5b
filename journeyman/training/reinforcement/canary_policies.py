"""Canary policies in a run: who does nothing of use is rewarded as the policy is, and must earn nothing."""

from collections.abc import Mapping, Sequence

from journeyman.environments.admission.admit import MOST_FREE
from journeyman.environments.admission.canaries import RANDOM, play_canaries
from journeyman.environments.environment import Suite
from journeyman.errors import NothingToCompare
from journeyman.records import Frozen, Trajectory, TrajectoryGroup
from journeyman.records.reinforcement import RLConfig
from journeyman.statistics.intervals import proportion
from journeyman.training.reinforcement.scoring import score_groups
from journeyman.training.reinforcement.task import Task
from journeyman.training.reinforcement.wins import is_won

_MOST_TEXT = 240


class Earned(Frozen):
    """How many of a canary's attempts were won so far, and the latest of these in words."""

    won: int = 0
    played: int = 0
    example: str = ""

    def plus(self, other: "Earned") -> "Earned":
        """Both together."""
        return Earned(
            won=self.won + other.won, played=self.played + other.played, example=other.example or self.example
        )

    @property
    def is_leak(self) -> bool:
        """Whether more is won than chance and a scenario in twenty that asks for nothing explain."""
        return bool(self.played) and proportion(self.won, self.played).low > MOST_FREE

    def said(self) -> str:
        """The share in words."""
        return f"won {self.won} of {self.played}"


async def earned_by_canaries(config: RLConfig, task: Task, suite: Suite, seed: int, count: int) -> dict[str, Earned]:
    """What each canary earns at `count` training scenarios, each attempt rewarded alone.

    A reward that compares has nothing to compare it with; the environment's own success decides alone then. What ended
    in an error without a win was not played.
    """
    scenarios = suite.scenarios("train", count, seed)
    played = await play_canaries(
        suite, scenarios, seed, max_calls=config.max_calls, seconds_per_call=config.seconds_per_step
    )
    found = {}
    for name, attempts in played.items():
        groups = [
            TrajectoryGroup(scenario=scenario, trajectories=(attempt,))
            for scenario, attempt in zip(scenarios, attempts, strict=True)
        ]
        rewards = await _rewards(task, groups)
        won = [(attempt, reward) for attempt, reward in zip(attempts, rewards, strict=True) if is_won(attempt, reward)]
        played_out = sum(attempt.error is None or is_won(attempt, reward)
                         for attempt, reward in zip(attempts, rewards, strict=True))  # fmt: skip
        found[name] = Earned(won=len(won), played=played_out, example=_told(*won[-1]) if won else "")
    return found


async def _rewards(task: Task, groups: Sequence[TrajectoryGroup]) -> list[float | None]:
    """Of groups of one; None where there is none to be given."""
    try:
        scored = await score_groups(task.reward, groups)
    except NothingToCompare:
        return [None] * len(groups)
    return [given[0].value if given[0] is not None else None for given in scored.rewards]


def leaks(own: Mapping[str, Earned], real: Mapping[str, Earned]) -> list[str]:
    """Canaries that earn, by name. The random player is one where it earns less in the real system, beyond chance."""
    found = [name for name, each in own.items() if name != RANDOM and each.is_leak]
    ours, theirs = own.get(RANDOM), real.get(RANDOM)
    if ours is None or theirs is None or not ours.played or not theirs.played:
        return found
    if proportion(ours.won, ours.played).low > proportion(theirs.won, theirs.played).high:
        found.append(RANDOM)
    return found


def _told(attempt: Trajectory, reward: float | None) -> str:
    did = []
    for message in attempt.messages:
        if message.role == "assistant":
            did += [f"{each.function.name}({each.function.arguments})" for each in message.tool_calls or ()]
            did += [repr(message.text)] if message.text else []
    text = ", then ".join(did)
    text = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"
    paid = "success 1" if reward is None else f"{reward:g}"
    return f"at {attempt.scenario_id} it was rewarded {paid} for: {text}"
