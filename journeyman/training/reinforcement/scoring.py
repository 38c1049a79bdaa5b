"""Rewards for the groups of a step: who failed or was cut off is not asked about, a group without a verdict is lost."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from journeyman.environments.waiting import bounded
from journeyman.errors import NothingToCompare, Refused, UpstreamFailed
from journeyman.records import Score, Trajectory, TrajectoryGroup
from journeyman.records.reinforcement import Abstained
from journeyman.rewards.reward import Reward, Scores, score_by_part

AT_ONCE = 8
"""Groups that a judge is asked about at the same time."""
LONGEST_VERDICT = 3600.0
"""Seconds for the scores of a group: longer than a judge's tries take, each of which is bounded by itself."""


Rewards = Sequence[Score | None]
"""Of one group, in the order of its attempts."""


def has_abstained(attempt: Trajectory) -> bool:
    """Whether a world ended the attempt because it did not know what the real system would have said."""
    return attempt.score("abstained") == 1


class Scored(NamedTuple):
    """By group: the rewards of its attempts, those of each part of the reward, and why it was lost, if it was."""

    rewards: list[Rewards]
    parts: list[Mapping[str, Scores]]
    lost: list[str | None]

    def plus(self, other: "Scored") -> "Scored":
        """These groups, and then the others."""
        return Scored([*self.rewards, *other.rewards], [*self.parts, *other.parts], [*self.lost, *other.lost])

    def only(self, places: Sequence[int]) -> "Scored":
        """The groups at these places."""
        return Scored(
            [self.rewards[at] for at in places], [self.parts[at] for at in places], [self.lost[at] for at in places]
        )


async def score_groups(reward: Reward, groups: Sequence[TrajectoryGroup], abstained: Abstained = "left_out") -> Scored:
    """Every group's scores, in order. A judge that gives no verdict, or whose cost ceiling is reached, loses the group;
    scores that cannot be those of the group are InvalidInput. A reward that compares loses a group of which one attempt
    is left; a group that has one from the start is NothingToCompare. What a world abstained from is never shown to the
    reward: it has no score, or the `worst`, which is 0 or the lowest of its group."""
    places = asyncio.Semaphore(AT_ONCE)

    async def scored(group: TrajectoryGroup) -> tuple[Mapping[str, Scores], str | None]:
        async with places:
            try:
                return await bounded(_by_part(reward, group), LONGEST_VERDICT, lambda: UpstreamFailed(
                    f"no scores within {LONGEST_VERDICT:g} s; see what {reward.name} waits for at {group.scenario.id}"
                )), None  # fmt: skip
            except (UpstreamFailed, Refused, NothingToCompare) as error:
                if isinstance(error, NothingToCompare) and len(group.trajectories) == 1:
                    raise
                nothing: Scores = [None] * len(group.trajectories)
                return {reward.name: nothing}, f"{type(error).__name__} of the reward: {str(error).partition(';')[0]}"

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(scored(group)) for group in groups]
    except BaseExceptionGroup as errors:
        # A reward with a fault has it for every group: the first says what it is.
        raise errors.exceptions[0] from None
    found = [each.result() for each in running]
    parts = [given for given, _ in found]
    rewards = [given[reward.name] for given in parts]
    if abstained == "worst":
        rewards = [_with_worst(reward.name, group, given) for group, given in zip(groups, rewards, strict=True)]
    return Scored(rewards, parts, [lost for _, lost in found])


def _with_worst(name: str, group: TrajectoryGroup, given: Rewards) -> Rewards:
    """The rewards, with the worst one for each attempt that a world abstained from and that did not fail besides.

    As in MOReL (2005.05951), where the model of the system ends an episode in a state of the lowest reward when it is
    asked what it does not know.
    """
    lowest = min([0.0, *(each.value for each in given if each is not None)])
    worst = Score(name=name, value=lowest, reason="the world abstained, which counts as the worst of the group")
    return [
        worst if each.error is None and has_abstained(each) else score
        for each, score in zip(group.trajectories, given, strict=True)
    ]


async def _by_part(reward: Reward, group: TrajectoryGroup) -> Mapping[str, Scores]:
    # A reward of one's own would pay for what a world cut off, and the policy would learn to be cut off.
    asked = [each.error is None and not has_abstained(each) for each in group.trajectories]
    alive = tuple(each for each, is_asked in zip(group.trajectories, asked, strict=True) if is_asked)
    if not alive:
        return {reward.name: [None] * len(group.trajectories)}
    found = await score_by_part(reward, group.model_copy(update={"trajectories": alive}))
    order = iter(range(len(alive)))
    places = [next(order) if is_asked else None for is_asked in asked]
    return {name: [None if place is None else given[place] for place in places] for name, given in found.items()}
