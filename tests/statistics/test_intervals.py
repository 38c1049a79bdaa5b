"""Published worked values, and coverage: how often the interval holds the truth."""

import math
import random
from collections import Counter

import pytest

from journeyman.errors import InvalidInput
from journeyman.records import Interval
from journeyman.statistics import (
    Z95,
    clustered_mean,
    paired_difference,
    proportion,
    quantile,
    ratio_of_clustered_means,
)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_reproduces_newcombes_table(successes: int, total: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857–872, table I, method 3."""
    interval = proportion(successes, total)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)
    assert interval.estimate == successes / total


def test_a_proportion_never_leaves_its_range_nor_shrinks_to_a_point() -> None:
    assert proportion(0, 5).low == 0.0 < proportion(0, 5).high
    assert proportion(5, 5).high == 1.0 > proportion(5, 5).low


@pytest.mark.parametrize(("p", "total"), [(0.05, 100), (0.1, 200), (0.3, 100), (0.5, 30), (0.65, 100), (0.9, 100)])
def test_wilson_covers_the_truth_in_95_of_100_worlds(p: float, total: int) -> None:
    covered = 0.0
    for successes in range(total + 1):
        if _holds(proportion(successes, total), p):
            covered += math.comb(total, successes) * p**successes * (1 - p) ** (total - successes)
    assert covered == pytest.approx(0.95, abs=0.018)


@pytest.mark.parametrize(
    ("fixed", "broken", "total", "estimate", "low", "high"),
    [(1, 7, 21, -0.286, -0.517, -0.026), (6, 16, 161, -0.0621, -0.1240, -0.0054)],
)
def test_tango_reproduces_the_textbook(
    fixed: int, broken: int, total: int, estimate: float, low: float, high: float
) -> None:
    """Fagerland, Lydersen and Laake (2017), Statistical Analysis of Contingency Tables, chapter 8: both examples."""
    digits = 3 if total == 21 else 4
    interval = paired_difference(fixed, broken, total)
    assert [round(value, digits) for value in (interval.estimate, interval.low, interval.high)] == [estimate, low, high]


def test_no_changed_case_still_leaves_doubt() -> None:
    """With no discordant pair the score equation solves to ±z² / (n + z²)."""
    interval = paired_difference(0, 0, 100)
    assert interval.estimate == 0.0
    assert interval.high == pytest.approx(Z95**2 / (100 + Z95**2))
    assert interval.low == pytest.approx(-interval.high)


@pytest.mark.parametrize("total", [1, 7, 50])
def test_swapping_the_models_mirrors_the_interval(total: int) -> None:
    for fixed in range(total + 1):
        for broken in range(total + 1 - fixed):
            there, back = paired_difference(fixed, broken, total), paired_difference(broken, fixed, total)
            assert -1 <= there.low <= there.estimate <= there.high <= 1
            assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


def test_the_interval_clears_zero_exactly_when_mcnemars_test_rejects() -> None:
    for fixed in range(40):
        for broken in range(40):
            mcnemar = (fixed - broken) / math.sqrt(fixed + broken) if fixed + broken else 0.0
            assert (paired_difference(fixed, broken, 100).low > 0) == (mcnemar > Z95), (fixed, broken)


@pytest.mark.parametrize(
    ("better", "worse", "correlation", "total"),
    [
        (0.5, 0.5, 0.0, 100),
        (0.5, 0.5, 0.5, 100),
        (0.7, 0.2, 0.2, 100),
        (0.9, 0.8, 0.5, 100),
        (0.65, 0.05, 0.1, 100),
        (0.95, 0.9, 0.2, 100),
        (0.6, 0.4, 0.3, 30),
        (0.8, 0.75, 0.4, 250),
    ],
)
def test_tango_covers_the_truth_in_95_of_100_worlds(
    better: float, worse: float, correlation: float, total: int
) -> None:
    """20,000 simulated evaluations; their own standard error is 0.15 points."""
    both = better * worse + correlation * math.sqrt(better * (1 - better) * worse * (1 - worse))
    outcomes, weights = ("fixed", "broken", "same"), (better - both, worse - both, 1 - better - worse + 2 * both)
    generator = random.Random(20250611)
    worlds = Counter[tuple[int, int]]()
    for _ in range(20_000):
        counts = Counter(generator.choices(outcomes, weights, k=total))
        worlds[counts["fixed"], counts["broken"]] += 1
    covered = sum(
        times
        for (fixed, broken), times in worlds.items()
        if _holds(paired_difference(fixed, broken, total), better - worse)
    )
    assert covered / 20_000 == pytest.approx(0.95, abs=0.012)


def test_quantiles_are_interpolated_and_ignore_order() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([4.0, 1.0, 2.0, 3.0], 0.5) == 2.5
    assert quantile(range(101), 0.95) == pytest.approx(95)
    assert quantile([7.0], 0.95) == 7.0
    assert (quantile([5, 9], 0), quantile([5, 9], 1)) == (5, 9)


def test_what_cannot_be_counted_is_refused() -> None:
    for successes, total in [(0, 0), (3, 2), (-1, 5)]:
        with pytest.raises(InvalidInput, match="proportion"):
            proportion(successes, total)
    for fixed, broken, total in [(0, 0, 0), (2, 2, 3), (-1, 0, 3)]:
        with pytest.raises(InvalidInput, match="paired difference"):
            paired_difference(fixed, broken, total)
    with pytest.raises(InvalidInput, match="quantile"):
        quantile([], 0.5)
    with pytest.raises(InvalidInput, match="quantile"):
        quantile([1.0], 95)


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def _conversations(generator: random.Random, count: int, mean: float) -> list[list[float]]:
    """Calls of a conversation cost alike: each conversation has a level of its own."""
    levels = [generator.expovariate(1 / mean) for _ in range(count)]
    return [[level * generator.uniform(0.8, 1.2) for _ in range(generator.randint(1, 6))] for level in levels]


def test_the_interval_of_a_clustered_mean_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = random.Random(1)
    held = 0
    for seed in range(300):
        interval = clustered_mean(_conversations(generator, 60, 5.0), draws=300, seed=seed)
        held += interval.low <= 5.0 <= interval.high
    assert 0.90 <= held / 300 <= 0.98


def test_taking_calls_one_by_one_would_promise_too_much() -> None:
    clusters = _conversations(random.Random(2), 60, 5.0)
    whole = clustered_mean(clusters)
    single = clustered_mean([[value] for cluster in clusters for value in cluster])
    assert whole.estimate == pytest.approx(single.estimate)
    assert whole.high - whole.low > single.high - single.low


def test_a_ratio_of_clustered_means_surrounds_the_quotient() -> None:
    generator = random.Random(3)
    above, below = _conversations(generator, 80, 1.0), _conversations(generator, 80, 10.0)
    interval = ratio_of_clustered_means(above, below)
    assert interval.estimate == pytest.approx(clustered_mean(above).estimate / clustered_mean(below).estimate)
    assert interval.low < 0.1 < interval.high
    same = ratio_of_clustered_means([[2.0]] * 5, [[4.0]] * 5)
    assert (same.low, same.high) == (0.5, 0.5)


@pytest.mark.parametrize("clusters", [[], [[1.0]], [[1.0], []]])
def test_too_few_clusters_cannot_be_resampled(clusters: list[list[float]]) -> None:
    with pytest.raises(InvalidInput, match="at least two clusters"):
        clustered_mean(clusters)
