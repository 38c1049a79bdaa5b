"""Against scipy, published worked values, and simulation."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from journeyman.errors import InvalidInput
from journeyman.statistics import (
    AsymptoticSequence,
    BettingSequence,
    PairedSequence,
    benjamini_hochberg,
    bradley_terry,
    cases_needed,
    cohens_kappa,
    detectable_difference,
    detectable_mean_difference,
    kendall_tau,
    krippendorffs_alpha,
    mcnemar,
    paired_mean,
    pass_at_k,
    pass_power_k,
    prediction_powered_mean,
    proportion,
    rule_of_three,
    squared,
)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_exact_test_is_the_binomial(fixed, broken):
    if fixed + broken:
        assert mcnemar(fixed, broken, exact=True) == pytest.approx(stats.binomtest(fixed, fixed + broken).pvalue)
    assert mcnemar(fixed, broken) == mcnemar(broken, fixed)
    assert 0 <= mcnemar(fixed, broken) <= mcnemar(fixed, broken, exact=True) <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_scipys(p_values):
    assert benjamini_hochberg(p_values) == pytest.approx(list(stats.false_discovery_control(p_values)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=25))
def test_kendalls_tau_is_scipys(pairs):
    first, second = zip(*pairs, strict=True)
    theirs = stats.kendalltau(first, second).statistic
    assert kendall_tau(first, second) == pytest.approx(0.0 if math.isnan(theirs) else theirs, abs=1e-9)


def test_pass_at_k_is_the_share_of_subsets_with_a_success():
    cases = [(2, 4), (0, 4), (4, 4), (1, 4)]
    assert pass_at_k(cases, 1).estimate == pytest.approx((0.5 + 0 + 1 + 0.25) / 4)
    assert pass_at_k(cases, 2).estimate == pytest.approx((5 / 6 + 0 + 1 + 0.5) / 4)
    assert pass_power_k(cases, 2).estimate == pytest.approx((1 / 6 + 0 + 1 + 0) / 4)
    assert pass_power_k(cases, 4).estimate == pytest.approx(0.25)
    with pytest.raises(InvalidInput, match="at least k"):
        pass_at_k([(1, 2)], 3)


def test_no_failure_in_n():
    assert rule_of_three(100) == pytest.approx(0.0295, abs=1e-4)
    assert rule_of_three(1) == pytest.approx(0.95)


def test_the_smallest_difference_that_shows():
    # Connor 1987: discordance .3, difference .1, two-sided 5%, power .8 needs 234 to 235 pairs.
    assert cases_needed(0.1, 0.3) == pytest.approx(233.7, abs=1.5)
    assert detectable_difference(math.ceil(cases_needed(0.1, 0.3)), 0.3) == pytest.approx(0.1, abs=1e-3)
    assert detectable_difference(50, 0.3) > detectable_difference(500, 0.3)
    assert detectable_mean_difference(100, 1.0) == pytest.approx(0.2802, abs=1e-3)
    assert cases_needed(0.0, 0.3) == math.inf


def test_the_planned_power_is_the_simulated_one():
    draw = random.Random(3)
    cases = round(cases_needed(0.15, 0.35))
    found = 0
    for _ in range(1000):
        outcomes = draw.choices((1, -1, 0), weights=(0.25, 0.10, 0.65), k=cases)
        found += mcnemar(outcomes.count(1), outcomes.count(-1)) < 0.05
    assert 0.76 < found / 1000 < 0.85


def test_kappa_and_alpha_have_their_published_values():
    # Cohen's kappa of the table [[20, 5], [10, 15]].
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)
    assert cohens_kappa(["a"], ["a"]) == 1.0
    # Krippendorff (2011), section C: four observers, twelve units.
    raters = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    cases = list(zip(*raters, strict=True))
    assert krippendorffs_alpha(cases) == pytest.approx(0.743, abs=5e-4)
    assert krippendorffs_alpha(cases, squared) == pytest.approx(0.849, abs=5e-4)


def test_strengths_are_the_logits_of_two_players():
    found = bradley_terry([("a", "b", 1.0)] * 30 + [("a", "b", 0.0)] * 10)
    assert found["a"].estimate - found["b"].estimate == pytest.approx(math.log(3), abs=1e-5)
    assert found["a"].low < found["a"].estimate < found["a"].high


def test_strengths_of_three_are_found_again():
    draw, truth = random.Random(1), {"a": 0.8, "b": 0.0, "c": -0.8}
    matches = []
    for _ in range(3000):
        one, other = draw.sample(sorted(truth), 2)
        wins = draw.random() < 1 / (1 + math.exp(truth[other] - truth[one]))
        matches.append((one, other, float(wins)))
    found = bradley_terry(matches, draws=100)
    assert all(found[name].low < strength < found[name].high for name, strength in truth.items())


@pytest.mark.parametrize(
    "matches",
    [[("a", "b", 1.0)], [("a", "b", 0.5), ("c", "d", 0.5)], [("a", "a", 0.5)], [("a", "b", 2.0)]],
)
def test_matches_that_rank_nobody_are_refused(matches):
    with pytest.raises(InvalidInput):
        bradley_terry(matches)


def test_paired_values_are_resampled_by_their_clusters():
    first = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0] * 10
    second = [0.5] * 60
    together = paired_mean(first, second, [number // 3 for number in range(60)])
    apart = paired_mean(first, second)
    assert together.estimate == apart.estimate == pytest.approx(0.0)
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    with pytest.raises(InvalidInput, match="same cases"):
        paired_mean([1.0], [1.0, 2.0])


def test_a_judge_that_is_always_right_narrows_the_interval_and_a_useless_one_does_not_widen_it():
    draw = random.Random(5)
    truth = [float(draw.random() < 0.7) for _ in range(1100)]
    alone = proportion(int(sum(truth[:100])), 100)
    perfect = prediction_powered_mean(truth[:100], truth[:100], truth[100:])
    useless = prediction_powered_mean(
        truth[:100], [draw.random() for _ in range(100)], [draw.random() for _ in range(1000)]
    )
    assert perfect.high - perfect.low < 0.5 * (alone.high - alone.low)
    assert useless.high - useless.low < 1.1 * (alone.high - alone.low)
    assert perfect.low < 0.7 < perfect.high


def test_a_biased_judge_is_corrected():
    draw, inside = random.Random(7), 0
    for _ in range(400):
        truth = [float(draw.random() < 0.8) for _ in range(600)]
        judged = [float(draw.random() < (0.92 if good else 0.3)) for good in truth]
        found = prediction_powered_mean(truth[:100], judged[:100], judged[100:])
        inside += found.low <= 0.8 <= found.high
    assert 0.91 <= inside / 400 <= 0.98


@pytest.mark.parametrize("make", [AsymptoticSequence, BettingSequence], ids=["asymptotic", "betting"])
def test_a_sequence_that_is_looked_at_all_the_time_keeps_its_promise(make):
    draw, broken = random.Random(11), 0
    runs = 120
    for _ in range(runs):
        sequence = make()
        for number in range(400):
            sequence.add(float(draw.random() < 0.6))
            if number >= 50 and not sequence.interval.low <= 0.6 <= sequence.interval.high:
                broken += 1
                break
    assert broken / runs <= 0.1, "5% and what 120 runs may add by chance"


def test_looking_at_an_ordinary_interval_all_the_time_breaks_its_promise():
    draw, broken = random.Random(13), 0
    for _ in range(200):
        total = 0.0
        for number in range(1, 1001):
            total += float(draw.random() < 0.6)
            half = 1.96 * math.sqrt(total / number * (1 - total / number) / number)
            if number >= 50 and abs(total / number - 0.6) > half:
                broken += 1
                break
    assert broken / 200 > 0.2


def test_sequences_narrow_around_the_truth():
    draw = random.Random(17)
    values = [draw.choice((1.0, 0.0, 0.0, -1.0, 1.0)) for _ in range(3000)]
    late = PairedSequence().add_all(values).interval
    early = PairedSequence().add_all(values[:40]).interval
    assert late.low < 0.2 < late.high
    assert late.high - late.low < 0.2 < early.high - early.low
    assert -1 <= early.low <= early.high <= 1


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_a_betting_sequence_stays_within_its_bounds(values):
    found = BettingSequence(-1.0, 1.0).add_all(values).interval
    assert -1.0 <= found.low <= found.estimate + 1e-9
    assert found.estimate - 1e-9 <= found.high <= 1.0


def test_values_outside_of_the_bounds_are_refused():
    with pytest.raises(InvalidInput, match="outside"):
        BettingSequence().add(1.5)
    with pytest.raises(InvalidInput, match="between"):
        PairedSequence().add(-1.5)


def test_what_evaluations_stop_by_keeps_its_promise_from_the_first_case_on():
    draw, wrong, runs = random.Random(23), 0, 150
    for _ in range(runs):
        sequence = PairedSequence()
        for _ in range(300):
            sequence.add(draw.choice((1.0, -1.0, 0.0)))
            if not sequence.interval.low <= 0 <= sequence.interval.high:
                wrong += 1
                break
    assert wrong / runs <= 0.1, "5% and what 150 runs may add by chance"
