"""Against programs that no one here wrote. Each number was printed by the package and version that its test names."""

import math
import random

import pytest
from scipy import stats

from journeyman.statistics import (
    AsymptoticSequence,
    BettingSequence,
    bradley_terry,
    cohens_kappa,
    mcnemar,
    mean_share,
    pass_at_k,
    prediction_powered_mean,
    prediction_powered_rate,
    proportion,
)
from journeyman.statistics.normal import students_quantile

LABELS = [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1,
          0, 1, 1, 1]  # fmt: skip
JUDGED = [1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1,
          0, 1, 1, 1]  # fmt: skip
REST = [1] * 209 + [0] * 91


def test_prediction_powered_estimates_are_ppi_pythons():
    """ppi-python 0.2.3, `ppi_mean_pointestimate` and `ppi_mean_ci(…, alpha=0.05)`."""
    theirs, low, high = 0.853934504329094, 0.7725524604422892, 0.9353165482158988
    mean, rate = (each(LABELS, JUDGED, REST) for each in (prediction_powered_mean, prediction_powered_rate))
    assert (mean.estimate, rate.estimate) == pytest.approx((theirs, theirs), abs=1e-12)
    # Their interval is the normal one; ours are wider for forty labels, and by little.
    for ours in (mean, rate):
        assert high - low < ours.high - ours.low < 1.3 * (high - low)
    assert mean.low < low < high < mean.high
    assert rate.low < low, "a score interval leans to the middle"


def test_with_many_labels_the_interval_is_ppi_pythons():
    """What is made for few labels must be gone: 2,000 labels, 8,000 judged, drawn as here for ppi-python 0.2.3."""
    draw = random.Random(5)
    truth = [float(draw.random() < 0.7) for _ in range(10_000)]
    judged = [float(draw.random() < (0.9 if good else 0.25)) for good in truth]
    for powered in (prediction_powered_mean, prediction_powered_rate):
        found = powered(truth[:2000], judged[:2000], judged[2000:])
        assert (found.low, found.high) == pytest.approx((0.6998076761658251, 0.7320505340269409), abs=3e-4)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (0, 7, 0.0, 0.3543304350666875),
        (3, 11, 0.09746059290024889, 0.5656453011761292),
        (42, 60, 0.5749129205308551, 0.801018338612309),
        (199, 200, 0.9722262956021069, 0.9991168312843989),
    ],
)
def test_wilson_is_statsmodels(successes, total, low, high):
    """statsmodels 0.15.0, `proportion_confint(…, method="wilson")`."""
    found = proportion(successes, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_agreement_and_mcnemar_are_statsmodels():
    """statsmodels 0.15.0, `cohens_kappa` and `mcnemar(…, exact=True)`."""
    table = [[11, 3, 1], [2, 14, 4], [0, 5, 10]]
    pairs = [(i, j) for i, line in enumerate(table) for j, count in enumerate(line) for _ in range(count)]
    assert cohens_kappa(*zip(*pairs, strict=True)) == pytest.approx(0.5426829268292682)
    assert mcnemar(9, 3, exact=True) == pytest.approx(0.14599609375)


def test_strengths_are_evalicas():
    """evalica 0.4.2, `bradley_terry(…, tie_weight=0.5, tolerance=1e-12)`, as logarithms with mean 0."""
    met = [("a", "b", 12, 5), ("b", "c", 9, 4), ("c", "a", 6, 11)]
    matches = [(x, y, share) for x, y, won, lost in met for share in [1.0] * won + [0.0] * lost]
    found = bradley_terry([*matches, *[("a", "c", 0.5)] * 3], draws=20)
    theirs = {"a": 0.4425849953549691, "b": -0.05489236198376681, "c": -0.3876926333712023}
    assert {name: each.estimate for name, each in found.items()} == pytest.approx(theirs, abs=1e-5)


def test_the_betting_sequence_is_confseqs():
    """confseq (2023), `betting_cs(x, breaks=2000, running_intersection=True)`; ours is exact to half of 1/400."""
    values, sequence = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1] * 6, BettingSequence()
    theirs = {5: (0.0955, 1.0), 10: (0.273, 0.993), 30: (0.445, 0.8965), 60: (0.515, 0.8565)}
    for number, value in enumerate(values, 1):
        sequence.add(value)
        if number in theirs:
            found = sequence.interval
            assert (found.low, found.high) == pytest.approx(theirs[number], abs=1 / 400 + 0.001)


def test_the_asymptotic_sequence_is_its_formula():
    """Waudby-Smith et al. (2024), proposition 2.5, written down once more, and evaluated by hand for these numbers."""
    values = [1.0, -1.0, 0.0, 1.0, 1.0] * 20
    found = AsymptoticSequence().add_all(values).interval
    # n = 100, mean 0.4, variance 0.64, ρ² = (5.9915 + ln 5.9915 + 1) / 100
    rho2 = (5.991464547 + 1.790336 + 1) / 100
    half = math.sqrt((64 * rho2 + 1) / (100**2 * rho2) * math.log((64 * rho2 + 1) / 0.0025))
    assert (found.low, found.high) == pytest.approx((0.4 - half, 0.4 + half), abs=1e-6)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 9, 30, 1000])
@pytest.mark.parametrize("share", [0.025, 0.6, 0.9, 0.975, 0.9995])
def test_students_quantiles_are_scipys(share, freedom):
    assert students_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-5)


def test_a_share_of_plain_successes_is_nearly_wilsons():
    for successes, total in ((0, 30), (18, 30), (30, 30), (120, 200)):
        ours, plain = mean_share([1.0] * successes + [0.0] * (total - successes)), proportion(successes, total)
        assert (ours.low, ours.high) == pytest.approx((plain.low, plain.high), abs=0.025)


def test_attempts_that_all_succeeded_leave_doubt():
    """Resampling cases would say 100% (100 to 100) of twenty cases."""
    found = pass_at_k([(4, 4)] * 20, 2)
    assert found.estimate == found.high == 1.0
    assert 0.7 < found.low < 0.97
