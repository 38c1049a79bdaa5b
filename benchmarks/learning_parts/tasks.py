"""What is learned: a suite, how it is trained, and what has to come of it."""

from collections.abc import Callable
from dataclasses import dataclass

from journeyman.demos.rl import SUITE, TRAINING


@dataclass(frozen=True)
class Bar:
    """What must hold of a mean over the seeds."""

    text: str
    holds: Callable[[float], bool]


@dataclass(frozen=True)
class LearningTask:
    """One run of `journeyman train rl SUITE` with `arguments`, and the bars of its held-out reward and its gain.

    A bar of the gain is met where its interval's lower end meets it: the gain must be clear.
    """

    called: str
    suite: str
    arguments: tuple[str, ...]
    before: Bar | None = None
    after: Bar | None = None
    gain: Bar | None = None


TASKS = {
    "price": LearningTask(
        "price tool", SUITE, TRAINING,
        before=Bar("≤ 0.45", lambda value: value <= 0.45), after=Bar("≥ 0.80", lambda value: value >= 0.80),
    ),
}  # fmt: skip
