"""A run: it learns, stops in time, and goes on exactly where it was, however it ended."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.records.message import assistant, user
from journeyman.training.loop import Trainer
from tests.training.conftest import make_config, make_rows

ROWS = [*make_rows(10), *make_rows(3, seed=1, split="validation")]


@pytest.fixture
def trainer(tiny, tmp_path):
    """Makes a trainer in a run folder of a name; the same name goes on with the same run."""

    def made(run="run", rows=ROWS, **config):
        return Trainer(make_config(**config), rows, tiny, tmp_path / run)

    return made


def stopped_after(step):
    def log(report):
        if report.step == step:
            raise KeyboardInterrupt

    return log


def assert_same(one, other):
    """Weights, best weights, moments and progress, bit for bit; only the clock may differ."""
    for name, value in one.policy.masters.items():
        assert torch.equal(value, other.policy.masters[name]), name
    assert all(torch.equal(value, other._best[name]) for name, value in one._best.items())
    ours, theirs = one._optimizer.state_dict()["state"], other._optimizer.state_dict()["state"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[index][key]) for index in ours for key, value in ours[index].items())
    one.progress.seconds = other.progress.seconds = 0.0
    assert one.progress == other.progress


def test_it_learns_what_the_rows_say(trainer):
    # Three rows by heart: the validation row is one of them.
    rows = [Row(messages=(user(str(n)), assistant(f"the answer is {n}")), conversation=str(n), source="t",
                split="train") for n in range(3)]  # fmt: skip
    learner = trainer(rows=[*rows, rows[0].model_copy(update={"split": "validation"})], epochs=40, batch_rows=3, rank=8)
    reports = []
    learner.train(reports.append)
    assert reports[-1].validation_loss < 0.2 < 2 < reports[0].loss
    assert [report.step for report in reports] == list(range(1, 41))
    assert reports[-1].seconds_left == 0
    assert all(report.tokens_per_second > 0 for report in reports)


def test_the_loss_that_is_reported_is_the_mean_over_all_targets_of_the_step(trainer):
    losses = []
    for pack_tokens in (64, 4096):
        learner = trainer(f"packs-{pack_tokens}", pack_tokens=pack_tokens)
        learner.train(lambda report: losses.append((report.loss, report.gradient_norm)))
    half = len(losses) // 2
    for few, many in zip(losses[:half], losses[half:], strict=True):
        assert few == pytest.approx(many, rel=1e-4)


@pytest.mark.parametrize("stop", [1, 2, 5])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(trainer, stop, dropout):
    whole = trainer("whole", epochs=3, dropout=dropout)
    whole.train(lambda report: None)
    with pytest.raises(KeyboardInterrupt):
        trainer("stopped", epochs=3, dropout=dropout).train(stopped_after(stop))
    torch.manual_seed(12345)
    resumed = trainer("stopped", epochs=3, dropout=dropout)
    assert resumed.progress.step == stop
    steps = []
    resumed.train(lambda report: steps.append(report.step))
    assert steps == list(range(stop + 1, whole.steps + 1))
    assert_same(whole, resumed)


def test_an_interrupt_inside_a_step_leaves_the_last_checkpoint_alone(trainer, monkeypatch):
    whole = trainer("whole", epochs=2)
    whole.train(lambda report: None)
    torn = trainer("torn", epochs=2)
    plain, calls = torn._optimizer.step, []

    def interrupted():
        calls.append(None)
        plain()
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(torn._optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        torn.train(lambda report: None)
    resumed = trainer("torn", epochs=2)
    assert resumed.progress.step == 2, "the last checkpoint, not half of the fourth step"
    resumed.train(lambda report: None)
    assert_same(whole, resumed)


def test_a_killed_process_goes_on_exactly(trainer, tiny, tmp_path):
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import torch
torch.set_num_threads({torch.get_num_threads()})
from pathlib import Path
from journeyman.training.loop import Trainer
from tests.training.conftest import make_config
from tests.training.test_sft import ROWS
def log(report):
    if report.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
Trainer(make_config(epochs=2), ROWS, Path({str(tiny)!r}), Path({str(tmp_path / "killed")!r})).train(log)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=300, capture_output=True, text=True, check=False)
    assert ended.returncode == -9, ended.stderr
    whole = trainer("whole", epochs=2)
    whole.train(lambda report: None)
    resumed = trainer("killed", epochs=2)
    assert resumed.progress.step == 4
    resumed.train(lambda report: None)
    assert_same(whole, resumed)


def test_a_run_that_is_finished_stays_finished(trainer):
    first = trainer()
    first.train(lambda report: None)
    again = trainer()
    again.train(lambda report: pytest.fail("there was nothing left to do"))
    assert_same(first, again)


def test_it_stops_when_validation_no_longer_improves_and_keeps_the_best(trainer):
    learner = trainer(epochs=60, learning_rate=0.05, validate_every=2, patience=2)
    reports = []
    learner.train(reports.append)
    progress = learner.progress
    assert progress.step < learner.steps
    assert progress.validations_without_gain == 2
    assert progress.best_step == progress.step - 4
    assert progress.best_loss == min(progress.validations.values()) == progress.validations[str(progress.best_step)]
    validated = {report.step: report.validation_loss for report in reports if report.validation_loss is not None}
    assert {str(step): loss for step, loss in validated.items()} == progress.validations
    # What it holds now is what it held then.
    assert learner._validate() == pytest.approx(progress.best_loss, abs=1e-6)


def test_the_last_step_is_always_validated(trainer):
    learner = trainer(epochs=2, validate_every=100)
    learner.train(lambda report: None)
    assert list(learner.progress.validations) == [str(learner.steps)]


def test_bfloat16_learns_too(trainer):
    learner = trainer(epochs=6, precision="bfloat16", patience=99)
    reports = []
    learner.train(reports.append)
    assert reports[-1].loss < reports[0].loss - 0.5
    assert {value.dtype for value in learner.policy.masters.values()} == {torch.float32}


def test_a_diverging_run_says_what_to_do(trainer):
    with pytest.raises(InvalidInput, match="lower --learning-rate"):
        trainer(epochs=40, learning_rate=1e25, clip_norm=1e25, warmup=0).train(lambda report: None)


def test_a_conversation_without_an_assistant_turn_is_refused(trainer):
    silent = Row(messages=(user("anybody?"),), conversation="c", source="t")
    with pytest.raises(InvalidInput, match="no assistant turn"):
        trainer(rows=[silent, *ROWS])


def test_a_conversation_that_is_too_long_is_named_and_never_cut(trainer):
    with pytest.raises(InvalidInput, match=r"conversation train-0 is \d+ tokens, longer than max_length 16"):
        trainer(max_length=16)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_refused(trainer, split):
    with pytest.raises(InvalidInput, match="no rows in one of its splits"):
        trainer(rows=[row for row in ROWS if row.split == split])
