"""Faults of every kind within one whole run: groups end, the run ends, and its table names each loss."""

import math

import pytest

from journeyman.errors import InvalidInput
from journeyman.rewards.reward import Score
from journeyman.rewards.scripted import ScriptedReward
from journeyman.training.reinforcement.batch import make_batch
from journeyman.training.reinforcement.scoring import score_groups
from tests.training.reinforcement import faults
from tests.training.reinforcement.conftest import make_groups, make_rl_config


async def test_a_run_full_of_faults_ends_and_names_each_of_its_losses(tmp_path):
    """`python -m tests.training.reinforcement.faults 1000` plants a thousand."""
    steps = 2
    expected, told, kills, kept = await faults.run(tmp_path, steps, kill_every=90)
    assert told == expected
    assert kept == steps * faults.SCENARIOS * faults.ATTEMPTS
    assert kills >= 2
    assert len({loss for loss in faults.LOSSES.values() if loss} | set(faults.GARBAGE.values())) == len(told)


async def test_a_reward_of_nan_ends_the_run_before_anything_is_learned(policy):
    (group,) = make_groups(policy, scenarios=1)
    with pytest.raises(InvalidInput, match=r"gave nan for attempt 2 at scenario s0 .* must be a finite number"):
        await score_groups(ScriptedReward(lambda group: [0.5, math.nan, 0.5, 1.0]), [group])


def test_an_attempt_that_said_nothing_is_told_from_one_whose_tokens_are_unknown(policy):
    (group,) = make_groups(policy, scenarios=1)
    first, second, *rest = group.trajectories
    silent = first.model_copy(
        update={"tokens": tuple(each.model_copy(update={"reply": (), "logprobs": ()}) for each in first.tokens)}
    )
    unknown = second.model_copy(update={"tokens": ()})
    group = group.model_copy(update={"trajectories": (silent, unknown, *rest)})
    scores = [[Score(name="reward", value=float(at)) for at in range(4)]]
    batch = make_batch(make_rl_config().algorithm, [group], scores, 6)
    assert batch.dropped == {"nothing was sampled": 1, "tokens or log-probabilities missing": 1}
