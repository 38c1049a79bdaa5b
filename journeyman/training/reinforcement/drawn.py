"""The groups of a step, and what takes the place of those without signal."""

from collections.abc import Sequence
from dataclasses import dataclass

from journeyman.records import Score, TrajectoryGroup
from journeyman.records.algorithm import Algorithm
from journeyman.training.advantages import EQUAL
from journeyman.training.reinforcement.batch import Batch, make_batch
from journeyman.training.reinforcement.scoring import Scored

_REPLACED = "its group had no signal, and was replaced"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Groups with their rewards. `replaced` counts attempts whose groups were given up for others.

    `every` is all that was drawn and rewarded, what was given up included; None as long as nothing was.
    """

    groups: Sequence[TrajectoryGroup]
    scored: Scored
    replaced: int = 0
    every: tuple[Sequence[TrajectoryGroup], Scored] | None = None

    @property
    def seen(self) -> tuple[Sequence[TrajectoryGroup], Scored]:
        """Every group that was drawn, with its rewards."""
        return (self.groups, self.scored) if self.every is None else self.every

    @property
    def loud(self) -> int:
        """How many groups have attempts that differ."""
        return sum(map(_differs, self.scored.rewards))

    def refilled(self, groups: Sequence[TrajectoryGroup], scored: Scored) -> "Drawn":
        """These groups less the silent ones, and the new ones less theirs; of all silent ones only what is needed to
        have any."""
        together = [*self.groups, *groups]
        joined = self.scored.plus(scored)
        kept = [at for at, given in enumerate(joined.rewards) if _differs(given)] or [*range(len(together))]
        gone = sum(len(each.trajectories) for each in together) - sum(len(together[at].trajectories) for at in kept)
        drawn, given = self.seen
        every = ([*drawn, *groups], given.plus(scored))
        return Drawn([together[at] for at in kept], joined.only(kept), self.replaced + gone, every)

    def batch(self, algorithm: Algorithm, new_tokens: int) -> Batch:
        """Advantages are computed over everything at once, whenever it was drawn."""
        found = make_batch(algorithm, self.groups, self.scored.rewards, new_tokens, self.scored.lost)
        if self.replaced:
            found.dropped[_REPLACED] = self.replaced
        return found


def _differs(rewards: Sequence[Score | None]) -> bool:
    values = [score.value for score in rewards if score is not None]
    return bool(values) and max(values) - min(values) > EQUAL
