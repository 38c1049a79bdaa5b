"""What the leading process of a run tells the others: a batch to learn from, as one line of JSON."""

from typing import Any, Self

from journeyman.records import Frozen, Trajectory
from journeyman.training.reinforcement.batch import Attempted, Batch
from journeyman.training.reinforcement.rows import rows_of

_NOT_LEARNED: dict[str, Any] = {"messages": (), "tools": (), "scores": (), "outcome": None, "scenario": None}
"""What no update looks at."""


class LessonAttempt(Frozen):
    """An attempt of a lesson; one that is not learned from counts in its group all the same."""

    trajectory: Trajectory
    group: int
    reward: float | None
    advantage: float
    learned: bool


class Lesson(Frozen):
    """The batch of step `number`, sampled under the weights of step `weights`."""

    number: int
    weights: int | None
    groups: int
    silent_groups: int
    attempts: tuple[LessonAttempt, ...]

    @classmethod
    def of(cls, batch: Batch, number: int, weights: int | None) -> Self:
        """A batch as it can be sent."""
        attempts = tuple(
            LessonAttempt(
                trajectory=each.trajectory.model_copy(update=_NOT_LEARNED), group=each.group, reward=each.reward,
                advantage=each.advantage, learned=bool(each.rows),
            )
            for each in batch.attempts
        )  # fmt: skip
        return cls(
            number=number, weights=weights, groups=batch.groups, silent_groups=batch.silent_groups, attempts=attempts
        )

    def batch(self) -> Batch:
        """The batch that was sent."""
        attempts = tuple(
            Attempted(
                each.trajectory, each.group, each.reward, each.advantage,
                tuple(rows_of(each.trajectory, at)) if each.learned else (),
            )
            for at, each in enumerate(self.attempts)
        )  # fmt: skip
        return Batch(attempts, self.groups, self.silent_groups)
