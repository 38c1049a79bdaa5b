"""What may be said of a difference: a ranking only where the cases were enough to show one of that size."""

from journeyman.records import Interval, PairedDifference
from journeyman.records.evaluation import SliceDifference, VersusReport
from journeyman.statistics import detectable_difference, excludes_zero

FALSE_DISCOVERIES = 0.05
"""The share of false discoveries among the slices that are called better or worse."""


def smallest_detectable(fixed: int, broken: int, cases: int) -> float:
    """The smallest difference that so many cases show four times of five, at the disagreement that was seen."""
    # One disagreement more than seen: with none at all, the formula would promise that anything shows.
    return detectable_difference(cases, min(1.0, (fixed + broken + 1) / cases))


def detectable(difference: PairedDifference, cases: int) -> float:
    """The smallest difference that the cases show; reports of before it was kept have it computed."""
    if difference.detectable is not None:
        return difference.detectable
    return smallest_detectable(difference.fixed, difference.broken, cases)


def verdict(difference: PairedDifference, cases: int) -> str:
    """`better`, `worse`, or in words why neither is said."""
    interval = difference.difference
    if difference.anytime:
        return _said_anytime(interval)
    return _said(interval.estimate, interval.low, interval.high, detectable(difference, cases))


def versus_verdict(report: VersusReport) -> str:
    """The same for wins and losses head to head."""
    if report.net is None:
        return "not ranked: nothing was judged"
    if report.planned is not None:
        return _said_anytime(report.net)
    judged = report.wins + report.ties + report.losses
    return _said(
        report.net.estimate, report.net.low, report.net.high, smallest_detectable(report.wins, report.losses, judged)
    )


def slice_verdict(difference: SliceDifference) -> str:
    """Of a slice: after the correction for how many slices there are, and only if its cases can show as much."""
    if difference.adjusted_p > FALSE_DISCOVERIES:
        return "not distinguishable"
    smallest = detectable(difference, difference.cases)
    if abs(difference.difference.estimate) < smallest:
        return f"not ranked: too few cases, they reliably show only {100 * smallest:.1f} points"
    return "better" if difference.difference.estimate > 0 else "worse"


def _said_anytime(interval: Interval) -> str:
    """What a sequence excludes is excluded whenever it stopped: it has no number of cases to be planned for."""
    if not excludes_zero(interval):
        return "not distinguishable after all cases"
    return "better" if interval.estimate > 0 else "worse"


def _said(estimate: float, low: float, high: float, smallest: float) -> str:
    if low <= 0 <= high:
        return f"not distinguishable: these cases show differences from {100 * smallest:.1f} points on"
    if abs(estimate) < smallest:
        leaning = "better" if estimate > 0 else "worse"
        return (
            f"not ranked: it leans {leaning}, but these cases reliably show only differences from "
            f"{100 * smallest:.1f} points on"
        )
    return "better" if estimate > 0 else "worse"
