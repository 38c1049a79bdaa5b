"""What counts as a win of a run, and how certain it is that its wins do not hold in the real system."""

from typing import NamedTuple

from journeyman.records import Trajectory
from journeyman.statistics.evidence import evidence_below

WON = 0.5
"""An attempt is won when the environment calls it a success, or its reward is no less than this."""
LEAST_SHARE = 0.9
"""Of what is replayed so much must hold in the real system (WM2Real)."""
SURE = 1 / 0.01
"""Evidence at which a run is stopped for its audit: with nothing wrong it comes to this in one run of a hundred."""


def is_won(attempt: Trajectory, reward: float | None) -> bool:
    """Whether an attempt that was given this reward, None for none, is a win."""
    return attempt.score("success") == 1 or (reward is not None and reward >= WON)


class Replayed(NamedTuple):
    """How many attempts were replayed and how many of them held: of all, and of the wins among them."""

    audited: int = 0
    held: int = 0
    wins: int = 0
    wins_held: int = 0

    def plus(self, other: "Replayed") -> "Replayed":
        """Both together."""
        return Replayed(*(one + another for one, another in zip(self, other, strict=True)))

    @property
    def evidence(self) -> float:
        """How strongly this speaks against "whatever is replayed holds in nine cases of ten": an e-value.

        The mean of two, for all that was replayed and for the wins alone, which is one again, however they depend on
        each other (V. Vovk and R. Wang (2021), Annals of Statistics 49:1736–1754, section 3): while each attempt that
        is replayed holds with a chance of 0.9 or more, the chance that this ever reaches 1/α is at most α. A policy
        that just begins to exploit has few wins, and all of them false, among best attempts that earn a little
        honestly and hold as a matter of course: these would hide the former, and cost a factor of two instead.
        """
        everything = evidence_below(self.held, self.audited, LEAST_SHARE)
        return (everything + evidence_below(self.wins_held, self.wins, LEAST_SHARE)) / 2
