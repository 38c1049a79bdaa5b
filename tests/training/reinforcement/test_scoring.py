"""Rewards for the groups of a step, by a reward that compares attempts, where there is nothing to compare with."""

from pathlib import Path
from typing import Any

import pytest

from journeyman.environments.admission.canaries import play_canaries
from journeyman.errors import NothingToCompare
from journeyman.records import Message, Scenario, Trajectory, TrajectoryGroup
from journeyman.records.message import assistant, user
from journeyman.rewards import Asker, Ruler
from journeyman.rewards.combine import lowest
from journeyman.rewards.rules import own_score
from journeyman.training.reinforcement.guards import Guards
from journeyman.training.reinforcement.scoring import score_groups
from journeyman.training.reinforcement.task import Task
from tests.training.reinforcement.conftest import LetterSuite, make_rl_config


class _NeverAsked:
    """An engine that answers nobody."""

    async def reply(self, *asked: Any, **more: Any) -> Message:
        raise AssertionError("a judge that compares was asked about one attempt alone")


def ruler() -> Ruler:
    return Ruler(Asker(_NeverAsked(), "judge"))


def group_of(*errors: str | None) -> TrajectoryGroup:
    made = tuple(
        Trajectory(
            scenario_id="s", model="m", session=str(number), error=error,
            messages=(user("Write."), assistant(f"a{number}")),
        )
        for number, error in enumerate(errors)
    )  # fmt: skip
    return TrajectoryGroup(scenario=Scenario(id="s", environment="e", kind="k"), trajectories=made)


async def test_a_group_of_which_one_attempt_is_left_is_lost_by_name_and_not_the_run() -> None:
    scored = await score_groups(ruler(), [group_of("TimedOut: at the bank", None, "TimedOut: at the bank")])
    assert scored.rewards == [[None, None, None]]
    (lost,) = scored.lost
    assert str(lost).startswith("NothingToCompare of the reward: ruler compares attempts")


async def test_a_group_that_has_one_attempt_from_the_start_is_refused() -> None:
    with pytest.raises(NothingToCompare, match="make more attempts for each scenario"):
        await score_groups(ruler(), [group_of(None)])


@pytest.mark.parametrize("reward", [ruler(), lowest([own_score("success"), ruler()])], ids=["alone", "gated"])
async def test_canaries_of_a_run_that_compares_are_held_to_the_environments_success(
    tmp_path: Path, reward: Any
) -> None:
    suite = LetterSuite()
    guards = Guards(tmp_path, make_rl_config(canaries=4), Task(suite, reward, None, tmp_path))
    await guards.check_canaries(1)
    played = await play_canaries(suite, suite.scenarios("train", 4, 1), 1, max_calls=2, seconds_per_call=60)
    for name, attempts in played.items():
        won = sum(each.score("success") == 1 for each in attempts)
        assert f"{name} won {won} of 4" in guards.said()
