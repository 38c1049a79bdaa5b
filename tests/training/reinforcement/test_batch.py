"""Attempts become rows token by token as they were sampled, and whatever is left out is counted by its reason."""

import pytest

from journeyman.errors import InvalidInput
from journeyman.records import Tokens, Trajectory
from journeyman.records.algorithm import ALGORITHMS, Algorithm
from journeyman.training.reinforcement.batch import make_batch
from journeyman.training.reinforcement.drawn import Drawn
from journeyman.training.reinforcement.rows import rows_of
from journeyman.training.reinforcement.scoring import Scored
from tests.training.reinforcement.conftest import make_groups, scored


def trajectory(*calls, **fields):
    tokens = tuple(Tokens(prompt=prompt, reply=reply, logprobs=(-0.5,) * len(reply)) for prompt, reply in calls)
    given = {"tokens": tokens, "latencies": (0.1,) * len(calls), "finish_reasons": ("stop",) * len(calls)} | fields
    return Trajectory(scenario_id="s", model="m", session="x", messages=(), **given)


def told(reply, logprobs):
    return trajectory(tokens=(Tokens(prompt=(1,), reply=reply, logprobs=logprobs),), latencies=(0.1,))


def test_turns_that_repeat_what_was_sampled_are_one_row():
    (row,) = rows_of(trajectory(((1, 2), (3, 4)), ((1, 2, 3, 4, 5), (6,))), 7)
    assert row.ids == (1, 2, 3, 4, 5, 6)
    assert row.mask == (False, False, True, True, False, True)
    assert row.logprobs == (-0.5,) * 3
    assert (row.learned, row.attempt) == (3, 7)


def test_a_prompt_that_differs_begins_another_row():
    first, second = rows_of(trajectory(((1, 2), (3, 4)), ((1, 2, 9, 5), (6,))), 0)
    assert (first.ids, second.ids) == ((1, 2, 3, 4), (1, 2, 9, 5, 6))
    assert second.mask == (False, False, False, False, True)


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (trajectory(((1,), (2,)), latencies=(0.1, 0.2)), "the tokens of 1 of its 2 calls"),
        (trajectory(latencies=(0.1,)), "the tokens of 0 of its 1 calls"),
        (trajectory(((1,), ())), "nothing was sampled"),
        (trajectory(((), (2,))), "call 1 has no prompt"),
        (told((2, 3), (-1.0,)), "1 log-probabilities for 2"),
        (told((2,), (0.5,)), "that is none"),
    ],
)  # fmt: skip
def test_what_the_engine_did_not_tell_is_never_guessed(attempt, reason):
    with pytest.raises(InvalidInput, match=reason):
        rows_of(attempt, 0)


def test_what_is_left_out_is_counted_and_its_siblings_are_compared_without_it(policy):
    (group,) = make_groups(policy, scenarios=1)
    members = list(group.trajectories)
    members[1] = members[1].model_copy(update={"error": "TimeoutError: the tool hung"})
    members[2] = members[2].model_copy(update={"tokens": ()})
    group = group.model_copy(update={"trajectories": tuple(members)})
    batch = make_batch(ALGORITHMS["dr_grpo"], [group], scored([group], [[1.0, None, 0.5, 0.0]]), 6)
    assert batch.dropped == {"failed: TimeoutError": 1, "tokens or log-probabilities missing": 1}
    assert [each.advantage for each in batch.attempts] == [0.5, 0.0, 0.0, -0.5]
    assert [bool(each.rows) for each in batch.attempts] == [True, False, False, True]


def test_cut_off_attempts_can_be_masked_and_still_count_in_the_mean(policy):
    (group,) = make_groups(policy, scenarios=1)
    members = list(group.trajectories)
    members[0] = members[0].model_copy(update={"finish_reasons": ("length",)})
    group = group.model_copy(update={"trajectories": tuple(members)})
    algorithm = Algorithm(estimator="dr_grpo", mask_truncated=True)
    batch = make_batch(algorithm, [group], scored([group], [[1.0, 0.0, 0.0, 0.0]]), 6)
    assert batch.dropped == {"cut off, and masked": 1}
    assert not batch.attempts[0].rows
    assert batch.attempts[1].advantage == pytest.approx(-0.25)


def test_long_replies_are_punished_softly(policy):
    (group,) = make_groups(policy, scenarios=1)
    algorithm = Algorithm(estimator="none", overlong_buffer=4)
    batch = make_batch(algorithm, [group], scored([group], [[1.0] * 4]), 6)
    longest = [max(len(call.reply) for call in each.trajectory.tokens) for each in batch.attempts]
    assert [each.reward for each in batch.attempts] == [1.0 - max(length - 2, 0) / 4 for length in longest]
    assert len(set(longest)) > 1


def test_groups_without_signal_give_way_to_others(policy):
    groups = make_groups(policy)
    loud, quiet = [1.0, 0.0, 1.0, 0.0], [1.0] * 4

    def drawn(which, rewards):
        return which, Scored(
            scored(which, rewards), [{"reward": given} for given in scored(which, rewards)], [None] * len(which)
        )

    first = Drawn(*drawn(groups[:2], [loud, quiet]))
    assert first.loud == 1
    refilled = first.refilled(*drawn(groups[2:], [loud]))
    assert (refilled.loud, refilled.replaced) == (2, 4)
    seen, rewards = refilled.seen
    assert (list(seen), len(rewards.rewards)) == (groups, 3), "the watch looks at what was given up, too"
    batch = refilled.batch(ALGORITHMS["dapo"], 6)
    assert batch.dropped == {"its group had no signal, and was replaced": 4}
    again = make_batch(ALGORITHMS["dapo"], [groups[0], groups[2]], scored(groups[:2], [loud, loud]), 6)
    assert [each.advantage for each in batch.attempts] == [each.advantage for each in again.attempts]
    silent = Drawn(*drawn(groups[:1], [quiet])).refilled(*drawn(groups[1:2], [quiet]))
    assert (len(silent.groups), silent.replaced) == (2, 0), "something must show that engine and trainer agree"
