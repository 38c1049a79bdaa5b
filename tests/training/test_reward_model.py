"""Reward models: centred, calibrated on rows that were held out, and the same numbers when they are loaded again."""

import json
import math

import pytest
import torch

from journeyman.engines.local.network.precision import choose_dtype
from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Scenario, Trajectory, TrajectoryGroup
from journeyman.rendering.chat import read_template
from journeyman.rewards import score_group
from journeyman.training.calibration import fit_isotonic, fit_platt
from journeyman.training.learned_reward import LearnedReward
from journeyman.training.loop import Trainer
from journeyman.training.reward_model import CARD, RewardModel
from tests.rewards.conformance import check_reward
from tests.training.conftest import BAD, GOOD, make_judged, make_pairs
from tests.training.test_methods import config


def trained(method, rows, tiny, tmp_path):
    learner = Trainer(config(method, epochs=6, batch_rows=8, learning_rate=1e-2), rows, tiny, tmp_path / "run")
    learner.train(lambda report: None)
    folder = tmp_path / "adapter"
    learner.policy.save_adapter(folder, read_template(tiny))
    learner.finish(folder)
    return RewardModel(tiny, folder)


def test_pairs_make_a_model_that_knows_the_better_reply(tiny, tmp_path):
    held_out = make_pairs(4, seed=1, split="validation")
    model = trained("reward", [*make_pairs(8), *held_out], tiny, tmp_path)
    assert model.card.accuracy == 1.0
    assert model.card.rows == 4
    both = [model.reward(messages) for row in held_out for messages in (row.messages, row.rejected)]
    # It was centred in float32, and is used in what the processor computes natively.
    rounding = 1e-5 if choose_dtype("auto") is torch.float32 else 1e-3
    assert sum(both) / len(both) == pytest.approx(0, abs=rounding), "centred"
    asked = held_out[0].messages[:-1]
    assert model.probability((*asked, GOOD), (*asked, BAD)) > 0.7
    assert model.probability((*asked, BAD), (*asked, GOOD)) < 0.3
    with pytest.raises(InvalidInput, match="knows no judge's scale"):
        LearnedReward(model, as_scores=True)


async def test_scores_make_a_model_of_the_judge(tiny, tmp_path):
    held_out = make_judged(4, seed=1, split="validation")
    model = trained("scores", [*make_judged(8), *held_out], tiny, tmp_path)
    await check_as_reward(model, held_out)
    rewards = [model.reward(row.messages) for row in held_out]
    assert model.card.mean_squared_error < 0.35**2, "better than the mean of the scores"
    for reward, row in zip(rewards, held_out, strict=True):
        assert model.card.isotonic(reward) == pytest.approx(row.score, abs=0.01)
    with pytest.raises(InvalidInput, match="fitted to scores"):
        model.probability(held_out[0].messages, held_out[1].messages)


async def check_as_reward(model, rows):
    """In a judge's place, it keeps to the seam and gives the scores that the judge gave."""
    attempts = [
        Trajectory(scenario_id="s", model="m", session=str(number), messages=row.messages)
        for number, row in enumerate([*rows, rows[0]])
    ]
    silent = attempts[0].model_copy(update={"messages": rows[0].messages[:1]})
    group = TrajectoryGroup(scenario=Scenario(id="s", environment="e", kind="k"), trajectories=(*attempts, silent))
    await check_reward(LearnedReward(model), group)
    scores = await score_group(LearnedReward(model, as_scores=True), group)
    assert [score.value for score in scores[:-1]] == pytest.approx(
        [*(row.score for row in rows), rows[0].score], abs=0.01
    )
    assert scores[-1] is None


def test_an_adapter_without_a_head_is_no_reward_model(tiny, loras):
    with pytest.raises(ModelFileBroken, match="holds no reward model"):
        RewardModel(tiny, loras["red"])
    assert not (loras["red"] / CARD).exists()


def test_platts_curve_is_the_one_of_greatest_likelihood():
    generator = torch.Generator().manual_seed(0)
    values = (2 * torch.randn(400, generator=generator)).tolist()
    labels = [float(torch.rand(1, generator=generator)) < 1 / (1 + math.exp(-(1.5 * value - 0.5))) for value in values]
    found = fit_platt(values, labels)
    assert found.slope == pytest.approx(1.5, abs=0.4)
    assert found.shift == pytest.approx(-0.5, abs=0.3)
    good, bad = sum(labels), len(labels) - sum(labels)
    targets = [(good + 1) / (good + 2) if label else 1 / (bad + 2) for label in labels]
    errors = [found(value) - target for value, target in zip(values, targets, strict=True)]
    assert sum(errors) == pytest.approx(0, abs=1e-5), "the slope of the likelihood is zero there"
    assert sum(error * value for error, value in zip(errors, values, strict=True)) == pytest.approx(0, abs=1e-5)


def test_values_that_separate_the_labels_have_a_finite_slope():
    found = fit_platt([-2.0, -1.0, 1.0, 2.0], [False, False, True, True], shifted=False)
    assert found.shift == 0
    assert 0.5 < found.slope < 5
    assert found(0.0) == 0.5


def test_isotonic_steps_are_those_of_least_squares():
    found = fit_isotonic([1, 2, 3, 4, 5], [0.0, 1.0, 0.0, 1.0, 1.0])
    assert [found(value) for value in (0, 1, 2, 3, 3.5, 4, 9)] == [0, 0, 0.5, 0.5, 0.5, 1, 1]
    ties = fit_isotonic([1, 1, 2, 2, 2], [0.0, 1.0, 0.0, 0.0, 1.0])
    assert ties(1) == ties(2) == pytest.approx(0.4), "equal values belong together, then the two levels violate"
    json.loads(found.model_dump_json())


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(InvalidInput, match="0 values"):
        fit_isotonic([], [])
    with pytest.raises(InvalidInput, match="not a finite number"):
        fit_platt([float("nan")], [True])
