"""The evidence against a share of wins, and rises with their intervals, against references nobody here wrote."""

import math
import random

import pytest
from scipy import integrate, stats

from journeyman.errors import InvalidInput
from journeyman.statistics.evidence import evidence_below
from journeyman.statistics.trends import Rise, rise


@pytest.mark.parametrize(("won", "total"), [(0, 1), (0, 4), (3, 4), (18, 20), (20, 20), (70, 100)])
def test_the_evidence_is_the_averaged_likelihood_ratio(won: int, total: int) -> None:
    share = 0.9
    null = stats.binom.pmf(won, total, share)
    mean = integrate.quad(lambda lower: stats.binom.pmf(won, total, lower) / null, 0, share, limit=200)[0] / share
    assert evidence_below(won, total, share) == pytest.approx(mean, rel=1e-3)


def test_four_losses_of_four_are_enough_to_be_sure_and_one_is_not() -> None:
    assert evidence_below(0, 4, 0.9) > 100 > evidence_below(3, 4, 0.9)
    assert evidence_below(0, 0, 0.9) == 1
    with pytest.raises(InvalidInput):
        evidence_below(5, 4, 0.9)


def test_a_share_on_the_bar_is_rarely_called_below_it_however_often_one_looks() -> None:
    generator, alarms = random.Random(0), 0
    for _ in range(200):
        won, seen = 0, []
        for number in range(1, 61):
            won += generator.random() < 0.9
            if number % 4 == 0:
                seen.append(evidence_below(won, number, 0.9))
        alarms += max(seen) >= 20
    assert alarms / 200 <= 0.05


def test_a_rise_is_that_of_least_squares() -> None:
    generator = random.Random(1)
    points = [(float(step), 0.02 * step + generator.gauss(0, 0.1)) for step in range(1, 13) for _ in range(3)]
    found = rise(points, 11)
    expected = stats.linregress([at for at, _ in points], [value for _, value in points])
    assert found.change == pytest.approx(11 * expected.slope)
    assert found.error == pytest.approx(11 * expected.stderr)
    half = stats.t.ppf(0.975, len(points) - 2) * 11 * expected.stderr
    assert found.interval().high == pytest.approx(found.change + half, rel=1e-4)


def test_the_difference_of_two_rises_has_welchs_freedom() -> None:
    more = Rise(0.5, 0.1, 10).beyond(Rise(0.1, 0.2, 5))
    assert more.change == pytest.approx(0.4)
    assert more.error == pytest.approx(math.hypot(0.1, 0.2))
    assert more.freedom == math.floor(0.05**2 / (0.01**2 / 10 + 0.04**2 / 5))
    assert rise([(1.0, 0.0), (1.0, 1.0), (1.0, 0.5)], 1).interval().low == -math.inf
