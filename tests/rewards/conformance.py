"""What every reward keeps to, whoever made it; called with a group in which it can tell attempts apart."""

import math

from journeyman.records import Score, TrajectoryGroup
from journeyman.rewards import Reward, score_by_part, score_group


async def check_reward(reward: Reward, group: TrajectoryGroup) -> None:
    """A score for each attempt, named, in order, the same again, and following its attempt into another order."""
    scores = await score_group(reward, group)
    assert len(scores) == len(group.trajectories)
    assert reward.name
    for score in scores:
        assert score is None or (isinstance(score, Score) and score.name == reward.name and score.by)
        assert score is None or math.isfinite(score.value)
    values = _values(scores)
    assert len(set(values)) > 1, "give a group in which the reward tells attempts apart"
    assert _values(await score_group(reward, group)) == values, "another verdict on the same group"

    turned = group.model_copy(update={"trajectories": group.trajectories[::-1]})
    assert _values(await score_group(reward, turned)) == values[::-1], "the scores do not follow their attempts"

    empty = group.model_copy(update={"trajectories": ()})
    assert list(await score_group(reward, empty)) == []
    by_part = await score_by_part(reward, group)
    assert _values(by_part[reward.name]) == values


def _values(scores: tuple[Score | None, ...]) -> list[float | None]:
    return [None if score is None else score.value for score in scores]
