"""What one update learns from: attempts with their rewards, compared with each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from journeyman.records import Score, Trajectory, TrajectoryGroup
from journeyman.records.algorithm import Algorithm
from journeyman.rewards.rules import overlong_penalty
from journeyman.training.advantages import advantages, scale_to_unit
from journeyman.training.reinforcement.anchoring import is_anchored
from journeyman.training.reinforcement.replaying import QUARANTINED
from journeyman.training.reinforcement.rows import AttemptRow, is_empty, rows_of, sampled_tokens, why_not
from journeyman.training.reinforcement.scoring import has_abstained

_ABSTAINED = "the world abstained"
_NO_REWARD = "no reward"


@dataclass(frozen=True, slots=True)
class Attempted:
    """One attempt as an update sees it. `advantage` is the whole attempt's; with a critic it is not used."""

    trajectory: Trajectory
    group: int
    reward: float | None
    advantage: float
    rows: tuple[AttemptRow, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """The attempts of a step. `dropped` counts by reason those that the update does not learn from."""

    attempts: tuple[Attempted, ...]
    groups: int
    silent_groups: int
    dropped: dict[str, int] = field(default_factory=dict)

    def rewards_by_group(self) -> list[list[float]]:
        """The rewards of each group of the suite of which an attempt could be scored; the anchor lane's are apart."""
        found: dict[int, list[float]] = {}
        for each in self.attempts:
            if each.reward is not None and not is_anchored(each.trajectory):
                found.setdefault(each.group, []).append(each.reward)
        return list(found.values())


def make_batch(
    algorithm: Algorithm,
    groups: Sequence[TrajectoryGroup],
    scores: Sequence[Sequence[Score | None]],
    new_tokens: int,
    lost: Sequence[str | None] | None = None,
) -> Batch:
    """Attempts with their rewards as a batch; InvalidInput for what the estimator cannot compare.

    An attempt that failed, that was quarantined, whose tokens are not known, or in which a world abstained without its
    counting as the worst, has no reward and teaches nothing; its siblings are compared without it. `lost` says of each
    group why it has no rewards at all, if it has none. What was cut off still counts in its group's mean when the
    algorithm masks it.
    """
    dropped: dict[str, int] = {}
    found: list[tuple[Trajectory, int, float | None, bool]] = []
    reasons = lost or [None] * len(groups)
    for number, (group, given, why) in enumerate(zip(groups, scores, reasons, strict=True)):
        for trajectory, score in zip(group.trajectories, given, strict=True):
            reason = _reason(trajectory, score)
            if reason is None:
                assert score is not None
                reward = score.value + _penalty(algorithm, trajectory, new_tokens)
                masked = algorithm.mask_truncated and was_cut(trajectory)
                found.append((trajectory, number, reward, masked))
                reason = "cut off, and masked" if masked else None
            else:
                found.append((trajectory, number, None, True))
                reason = why if reason == _NO_REWARD and why is not None else reason
            if reason is not None:
                dropped[reason] = dropped.get(reason, 0) + 1
    computed = advantages(
        [reward for _, _, reward, _ in found],
        [number for _, number, _, _ in found],
        algorithm.estimator,
        lengths=[sampled_tokens(trajectory) for trajectory, _, _, _ in found],
        ddof=algorithm.ddof,
    )
    values = scale_to_unit(computed.values) if algorithm.unit_scale else computed.values
    attempts = tuple(
        Attempted(trajectory, number, reward, value, () if masked else tuple(rows_of(trajectory, at)))
        for at, ((trajectory, number, reward, masked), value) in enumerate(zip(found, values, strict=True))
    )
    return Batch(attempts, len(groups), computed.silent_groups, dropped)


def was_cut(trajectory: Trajectory) -> bool:
    """Whether the attempt's last reply was longer than it was allowed to be."""
    return bool(trajectory.finish_reasons) and trajectory.finish_reasons[-1] == "length"


def _penalty(algorithm: Algorithm, trajectory: Trajectory, new_tokens: int) -> float:
    if algorithm.overlong_buffer is None:
        return 0.0
    longest = max(len(each.reply) for each in trajectory.tokens)
    return overlong_penalty(longest, new_tokens, min(algorithm.overlong_buffer, new_tokens))


def _reason(trajectory: Trajectory, score: Score | None) -> str | None:
    """Why nothing can be learned from an attempt, in the words of a table; None when something can."""
    if trajectory.error is not None:
        return f"failed: {trajectory.error.partition(':')[0]}"
    if has_abstained(trajectory) and score is None:
        return _ABSTAINED
    if QUARANTINED in trajectory.tags:
        return f"quarantined: {trajectory.tags[QUARANTINED]}"
    if why_not(trajectory) is not None:
        return "nothing was sampled" if is_empty(trajectory) else "tokens or log-probabilities missing"
    return _NO_REWARD if score is None else None
