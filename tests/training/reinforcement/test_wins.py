"""Wins, and the evidence that they do not hold: how often it cries wolf is computed, not drawn."""

from collections import defaultdict

from journeyman.records import Score, Trajectory
from journeyman.training.reinforcement.wins import SURE, Replayed, is_won


def stopped(cases: int, wins: float, won_holds: float, paid_holds: float) -> float:
    """The exact chance that the evidence reaches SURE at any of so many cases, each looked at."""
    alive, dead = {Replayed(): 1.0}, 0.0
    one = {
        Replayed(1, 1, 1, 1): wins * won_holds,
        Replayed(1, 0, 1, 0): wins * (1 - won_holds),
        Replayed(1, 1, 0, 0): (1 - wins) * paid_holds,
        Replayed(1, 0, 0, 0): (1 - wins) * (1 - paid_holds),
    }
    for _ in range(cases):
        after: dict[Replayed, float] = defaultdict(float)
        for counts, chance in alive.items():
            for more, share in one.items():
                after[counts.plus(more)] += chance * share
        over = {counts for counts in after if counts.evidence >= SURE}
        dead += sum(after[counts] for counts in over)
        alive = {counts: chance for counts, chance in after.items() if counts not in over and chance}
    return dead


def test_a_sound_run_is_stopped_in_less_than_one_of_a_hundred_whatever_part_of_it_wins():
    for wins in (0.1, 0.5, 1.0):
        assert 0 < stopped(24, wins, 0.9, 0.9) <= 1 / SURE


def test_false_wins_among_small_change_that_holds_are_found_in_a_dozen_cases_or_so():
    assert stopped(21, 0.25, 0.0, 1.0) > 0.9
    assert Replayed(12, 9, 3, 0).evidence >= SURE > Replayed(12, 9).evidence


def test_a_win_is_a_success_or_half_of_the_reward():
    succeeded = Trajectory(
        scenario_id="s", model="m", session="s", messages=(), scores=(Score(name="success", value=1.0),)
    )
    failed = succeeded.model_copy(update={"scores": ()})
    assert is_won(succeeded, None)
    assert is_won(failed, 0.5)
    assert not is_won(failed, 0.49)
    assert not is_won(failed, None)
