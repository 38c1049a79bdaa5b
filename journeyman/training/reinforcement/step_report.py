"""What a step of reinforcement learning came to, as a live line shows it and a run's curves keep it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from journeyman.records import Interval
from journeyman.statistics.intervals import clustered_mean
from journeyman.training.checkpoints import Progress
from journeyman.training.reinforcement.batch import Batch
from journeyman.training.reinforcement.held_out import HeldOut
from journeyman.training.reinforcement.preflight import advice_for
from journeyman.training.reinforcement.rows import sampled_tokens
from journeyman.training.reinforcement.scoring import has_abstained
from journeyman.training.reinforcement.update import Outcome


@dataclass(frozen=True, slots=True)
class RLStepReport:
    """One step. `values` are numbers for the curves, `dropped` says why attempts were not learned from."""

    step: int
    steps: int
    reward: float
    reward_low: float
    reward_high: float
    silent_groups: int
    groups: int
    seconds_left: float
    phases: dict[str, float]
    values: dict[str, float]
    dropped: dict[str, int] = field(default_factory=dict)
    held_out: HeldOut | None = None
    advice: str | None = None
    """What to try when no group of the step has two different rewards."""
    alarms: tuple[str, ...] = ()
    """Of the watch against reward hacking."""

    def curves(self) -> dict[str, float]:
        """Everything that is kept of the step."""
        found = {
            "reward": self.reward, "reward low": self.reward_low, "reward high": self.reward_high,
            "silent groups": self.silent_groups, "groups": self.groups,
        }  # fmt: skip
        found |= self.values
        found |= {f"seconds: {name}": seconds for name, seconds in self.phases.items()}
        found |= {f"dropped: {reason}": count for reason, count in self.dropped.items()}
        if self.held_out is not None:
            found |= self.held_out.curves()
        return found


def report_step(
    progress: Progress,
    steps: int,
    batch: Batch,
    outcome: Outcome | None,
    phases: dict[str, float],
    staleness: int,
    held_out: HeldOut | None,
    alarms: tuple[str, ...] = (),
    guarded: Mapping[str, float] = MappingProxyType({}),
    *,
    compares: bool = True,
) -> RLStepReport:
    """The report of the step that was just made; rewards are averaged by group, whose attempts are alike.

    `guarded` is what the guards against exploitation count; the anchor lane's reward is among it, and not in `reward`.
    """
    rewards = batch.rewards_by_group()
    mean = _mean_of(rewards)
    lengths = sorted(sampled_tokens(each.trajectory) for each in batch.attempts if each.rows)
    seconds = sum(phases.values())
    values = {"staleness": float(staleness)}
    values |= guarded
    if stripped := sum(each.trajectory.stripped for each in batch.attempts):
        values["forged delimiters"] = float(stripped)
    if unknown := sum(each.reward is not None and has_abstained(each.trajectory) for each in batch.attempts):
        values["unknown"] = float(unknown)
    if lengths:
        values |= {"tokens of an attempt": sum(lengths) / len(lengths), "longest attempt": float(lengths[-1])}
    if outcome is not None:
        values |= {
            "loss": outcome.loss, "gradient_norm": outcome.gradient_norm,
            "computed tokens": float(outcome.tokens), "sampled tokens": float(outcome.sampled_tokens),
            "tokens_per_second": outcome.tokens / seconds if seconds else 0.0,
        }  # fmt: skip
        values |= outcome.values
    left = (steps - progress.step) * progress.seconds / progress.step
    return RLStepReport(
        progress.step, steps, mean.estimate, mean.low, mean.high, batch.silent_groups, batch.groups, left,
        phases, values, batch.dropped, held_out, advice_for(rewards) if compares else None, alarms,
    )  # fmt: skip


def _mean_of(rewards: Sequence[Sequence[float]]) -> Interval:
    """Over groups; of one group alone over its attempts, which says nothing of other scenarios."""
    cases = rewards if len(rewards) != 1 else [[each] for each in rewards[0]]
    if len(cases) < 2:
        value = cases[0][0] if cases else 0.0
        return Interval(estimate=value, low=value, high=value)
    return clustered_mean(cases)
