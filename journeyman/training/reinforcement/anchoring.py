"""The anchor lane: a share of the groups plays the real system, and what a simulation pays is held against it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from journeyman.records import Interval, Trajectory
from journeyman.statistics.trends import Rise, rise

LANE, ANCHOR, SUITE = "lane", "anchor", "suite"
"""The tag of an attempt that says which lane it was played in, and its two values."""
WINDOW = 40
"""Steps over which rises are fitted: what lies further back was another policy's."""
RECENT = 5
"""Steps whose rewards are compared as the gap."""
LEAST_RISE = 0.1
"""How much more the simulation's reward must have risen than the anchor's to stop a run."""
FALSE_ALARMS = 0.01
"""The chance that a run is stopped though both lanes rise alike, shared among its steps."""


class Rewards(NamedTuple):
    """The mean rewards of a step's groups, by lane."""

    step: int
    suite: tuple[float, ...]
    anchor: tuple[float, ...]


class Gap(NamedTuple):
    """The suite's mean reward less the anchor's over the latest steps (F13), with its 95% interval, and both rises."""

    value: Interval
    suite_rise: Interval
    anchor_rise: Interval
    is_exploited: bool


def is_anchored(trajectory: Trajectory) -> bool:
    """Whether an attempt was played in the anchor lane."""
    return trajectory.tags.get(LANE) == ANCHOR


def anchored_groups(step: int, share: float, scenarios: int) -> int:
    """How many of a step's groups play the anchor: whole numbers that come to the share over the run's steps, and
    never all. `step` counts from 0, and the first has one wherever the share is more than nothing."""
    if not share:
        return 0
    upto = math.ceil(share * scenarios * (step + 1) - 1e-9) - math.ceil(share * scenarios * step - 1e-9)
    return min(upto, scenarios - 1)


def gap_of(history: Sequence[Rewards], steps: int) -> Gap | None:
    """What the run so far shows, of at most `steps` looks; None while one of the lanes has no reward yet.

    It is exploited when the suite's reward has risen, the anchor's has not shown to have risen, and the difference of
    the rises is both certain and no less than `LEAST_RISE`: of lines fitted to the means of the groups, each a case of
    its own, because attempts of a group resemble each other.
    """
    latest = history[-1].step if history else 0
    recent = [each for each in history if each.step > latest - RECENT]
    suite, anchor = [value for each in recent for value in each.suite], [v for each in recent for v in each.anchor]
    if not suite or not anchor:
        return None
    window = [each for each in history if each.step > latest - WINDOW]
    span = float(latest - window[0].step)
    ours = rise([(each.step, value) for each in window for value in each.suite], span)
    theirs = rise([(each.step, value) for each in window for value in each.anchor], span)
    level = 2 * FALSE_ALARMS / steps
    more = ours.beyond(theirs).interval(level)
    exploited = (
        more.low > 0 and more.estimate >= LEAST_RISE and ours.interval(level).low > 0 and theirs.interval().low <= 0
    )
    return Gap(_difference(suite, anchor), ours.interval(), theirs.interval(), exploited)


def _difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The difference of two means of independent cases (Welch); without bounds where one has a single case."""
    estimate = _mean(first) - _mean(second)
    if min(len(first), len(second)) < 2:
        return Interval(estimate=estimate, low=-math.inf, high=math.inf)
    errors = [math.sqrt(sum((v - _mean(c)) ** 2 for v in c) / (len(c) - 1) / len(c)) for c in (first, second)]
    one, other = (Rise(_mean(c), e, len(c) - 1) for c, e in zip((first, second), errors, strict=True))
    return one.beyond(other).interval()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
