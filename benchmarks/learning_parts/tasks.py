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


_SIGNAL = Bar("0.20 to 0.60", lambda value: 0.2 <= value <= 0.6)
_CLEAR = Bar("interval above 0.20", lambda low: low >= 0.2)

TASKS = {
    "price": LearningTask(
        "price tool", SUITE, TRAINING,
        before=Bar("≤ 0.45", lambda value: value <= 0.45), after=Bar("≥ 0.80", lambda value: value >= 0.80),
    ),
    "sums": LearningTask(
        "sums of reasoning-gym", "learning_parts.sums:suite",
        ("--learning-rate", "5e-4", "--steps", "12", "--scenarios", "16", "--attempts", "8", "--new-tokens", "6",
         "--evaluate-every", "0"),
        before=_SIGNAL, gain=_CLEAR,
    ),
    "needles": LearningTask(
        "needles of reasoning-gym", "learning_parts.needles:suite",
        ("--learning-rate", "5e-4", "--steps", "12", "--scenarios", "16", "--attempts", "8", "--new-tokens", "12",
         "--evaluate-every", "0"),
        before=_SIGNAL, gain=_CLEAR,
    ),
    "coin": LearningTask(
        "coin game of TextWorldExpress", "learning_parts.coin:suite",
        ("--learning-rate", "5e-4", "--steps", "8", "--scenarios", "4", "--attempts", "8", "--new-tokens", "8",
         "--max-calls", "4", "--evaluate-every", "0", "--evaluate-scenarios", "12"),
        before=_SIGNAL, gain=_CLEAR,
    ),
}  # fmt: skip
