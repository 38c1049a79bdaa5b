"""Do the intervals keep their promise? Coverage, and what peeking does to those that are not made for it.

A bar is about the estimate itself: 95 ± 1%. What is discrete (a count of successes) cannot hold 95% at each single
rate; it is judged, as by L. D. Brown, T. T. Cai and A. DasGupta (2001), Statistical Science 16:101–133, by its
coverage averaged over rates and sizes, computed exactly, with the lowest at any rate beside it.

python benchmarks/intervals.py            about five minutes of processor time
python benchmarks/intervals.py --quick    a tenth of the trials; not kept
"""

import argparse
import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product

from record import Row, row, write_results

from journeyman.records import Interval
from journeyman.statistics import (
    AsymptoticSequence,
    BettingSequence,
    PairedSequence,
    bradley_terry,
    cases_needed,
    clustered_mean,
    mcnemar,
    paired_difference,
    pass_at_k,
    pass_power_k,
    prediction_powered_mean,
    prediction_powered_rate,
    proportion,
)

SEED = 0
NOMINAL = 95.0
_LOOKS = range(50, 3001, 25)
Simulate = Callable[[random.Random], bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials; not kept")
    quick = parser.parse_args().quick
    share = 0.1 if quick else 1.0
    rows = [
        *averaged("Wilson, rates 1–99%, 20 to 200 cases", wilson_coverage(range(20, 201, 60 if quick else 10))),
        *averaged("Tango, 30 to 200 cases", tango_coverage((30,) if quick else (30, 60, 100, 200))),
        *(covers(what, simulate, round(share * trials), bar) for what, (simulate, trials, bar) in SIMULATED.items()),
        *errors(round(share * 20_000)),
        *peeking(round(share * 1000)),
    ]
    write_results("statistics", rows, SEED, quick=quick)


def averaged(what: str, exact: Sequence[tuple[float, str]]) -> list[Row]:
    """The mean of exact coverages, and the lowest of them."""
    mean = 100 * math.fsum(each for each, _ in exact) / len(exact)
    lowest, where = min(exact)
    return [
        row(f"coverage: {what}, mean", mean, "%", bar="95 ± 1 %", holds=abs(mean - NOMINAL) <= 1),
        row(f"coverage: {what}, lowest ({where})", 100 * lowest, "%"),
    ]


def wilson_coverage(sizes: Sequence[int]) -> list[tuple[float, str]]:
    found = []
    for cases in sizes:
        intervals = [proportion(count, cases) for count in range(cases + 1)]
        for percent in range(1, 100):
            rate = percent / 100
            covered = math.fsum(
                probability((count, cases - count), (rate, 1 - rate))
                for count, interval in enumerate(intervals)
                if holds(interval, rate)
            )
            found.append((covered, f"{percent}%, {cases} cases"))
    return found


def tango_coverage(sizes: Sequence[int]) -> list[tuple[float, str]]:
    found = []
    for cases, changed, part in product(sizes, (0.1, 0.2, 0.3, 0.4, 0.5), (0.5, 0.6, 0.7, 0.8, 0.9)):
        fixed, broken = changed * part, changed * (1 - part)
        covered = math.fsum(
            chance
            for count, other in pairs(cases)
            if (chance := probability((count, other, cases - count - other), (fixed, broken, 1 - changed))) > 1e-10
            and holds(tango_interval(count, other, cases), fixed - broken)
        )
        found.append((covered, f"{changed:.0%} changed, {part:.0%} of them fixed, {cases} cases"))
    return found


def pairs(cases: int) -> Iterator[tuple[int, int]]:
    for fixed in range(cases + 1):
        for broken in range(cases + 1 - fixed):
            yield fixed, broken


def probability(counts: Sequence[int], shares: Sequence[float]) -> float:
    logarithm = math.lgamma(sum(counts) + 1)
    for count, share in zip(counts, shares, strict=True):
        logarithm += count * math.log(share) - math.lgamma(count + 1)
    return math.exp(logarithm)


tango_interval = lru_cache(maxsize=None)(paired_difference)


def covers(what: str, simulate: Simulate, trials: int, bar: float | None) -> Row:
    """How often the interval held the truth, with the interval of the simulation itself."""
    draw = random.Random(f"{SEED}/{what}")
    held = sum(simulate(draw) for _ in range(trials))
    found, value = proportion(held, trials), 100 * held / trials
    between = (100 * found.low, 100 * found.high)
    if bar is None:
        return row(f"coverage: {what}", value, "%", interval=between)
    return row(f"coverage: {what}", value, "%", interval=between, bar=f"95 ± {bar:g} %",
               holds=abs(value - NOMINAL) <= bar)  # fmt: skip


def wilson(rate: float, cases: int) -> Simulate:
    return lambda draw: holds(proportion(sum(draw.random() < rate for _ in range(cases)), cases), rate)


def powered(labelled: int, judged: int = 2000) -> Simulate:
    """A judge that passes 92% of what people pass, and 30% of what they fail; people pass 80%."""

    def once(draw: random.Random) -> bool:
        truth, said = judged_cases(draw, labelled, judged, 0.8, 0.92, 0.3)
        return holds(prediction_powered_rate(truth, said[:labelled], said[labelled:]), 0.8)

    return once


def powered_anyhow(draw: random.Random) -> bool:
    """Any number of labels, any rate, any judge that is worth something."""
    labelled, rate = draw.randint(20, 200), draw.uniform(0.3, 0.9)
    sensitivity, mistaken = draw.uniform(0.75, 0.98), draw.uniform(0.02, 0.5)
    truth, said = judged_cases(draw, labelled, 2000, rate, sensitivity, mistaken)
    return holds(prediction_powered_rate(truth, said[:labelled], said[labelled:]), rate)


def judged_cases(
    draw: random.Random, labelled: int, judged: int, rate: float, sensitivity: float, mistaken: float
) -> tuple[list[float], list[float]]:
    truth = [float(draw.random() < rate) for _ in range(labelled + judged)]
    said = [float(draw.random() < (sensitivity if good else mistaken)) for good in truth]
    return truth[:labelled], said


def powered_scores(labelled: int) -> Simulate:
    """Scores that are no rates: the judge's are half a point too high, and noisy."""

    def once(draw: random.Random) -> bool:
        labels = [draw.gauss(3, 1) for _ in range(labelled)]
        judged = [each + draw.gauss(0.5, 0.7) for each in labels]
        rest = [draw.gauss(3, 1) + draw.gauss(0.5, 0.7) for _ in range(1000)]
        return holds(prediction_powered_mean(labels, judged, rest), 3.0)

    return once


def clustered(conversations: int, draws: int = 1000) -> Simulate:
    """Conversations of three to eight calls, whose qualities differ."""

    def once(draw: random.Random) -> bool:
        clusters = []
        for _ in range(conversations):
            quality = draw.betavariate(4, 2)
            clusters.append([float(draw.random() < quality) for _ in range(draw.randint(3, 8))])
        return holds(clustered_mean(clusters, draws, seed=draw.getrandbits(32)), 4 / 6)

    return once


def attempts(cases: int, any_of: bool) -> Simulate:
    """Cases of eight attempts each: at least one of three, or all three."""
    # E[(1 − p)³] of a Beta(3, 5) is (5·6·7)/(8·9·10), E[p³] is (3·4·5)/(8·9·10).
    truth = 1 - 5 * 6 * 7 / (8 * 9 * 10) if any_of else 3 * 4 * 5 / (8 * 9 * 10)

    def once(draw: random.Random) -> bool:
        found = []
        for _ in range(cases):
            rate = draw.betavariate(3, 5)
            found.append((sum(draw.random() < rate for _ in range(8)), 8))
        return holds((pass_at_k if any_of else pass_power_k)(found, 3), truth)

    return once


def strengths(draw: random.Random) -> bool:
    """Four models, 300 matches; the strongest one's strength."""
    truth, matches = {"a": 0.6, "b": 0.2, "c": -0.2, "d": -0.6}, []
    for _ in range(300):
        one, other = draw.sample(sorted(truth), 2)
        matches.append((one, other, float(draw.random() < 1 / (1 + math.exp(truth[other] - truth[one])))))
    return holds(bradley_terry(matches, draws=200, seed=draw.getrandbits(32))["a"], truth["a"])


def errors(trials: int) -> list[Row]:
    """McNemar's false alarms where nothing differs, and whether the planned number of cases has the planned power."""
    draw, alarms, shown = random.Random(f"{SEED}/errors"), 0, 0
    needed = math.ceil(cases_needed(0.10, 0.30))
    for _ in range(trials):
        same = draw.choices((1, -1, 0), weights=(0.15, 0.15, 0.7), k=100)
        alarms += mcnemar(same.count(1), same.count(-1)) < 0.05
        better = draw.choices((1, -1, 0), weights=(0.2, 0.1, 0.7), k=needed)
        shown += paired_difference(better.count(1), better.count(-1), needed).low > 0
    power = proportion(shown, trials)
    return [
        false_wins("McNemar (mid-p), 100 cases, 30% of them changed", alarms, trials, 5.0),
        row(f"power: +10 points on the {needed} cases that are planned for 80%", 100 * power.estimate, "%",
            interval=(100 * power.low, 100 * power.high), bar="80 ± 2 %",
            holds=abs(100 * power.estimate - 80) <= 2),
    ]  # fmt: skip


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


SIMULATED: dict[str, tuple[Simulate, int, float | None]] = {
    "Wilson, rate 65%, 100 cases": (wilson(0.65, 100), 20_000, None),
    "Wilson, rate 5%, 200 cases (counts are whole numbers)": (wilson(0.05, 200), 20_000, None),
    "prediction-powered rate, 100 labels and 2,000 judged": (powered(100), 10_000, 1.0),
    "prediction-powered rate, 30 labels and 2,000 judged": (powered(30), 10_000, None),
    "prediction-powered rate, 20 to 200 labels, any rate, any judge": (powered_anyhow, 10_000, 1.0),
    "prediction-powered mean of scores, 20 labels": (powered_scores(20), 10_000, 1.0),
    "prediction-powered mean of scores, 100 labels": (powered_scores(100), 10_000, 1.0),
    "clustered bootstrap, 40 conversations": (clustered(40), 4000, 1.0),
    "clustered bootstrap, 10 conversations": (clustered(10), 4000, None),
    "pass@3, 60 cases of 8 attempts": (attempts(60, True), 20_000, 1.0),
    "pass^3, 60 cases of 8 attempts": (attempts(60, False), 20_000, 1.0),
    "pass@3, 15 cases of 8 attempts": (attempts(15, True), 20_000, None),
    "Bradley–Terry, 4 models, 300 matches": (strengths, 200, None),
}


def peeking(trials: int) -> list[Row]:
    """False wins where nothing differs: 30% ties, first look after 50 pairs, then after every 25 up to 3,000."""
    draw, naive, asymptotic, betting, paired = random.Random(f"{SEED}/peeking"), 0, 0, 0, 0
    short = max(trials // 4, 20)
    for trial in range(trials):
        values = draw.choices((1.0, -1.0, 0.0), weights=(0.35, 0.35, 0.3), k=_LOOKS[-1])
        naive += wins_naively(values)
        asymptotic += wins(AsymptoticSequence(), values)
        if trial < short:
            betting += wins(BettingSequence(-1.0, 1.0), values[:600])
            paired += wins_at_any_case(values[:600])
    return [
        false_wins("an ordinary interval, looked at 119 times", naive, trials, None),
        false_wins("the asymptotic sequence, looked at 119 times", asymptotic, trials, 5.0),
        false_wins("the betting sequence, looked at 23 times", betting, short, 5.0),
        false_wins("what evaluations stop by, looked at after each of 600 pairs", paired, short, 5.0),
    ]


def wins_naively(values: Sequence[float]) -> bool:
    total = squares = 0.0
    for number, value in enumerate(values, 1):
        total += value
        squares += value * value
        if number in _LOOKS:
            mean = total / number
            deviation = math.sqrt(max(squares / number - mean**2, 1e-12) / number)
            if abs(mean) > 1.959964 * deviation:
                return True
    return False


def wins(sequence: AsymptoticSequence | BettingSequence, values: Sequence[float]) -> bool:
    for number, value in enumerate(values, 1):
        sequence.add(value)
        if number in _LOOKS and not holds(sequence.interval, 0.0):
            return True
    return False


def wins_at_any_case(values: Sequence[float]) -> bool:
    sequence = PairedSequence()
    for value in values:
        sequence.add(value)
        if not holds(sequence.interval, 0.0):
            return True
    return False


def false_wins(what: str, count: int, trials: int, most: float | None) -> Row:
    found = proportion(count, trials)
    between = (100 * found.low, 100 * found.high)
    if most is None:
        return row(f"false wins: {what}", 100 * count / trials, "%", interval=between)
    return row(f"false wins: {what}", 100 * count / trials, "%", interval=between, bar=f"≤ {most:g} %",
               holds=100 * count / trials <= most)  # fmt: skip


if __name__ == "__main__":
    main()
