"""The seam between Journeyman and whatever says how good an attempt was: code, people, or a judge model."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from journeyman.errors import InvalidInput
from journeyman.records import Score, Trajectory, TrajectoryGroup

Scores = Sequence[Score | None]
"""One for each trajectory of a group, in its order; None for an attempt that cannot be scored."""
Rule = Callable[[Trajectory], float | Score | None]


class Reward(Protocol):
    """Scores attempts at the same scenario. It sees the whole group, because some compare attempts with each other."""

    @property
    def name(self) -> str:
        """What its scores are called."""
        ...

    async def __call__(self, group: TrajectoryGroup) -> Scores:
        """One score for each trajectory, in order; None where an attempt cannot be scored: it counts in no mean.

        UpstreamFailed when a judge gave no verdict on the group, Refused when a cost ceiling does not let it be asked:
        the group is lost then, under that error's name, and never scored by a guess.
        """
        ...


@runtime_checkable
class Parted(Protocol):
    """A reward that is made of others, or of criteria, and can say what each of them came to."""

    async def by_part(self, group: TrajectoryGroup) -> Mapping[str, Scores]:
        """The scores of the whole under its own name, and beside them those of each part under the part's name."""
        ...


class Each:
    """A rule on one trajectory, lifted to groups."""

    def __init__(self, rule: Rule, name: str) -> None:
        self._rule, self.name = rule, name

    async def __call__(self, group: TrajectoryGroup) -> list[Score | None]:
        """What the rule says of each trajectory alone."""
        return [self._score(number, each) for number, each in enumerate(group.trajectories)]

    def _score(self, number: int, trajectory: Trajectory) -> Score | None:
        found = self._rule(trajectory)
        if found is None:
            return None
        if isinstance(found, Score):
            return found.model_copy(update={"name": self.name})
        _check_number(self.name, number, trajectory, found)
        return Score(name=self.name, value=float(found), by="rule")


def each(rule: Rule, name: str | None = None) -> Reward:
    """The reward that asks `rule` about every trajectory alone; it is called like the function unless `name` is given.

    The rule returns a number (True is 1), a Score, or None when the attempt cannot be scored. Whatever it raises ends
    the scoring: a rule with a bug is no verdict.
    """
    called = str(name or getattr(rule, "__name__", ""))
    if not called.strip() or called == "<lambda>":
        raise InvalidInput("a reward needs a name, and this rule has none: call each(rule, name='…')")
    return Each(rule, called)


async def score_group(reward: Reward, group: TrajectoryGroup) -> tuple[Score | None, ...]:
    """The group's scores by `reward`, checked: one for each trajectory, each a Score with a finite number, or None.

    InvalidInput says which attempt has none that can be used. Scores of a wrong count are never paired up by guess. A
    scenario without an id, or an attempt at another scenario, is refused before anything is asked.
    """
    _check_group(group)
    return check_scores(reward.name, group, await reward(group))


async def score_by_part(reward: Reward, group: TrajectoryGroup) -> dict[str, tuple[Score | None, ...]]:
    """As `score_group`, with the parts of a reward that has some; the whole stands under `reward.name`."""
    _check_group(group)
    if not isinstance(reward, Parted):
        return {reward.name: await score_group(reward, group)}
    found = await reward.by_part(group)
    if reward.name not in found:
        raise InvalidInput(f"the reward {reward.name} told its parts ({', '.join(found)}) without the whole")
    return {name: check_scores(name, group, scores) for name, scores in found.items()}


async def rescore(
    groups: Sequence[TrajectoryGroup], reward: Reward
) -> list[tuple[TrajectoryGroup, tuple[Score | None, ...]]]:
    """Stored groups under another reward: what comes first after a rubric was edited, before any new training.

    Group by group, in order, so that a cost ceiling stops it between two groups; nothing is rolled out again.
    """
    return [(group, await score_group(reward, group)) for group in groups]


def check_scores(name: str, group: TrajectoryGroup, found: object) -> tuple[Score | None, ...]:
    """The scores as they are; InvalidInput when they cannot be those of this group."""
    count = len(group.trajectories)
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise InvalidInput(
            f"the reward {name} gave {type(found).__name__} for {_where(group)}; it must give a list of {count} scores"
        )
    if len(found) != count:
        raise InvalidInput(
            f"the reward {name} gave {len(found)} scores for the {count} attempts of {_where(group)}; it must give one "
            "for each, in order, and None for an attempt that cannot be scored"
        )
    for number, (trajectory, score) in enumerate(zip(group.trajectories, found, strict=True)):
        if score is None:
            continue
        if not isinstance(score, Score):
            raise InvalidInput(
                f"the reward {name} gave {score!r:.80} for {_attempt(number, trajectory)}; it must be a Score, or None"
            )
        _check_number(name, number, trajectory, score.value)
    return tuple(found)


def _check_group(group: TrajectoryGroup) -> None:
    if not group.scenario.id.strip():
        raise InvalidInput("a scenario without an id cannot be scored: its attempts could not be told from another's")
    for number, trajectory in enumerate(group.trajectories):
        if trajectory.scenario_id != group.scenario.id:
            raise InvalidInput(
                f"{_attempt(number, trajectory)} stands in the group of scenario {group.scenario.id}; attempts are "
                "compared only with attempts at the same scenario"
            )


def _check_number(name: str, number: int, trajectory: Trajectory, value: object) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(
            f"the reward {name} gave {value!r:.80} for {_attempt(number, trajectory)}; it must be a finite number, or "
            "None for an attempt that cannot be scored"
        )


def _attempt(number: int, trajectory: Trajectory) -> str:
    return f"attempt {number + 1} at scenario {trajectory.scenario_id} (trajectory {trajectory.id})"


def _where(group: TrajectoryGroup) -> str:
    return f"scenario {group.scenario.id}"
