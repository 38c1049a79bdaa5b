"""Captured traffic is learned from where its tokens, log-probabilities and feedback are known, and nowhere else."""

import pytest
import torch

from journeyman.errors import InvalidInput
from journeyman.records import Choice, Exchange, Feedback, Filter, Sampling, Tokens
from journeyman.records.algorithm import Algorithm
from journeyman.records.message import assistant, user
from journeyman.records.reinforcement import LogsConfig
from journeyman.store.memory import MemoryStore
from journeyman.training.reinforcement.logged import keep_attempts, kept_attempts, logged_attempts
from journeyman.training.reinforcement.logged_trainer import LoggedTrainer

GOOD, BAD = (40, 41, 42), (50, 51, 52)


def exchange(number, reply, **fields):
    tokens = Tokens(prompt=tuple(range(3, 25)), reply=reply, logprobs=(-3.0,) * len(reply))
    given = {
        "id": f"e{number:03}", "model": "tiny", "served": "tiny", "state": "complete", "session": f"s{number}",
        "messages": (user("hello"),), "sampling": Sampling(temperature=1.0),
        "choices": (Choice(message=assistant("x"), finish_reason="stop", tokens=tokens),),
    }  # fmt: skip
    return Exchange(**given | fields)


def praised(number, value, **fields):
    return Feedback(session=f"s{number}", name="success", value=value, by="person", **fields)


@pytest.fixture
def store():
    found = MemoryStore()
    for number in range(16):
        found.put(exchange(number, GOOD if number % 2 else BAD), praised(number, float(number % 2)))
    return found


def test_each_conversation_is_an_attempt_with_its_feedback(store):
    logged = logged_attempts(store, Filter(), "success", ["tiny"])
    assert (len(logged.groups), logged.matched, logged.left_out) == (16, 16, {})
    attempts = [
        (group.trajectories[0].tokens[0].reply, scores[0].value)
        for group, scores in zip(logged.groups, logged.scores, strict=True)
    ]
    assert all((reply == GOOD) == (value == 1.0) for reply, value in attempts)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"choices": (Choice(message=assistant("x"), finish_reason="stop"),)}, "has no token ids"),
        ({"fidelity": "lossy", "source": "import:langfuse"}, "its record is lossy"),
        ({"served": "gpt", "model": "gpt"}, "answered by gpt"),
        ({"sampling": Sampling(temperature=0.2)}, "another temperature than 1"),
        ({"session": "nobody"}, "no feedback named success"),
    ],
)
def test_what_cannot_be_learned_from_is_left_out_by_its_reason(store, fields, reason):
    store.put(exchange(99, GOOD, **fields))
    logged = logged_attempts(store, Filter(), "success", ["tiny"])
    assert len(logged.groups) == 16
    (found,) = logged.left_out
    assert reason in found


def test_nothing_to_learn_from_is_an_error_with_the_reasons(store):
    with pytest.raises(InvalidInput, match="no feedback named quality"):
        logged_attempts(store, Filter(), "quality", ["tiny"])


def test_what_was_praised_becomes_likelier(tiny, tmp_path, store):
    logged = logged_attempts(store, Filter(), "success", ["tiny"])
    config = LogsConfig(
        base="tiny", name="n", feedback="success", rank=4, learning_rate=0.01, precision="float32", epochs=6,
        batch_attempts=8,
    )  # fmt: skip
    trainer = LoggedTrainer(config, logged, tiny, tmp_path)
    assert trainer.steps == 12

    def likelihood(reply):
        from journeyman.training.batches import pack_rows
        from journeyman.training.reinforcement.rows import rows_of

        attempt = next(g.trajectories[0] for g in logged.groups if g.trajectories[0].tokens[0].reply == reply)
        return float(trainer.policy.logprobs(pack_rows(rows_of(attempt, 0), 10**6)[0]).sum())

    before = likelihood(GOOD) - likelihood(BAD)
    reports = []
    trainer.train(reports.append)
    assert likelihood(GOOD) - likelihood(BAD) > before + 1
    assert [report.step for report in reports] == list(range(1, 13))
    assert all(0 < report.values["effective samples"] <= 1 for report in reports)


def test_a_run_goes_on_exactly(tiny, tmp_path, store):
    logged = logged_attempts(store, Filter(), "success", ["tiny"])
    algorithm = Algorithm(estimator="reinforce_pp", loss="ppo", old="engine")
    config = LogsConfig(
        base="tiny", name="n", feedback="success", rank=4, precision="float32", batch_attempts=4, algorithm=algorithm
    )
    whole = LoggedTrainer(config, logged, tiny, tmp_path / "whole")
    whole.train(lambda report: None)

    def stop(report):
        if report.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LoggedTrainer(config, logged, tiny, tmp_path / "cut").train(stop)
    cut = LoggedTrainer(config, logged, tiny, tmp_path / "cut")
    assert cut.progress.step == 2
    cut.train(lambda report: None)
    assert all(torch.equal(value, cut.policy.masters[name]) for name, value in whole.policy.masters.items())


def test_a_run_keeps_what_it_learns_from(tmp_path, store):
    logged = logged_attempts(store, Filter(), "success", ["tiny"])
    keep_attempts(logged, tmp_path / "attempts.jsonl")
    assert kept_attempts(tmp_path / "attempts.jsonl") == logged


def test_a_method_that_compares_groups_is_refused():
    with pytest.raises(ValueError, match="production made one of each"):
        LogsConfig(base="tiny", name="n", feedback="success", algorithm=Algorithm())
