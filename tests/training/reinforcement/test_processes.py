"""Several processes make the very update that one would, and end with the one that leads them."""

import pytest
import torch

from journeyman.errors import InvalidInput
from journeyman.records import Run
from journeyman.records.algorithm import ALGORITHMS, Algorithm, Critic
from journeyman.training.distributed import World
from journeyman.training.policy import Policy
from journeyman.training.processes import Task, helped
from journeyman.training.reinforcement.batch import make_batch
from journeyman.training.reinforcement.learner import Learner
from journeyman.training.reinforcement.lesson import Lesson
from tests.training.reinforcement.conftest import make_groups, make_rl_config, scored

REWARDS = [[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.25, 1.0, None]]
WITH_EVERYTHING = Algorithm(
    estimator="none", loss="ppo", critic=Critic(learning_rate=0.05), kl_weight=0.1, kl_term="reward", updates=2
)
"""A critic, a reference and several steps on one batch: passes before the pass, whose results all must know."""


def learned(tiny, folder, config, groups, processes):
    """What two steps come to in so many processes: the weights, and what was seen of each step."""
    config = config.model_copy(update={"processes": processes})
    run = Run(
        kind="rl", config=config.model_dump(mode="json"), path=str(folder), dataset_version="d", base_version="b",
        machine={"threads": 1},
    )  # fmt: skip
    batch = make_batch(config.algorithm, groups, scored(groups, REWARDS), 6)
    with helped(Task.of(run, None, tiny, {"start": None}), processes) as tell:
        learner = Learner(config, tiny, folder, tell=tell)
        outcomes = [learner.learn(batch, 0, 0), learner.learn(batch, 1, None)]
        return learner.policy.state(), outcomes


@pytest.mark.parametrize("algorithm", [ALGORITHMS["grpo"], WITH_EVERYTHING], ids=["grpo", "with everything"])
def test_two_processes_learn_what_one_does(tiny, tmp_path, algorithm):
    config = make_rl_config(algorithm=algorithm, pack_tokens=96)
    groups = make_groups(Policy(tiny, config))
    alone, seen = learned(tiny, tmp_path / "one", config, groups, 1)
    together, seen_together = learned(tiny, tmp_path / "two", config, groups, 2)
    for name, value in alone.items():
        torch.testing.assert_close(
            together[name], value, rtol=1e-4, atol=1e-6, msg=lambda said, of=name: f"{of}: {said}"
        )
    for one, both in zip(seen, seen_together, strict=True):
        assert both.loss == pytest.approx(one.loss, abs=1e-6)
        assert both.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
        assert both.sampled_tokens == one.sampled_tokens
        assert both.values == pytest.approx(one.values, rel=1e-3, abs=1e-5)


def test_a_process_that_ends_by_itself_ends_the_run(tiny, tmp_path):
    """Told what is no lesson, it has nothing to learn."""
    config = make_rl_config()
    groups = make_groups(Policy(tiny, config))
    run = Run(
        kind="rl", config=config.model_copy(update={"processes": 2}).model_dump(mode="json"), path=str(tmp_path),
        dataset_version="d", base_version="b", machine={"threads": 1},
    )  # fmt: skip
    batch = make_batch(config.algorithm, groups, scored(groups, REWARDS), 6)

    def lead():
        with helped(Task.of(run, None, tiny, {"start": None}), 2) as tell:
            Learner(config, tiny, tmp_path, tell=lambda line: tell("no lesson")).learn(batch, 0, 0)

    with pytest.raises(InvalidInput, match="ended by themselves"):
        lead()


def test_a_batch_is_told_as_it_is(tiny):
    config = make_rl_config()
    batch = make_batch(config.algorithm, groups := make_groups(Policy(tiny, config)), scored(groups, REWARDS), 6)
    told = Lesson.model_validate_json(Lesson.of(batch, 3, None).model_dump_json())
    again = told.batch()
    assert (told.number, told.weights, again.groups, again.silent_groups) == (
        3,
        None,
        batch.groups,
        batch.silent_groups,
    )
    assert [(each.group, each.reward, each.advantage, each.rows) for each in again.attempts] == [
        (each.group, each.reward, each.advantage, each.rows) for each in batch.attempts
    ]


def test_values_of_one_process_are_all_there_are():
    assert torch.equal(World().join(torch.arange(3.0)), torch.arange(3.0))
