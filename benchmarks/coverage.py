"""How often a 95% interval for a paired difference holds the truth: Tango's score interval beside Newcombe's method 10.

Exact coverage, by adding up the probability of every possible outcome; nothing is simulated.
Behind docs/decisions/0004-intervals.md. `--quick` does 30 cases only.
"""

import argparse
import math
from collections.abc import Iterator
from functools import lru_cache

from record import row, write_results

from journeyman.records import Interval
from journeyman.statistics import paired_difference, proportion

RATES = [(0.5, 0.5, 0.5), (0.7, 0.2, 0.2), (0.65, 0.05, 0.1), (0.9, 0.8, 0.5), (0.97, 0.97, 0.1), (0.99, 0.95, 0.1)]
"""Two success rates and the correlation between their outcomes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="30 cases only")
    quick, rows = parser.parse_args().quick, []
    for total in (30,) if quick else (30, 100):
        for better, worse, correlation in RATES:
            covered = coverage(total, better, worse, correlation)
            for method, share in zip(("Tango", "Newcombe"), covered, strict=True):
                what = f"{method}, {total} cases, rates {better:.0%} and {worse:.0%}, correlation {correlation}"
                rows.append(row(what, round(100 * share, 2), "%"))
    write_results("coverage", rows, seed=0, quick=quick)


def coverage(total: int, better: float, worse: float, correlation: float) -> tuple[float, float]:
    """The exact coverage of Tango's and of Newcombe's interval."""
    both = better * worse + correlation * math.sqrt(better * (1 - better) * worse * (1 - worse))
    shares = (both, better - both, worse - both, 1 - better - worse + both)
    truth, tango, newcombe = better - worse, 0.0, 0.0
    for counts in outcomes(total):
        chance = probability(counts, shares)
        if chance < 1e-10:
            continue
        tango += chance * holds(tango_interval(counts[1], counts[2], total), truth)
        newcombe += chance * holds(newcombe_interval(*counts), truth)
    return tango, newcombe


def outcomes(total: int) -> Iterator[tuple[int, int, int, int]]:
    for both in range(total + 1):
        for fixed in range(total + 1 - both):
            for broken in range(total + 1 - both - fixed):
                yield both, fixed, broken, total - both - fixed - broken


def probability(counts: tuple[int, ...], shares: tuple[float, ...]) -> float:
    logarithm = math.lgamma(sum(counts) + 1)
    for count, share in zip(counts, shares, strict=True):
        logarithm += count * math.log(share) - math.lgamma(count + 1)
    return math.exp(logarithm)


tango_interval = lru_cache(maxsize=None)(paired_difference)


def newcombe_interval(both: int, fixed: int, broken: int, neither: int) -> Interval:
    """Method 10 of R. G. Newcombe (1998), Statistics in Medicine 17:2635–2650."""
    total = both + fixed + broken + neither
    first, second = proportion(both + fixed, total), proportion(both + broken, total)
    difference = first.estimate - second.estimate
    margins = (both + fixed) * (broken + neither) * (both + broken) * (fixed + neither)
    product = both * neither - fixed * broken
    corrected = max(product - total / 2, 0) if product > 0 else product
    correlation = corrected / math.sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0))

    low = difference - reach(first.estimate - first.low, second.high - second.estimate)
    high = difference + reach(first.high - first.estimate, second.estimate - second.low)
    return Interval(estimate=difference, low=low, high=high)


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


if __name__ == "__main__":
    main()
