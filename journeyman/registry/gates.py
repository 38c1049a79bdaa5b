"""The gate in front of a promotion: measured better on the same held-out cases, beyond doubt."""

from dataclasses import dataclass

from journeyman.errors import NotFound
from journeyman.records import EvalReport, ModelReport
from journeyman.statistics import compare

HELD_OUT = "held-out"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a gate lets the candidate through; `reason` says what was measured, and what would satisfy the gate."""

    passed: bool
    reason: str


def better_than(report: EvalReport, candidate: str, incumbent: str) -> Verdict:
    """Pass only when the 95% interval of the paired difference lies above 0, on cases that nobody trained on.

    The difference is counted anew from the report's cases, so any two of its models can be compared. Cases that the
    incumbent lost to an error count in its favour: an outage is no evidence that the candidate is better.
    """
    after, before = _measured(report, candidate), _measured(report, incumbent)
    difference = compare(after, _errors_forgiven(before))
    interval = difference.difference
    measured = (
        f"report {report.id} ({report.suite}, {len(after.cases)} {report.split} cases) measured {candidate} at "
        f"{100 * interval.estimate:+.1f} points against {incumbent}, 95% interval {100 * interval.low:+.1f} to "
        f"{100 * interval.high:+.1f}, {difference.fixed} cases fixed and {difference.broken} broken"
    )
    if before.errors:
        measured += f" ({before.errors} that {incumbent} lost to errors are counted in its favour)"
    if report.split != HELD_OUT:
        return Verdict(False, f"{measured}; but only {HELD_OUT} cases count: evaluate on that split")
    if interval.low > 0:
        return Verdict(True, measured)
    advice = "train a better one" if interval.high < 0 else "evaluate on more cases, or train a better one"
    return Verdict(False, f"{measured}; the gate passes only an interval wholly above 0: {advice}")


def _measured(report: EvalReport, model: str) -> ModelReport:
    for measured in report.models:
        if measured.model == model:
            return measured
    raise NotFound("model in this report", model, (measured.model for measured in report.models))


def _errors_forgiven(model: ModelReport) -> ModelReport:
    cases = tuple(case.model_copy(update={"success": case.success or case.error is not None}) for case in model.cases)
    return model.model_copy(update={"cases": cases})
