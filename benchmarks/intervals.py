"""Do the intervals keep their promise? Coverage by simulation, and what peeking does to those that are not made for it.

python benchmarks/intervals.py            about two minutes
python benchmarks/intervals.py --quick    a tenth of the trials; not kept
"""

import argparse
import math
import random
from collections.abc import Callable, Sequence

from record import Row, row, write_results

from journeyman.records import Interval
from journeyman.statistics import (
    AsymptoticSequence,
    BettingSequence,
    clustered_mean,
    paired_difference,
    pass_at_k,
    prediction_powered_mean,
    proportion,
)

SEED = 0
NOMINAL = 95.0
_LOOKS = range(50, 3001, 25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials; not kept")
    quick = parser.parse_args().quick
    trials = 400 if quick else 4000
    rows = [
        *(covers(what, simulate, trials) for what, simulate in INTERVALS.items()),
        *(covers(what, simulate, trials // 8, bar=None) for what, simulate in SLOW.items()),
        *peeking(trials // 4),
    ]
    write_results("statistics", rows, SEED, quick=quick)


def covers(what: str, simulate: Callable[[random.Random], bool], trials: int, bar: float | None = 1.0) -> Row:
    """How often the interval held the truth; its bar is nominal ± 1 point, give or take what so few trials add."""
    draw = random.Random(f"{SEED}/{what}")
    held = sum(simulate(draw) for _ in range(trials))
    found = proportion(held, trials)
    between = (100 * found.low, 100 * found.high)
    if bar is None:
        return row(f"coverage: {what}", 100 * held / trials, "%", interval=between)
    # Wide intervals of few trials must not fail what they cannot judge, nor a safe interval for being safe.
    holds = between[0] <= NOMINAL + bar and between[1] >= NOMINAL - bar
    return row(f"coverage: {what}", 100 * held / trials, "%", interval=between, bar="95 ± 1 %", holds=holds)


def wilson(rate: float, cases: int) -> Callable[[random.Random], bool]:
    def once(draw: random.Random) -> bool:
        return holds(proportion(sum(draw.random() < rate for _ in range(cases)), cases), rate)

    return once


def tango(better: float, fixed: float, broken: float, cases: int) -> Callable[[random.Random], bool]:
    def once(draw: random.Random) -> bool:
        outcomes = draw.choices((0, 1, -1), weights=(1 - fixed - broken, fixed, broken), k=cases)
        return holds(paired_difference(outcomes.count(1), outcomes.count(-1), cases), better)

    return once


def powered(labelled: int, judged: int) -> Callable[[random.Random], bool]:
    def once(draw: random.Random) -> bool:
        truth = [float(draw.random() < 0.8) for _ in range(labelled + judged)]
        said = [float(draw.random() < (0.92 if good else 0.3)) for good in truth]
        return holds(prediction_powered_mean(truth[:labelled], said[:labelled], said[labelled:]), 0.8)

    return once


def clustered(draw: random.Random) -> bool:
    """Forty conversations of three to eight calls, whose qualities differ."""
    clusters = []
    for _ in range(40):
        quality = draw.betavariate(4, 2)
        clusters.append([float(draw.random() < quality) for _ in range(draw.randint(3, 8))])
    return holds(clustered_mean(clusters, draws=400, seed=draw.getrandbits(32)), 4 / 6)


def attempts(draw: random.Random) -> bool:
    """Sixty cases of eight attempts each; at least one of three."""
    cases, truth = [], 1 - 7 * 6 * 5 / (10 * 9 * 8)  # E[(1 − p)³] of a Beta(3, 5) is (5·6·7)/(8·9·10)
    for _ in range(60):
        rate = draw.betavariate(3, 5)
        cases.append((sum(draw.random() < rate for _ in range(8)), 8))
    return holds(pass_at_k(cases, 3, draws=400, seed=draw.getrandbits(32)), truth)


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


INTERVALS: dict[str, Callable[[random.Random], bool]] = {
    "Wilson, rate 65%, 100 cases": wilson(0.65, 100),
    "Wilson, rate 5%, 200 cases": wilson(0.05, 200),
    "Tango, +10 points, 100 cases": tango(0.10, 0.20, 0.10, 100),
    "Tango, no difference, 60 cases": tango(0.0, 0.15, 0.15, 60),
    "prediction-powered, 100 labels and 2,000 judged": powered(100, 2000),
}
SLOW: dict[str, Callable[[random.Random], bool]] = {
    "clustered bootstrap, 40 conversations": clustered,
    "pass@3 by bootstrap, 60 cases of 8 attempts": attempts,
}


def peeking(trials: int) -> list[Row]:
    """False wins where nothing differs: 30% ties, first look after 50 pairs, then after every 25 up to 3,000."""
    draw, naive, asymptotic, betting = random.Random(f"{SEED}/peeking"), 0, 0, 0
    short = max(trials // 10, 20)
    for trial in range(trials):
        values = draw.choices((1.0, -1.0, 0.0), weights=(0.35, 0.35, 0.3), k=_LOOKS[-1])
        naive += wins_naively(values)
        asymptotic += wins(AsymptoticSequence(), values)
        betting += wins(BettingSequence(-1.0, 1.0), values[:600]) if trial < short else 0
    return [
        false_wins("an ordinary interval, looked at 119 times", naive, trials, None),
        false_wins("the asymptotic sequence, looked at 119 times", asymptotic, trials, 5.0),
        false_wins("the betting sequence, looked at 23 times", betting, short, 5.0),
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


def false_wins(what: str, count: int, trials: int, most: float | None) -> Row:
    found = proportion(count, trials)
    between = (100 * found.low, 100 * found.high)
    if most is None:
        return row(f"false wins: {what}", 100 * count / trials, "%", interval=between)
    return row(f"false wins: {what}", 100 * count / trials, "%", interval=between, bar=f"≤ {most:g} %",
               holds=between[0] <= most)  # fmt: skip


if __name__ == "__main__":
    main()
