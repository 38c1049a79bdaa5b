import math

import pytest
import torch

from journeyman.errors import InvalidInput
from journeyman.training.advantages import (
    EQUATIONS,
    advantages,
    generalised_advantages,
    scale_to_unit,
    whitened,
)

GROUP = [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("rewards", "estimator", "options", "expected"),
    [
        ([1, 0, 0, 1], "dr_grpo", {}, [0.5, -0.5, -0.5, 0.5]),
        ([1, 0, 0, 1], "grpo", {"ddof": 1, "epsilon": 1e-4}, [0.865875, -0.865875, -0.865875, 0.865875]),
        ([1, 0, 0, 1], "grpo", {}, [0.999998, -0.999998, -0.999998, 0.999998]),
        ([1, 0, 0, 1], "rloo", {}, [0.666667, -0.666667, -0.666667, 0.666667]),
        ([1, 0, 0, 1], "maxrl", {}, [1, -1, -1, 1]),
        ([1, 0, 0, 0], "dr_grpo", {}, [0.75, -0.25, -0.25, -0.25]),
        ([1, 0, 0, 0], "grpo", {"ddof": 1, "epsilon": 1e-4}, [1.49970, -0.49990, -0.49990, -0.49990]),
        ([1, 0, 0, 0], "grpo", {}, [1.73205, -0.57735, -0.57735, -0.57735]),
        ([1, 0, 0, 0], "rloo", {}, [1, -0.33333, -0.33333, -0.33333]),
        ([1, 0, 0, 0], "maxrl", {}, [3, -1, -1, -1]),
        ([1, 0, 0, 0], "opo", {"lengths": [10, 20, 30, 40]}, [0.9, -0.1, -0.1, -0.1]),
        ([1, 0, 0, 0], "none", {}, [1, 0, 0, 0]),
        ([1, 0, 0, 1], "reinforce_pp", {}, [1, -1, -1, 1]),
    ],
)
def test_golden_values(rewards, estimator, options, expected):
    found = advantages([float(reward) for reward in rewards], GROUP, estimator, **options)
    assert found.values == pytest.approx(expected, rel=2e-5)
    assert found.silent_groups == 0


@pytest.mark.parametrize("estimator", EQUATIONS)
def test_equal_rewards_teach_exactly_nothing(estimator):
    # 0.1 added up eight times has a spread of its own in floating point.
    rewards = [0.1 + 0.2 - 0.2] * 4 + [0.1] * 4
    found = advantages(rewards, [0] * 8, estimator, lengths=[1] * 8)
    if estimator == "none":
        assert found.values == pytest.approx(rewards)
    else:
        assert found.values == [0.0] * 8
    if estimator not in ("none", "reinforce_pp"):
        assert found.silent_groups == 1


def test_an_attempt_that_could_not_be_scored_takes_no_part():
    found = advantages([1.0, None, 0.0, None], GROUP, "dr_grpo")
    assert found.values == [0.5, 0.0, -0.5, 0.0]
    assert advantages([None, None], [0, 0], "grpo") == ([0.0, 0.0], 1)


def test_groups_stay_apart_and_batch_spread_does_not():
    rewards, groups = [1.0, 0.0, 10.0, 0.0], [0, 0, 1, 1]
    assert advantages(rewards, groups, "grpo").values == pytest.approx([1, -1, 1, -1], rel=1e-4)
    batch = advantages(rewards, groups, "batch_std").values
    spread = math.sqrt((0.25 * 2 + 25 * 2) / 4)
    assert batch == pytest.approx([0.5 / spread, -0.5 / spread, 5 / spread, -5 / spread], rel=1e-5)


def test_a_group_of_one_is_refused_where_attempts_are_compared():
    for estimator in ("grpo", "dr_grpo", "rloo", "opo", "maxrl", "batch_std", "reinforce_pp_baseline"):
        with pytest.raises(InvalidInput, match="one attempt"):
            advantages([1.0, 0.0, 1.0], [0, 0, 1], estimator, lengths=[1, 1, 1])
    assert advantages([1.0, 0.0], [0, 1], "reinforce_pp").values == pytest.approx([1, -1], rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "0.5"])
def test_a_reward_that_is_no_number_is_refused(bad):
    with pytest.raises(InvalidInput, match="attempt 1"):
        advantages([1.0, bad], [0, 0])


def test_the_wrong_count_is_refused():
    with pytest.raises(InvalidInput, match="2 rewards for 3 attempts"):
        advantages([1.0, 0.0], [0, 0, 0])
    with pytest.raises(InvalidInput, match="lengths"):
        advantages([1.0, 0.0], [0, 0], "opo")


def test_scaled_to_unit_size():
    assert scale_to_unit([2.0, -2.0, 0.0, 4.0]) == pytest.approx([1.0, -1.0, 0.0, 2.0])
    assert scale_to_unit([0.0, 0.0]) == [0.0, 0.0]


def test_gae_steps_over_what_the_policy_did_not_say():
    mask = torch.tensor([1, 1, 0, 0, 1, 1]).bool()
    values = torch.tensor([0.5, 0.6, 9, 9, 0.7, 0.8], dtype=torch.float64)
    rewards = torch.tensor([0, 0, 0, 0, 0, 1.0], dtype=torch.float64)
    found, returns = generalised_advantages(rewards, values, mask, smoothing=0.9)
    assert found[mask].tolist() == pytest.approx([0.4168, 0.3520, 0.28, 0.2])
    assert not found[~mask].any()
    torch.testing.assert_close(returns[mask], (found + values)[mask])


def test_gae_is_the_textbooks_sum():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(9, generator=generator, dtype=torch.float64)
    rewards = torch.randn(9, generator=generator, dtype=torch.float64)
    found, _ = generalised_advantages(rewards, values, torch.ones(9).bool(), discount=0.97, smoothing=0.8, after=0.3)
    later = torch.cat((values[1:], torch.tensor([0.3], dtype=torch.float64)))
    changes = rewards + 0.97 * later - values
    expected = [sum((0.97 * 0.8) ** k * changes[t + k] for k in range(9 - t)) for t in range(9)]
    assert found.tolist() == pytest.approx([float(each) for each in expected])


def test_a_reward_for_a_tools_answer_belongs_to_the_call_before_it():
    mask = torch.tensor([1, 0, 1]).bool()
    values = torch.zeros(3, dtype=torch.float64)
    late, _ = generalised_advantages(torch.tensor([0.0, 1.0, 0.0]).double(), values, mask, smoothing=1.0)
    assert late.tolist() == [1.0, 0.0, 0.0]


def test_whitened_over_what_was_sampled():
    mask = torch.tensor([1, 1, 0, 1]).bool()
    found = whitened(torch.tensor([1.0, 2.0, 99.0, 3.0]), mask)
    assert found[2] == 0
    assert float(found[mask].mean()) == pytest.approx(0, abs=1e-6)
    assert float(found[mask].std(correction=0)) == pytest.approx(1, rel=1e-5)
