"""What each gate says of a candidate: measured better on the same held-out cases, beyond doubt, and within bounds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from journeyman.errors import InvalidInput, NotFound
from journeyman.records import EvalReport, GateVerdict, ModelReport, now
from journeyman.registry.evidence import Evidence, find_measured, meant, measured_in, read_report
from journeyman.registry.gates import Compliance, Cost, Gain, Gates, Judge, Latency, Protected
from journeyman.registry.policy import Policy, faults_of, read_compliance, told
from journeyman.rewards.card import find_card
from journeyman.statistics import compare, compare_anytime
from journeyman.store.store import Store

HELD_OUT = "held-out"
MOST_NAMED = 5
"""Cases that a reason names one by one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a gate lets the candidate through; `reason` says what was measured, and what would satisfy the gate."""

    passed: bool
    reason: str


def examine(store: Store, gates: Gates, target: str, evidence: Evidence) -> tuple[GateVerdict, ...]:
    """Every gate's verdict on `target`, in the order of the file; a gate that cannot be judged has not passed."""
    return tuple(
        GateVerdict(gate=gate, target=target, passed=verdict.passed, reason=verdict.reason)
        for gate, verdict in _verdicts(store, gates, target, evidence)
    )


def better_than(report: EvalReport, candidate: str, incumbent: str, gate: Gain = Gain()) -> Verdict:
    """Pass only when the 95% interval of the paired difference lies above the margin, on cases nobody trained on.

    The difference is counted anew from the report's cases, so any two of its models can be compared. Cases that the
    incumbent lost to an error count in its favour: an outage is no evidence that the candidate is better.
    """
    after, before = _measured(report, candidate), _measured(report, incumbent)
    # An evaluation that stopped when it knew was looked at all the time: only a sequence's interval holds then.
    compared = compare if report.planned is None else compare_anytime
    difference = compared(after, _errors_forgiven(before))
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
    if len(after.cases) < gate.min_cases:
        return Verdict(False, f"{measured}; the gate asks for at least {gate.min_cases} cases: evaluate on more")
    if interval.low > gate.margin:
        return Verdict(True, measured)
    margin = f"{100 * gate.margin:+.1f} points" if gate.margin else "0"
    advice = "train a better one" if interval.high < gate.margin else "evaluate on more cases, or train a better one"
    return Verdict(False, f"{measured}; the gate passes only an interval wholly above {margin}: {advice}")


def none_lost(report: EvalReport, candidate: str, incumbent: str, gate: Protected) -> Verdict:
    """Pass only when the candidate solves each protected case that the incumbent solves, or lost to an error."""
    after = {case.scenario_id: case for case in _measured(report, candidate).cases}
    before = {case.scenario_id: case for case in _errors_forgiven(_measured(report, incumbent)).cases}
    kinds = {case.kind for case in before.values()}
    absent = [f"kind {kind}" for kind in gate.kinds if kind not in kinds]
    absent += [f"case {case}" for case in gate.cases if case not in before]
    if absent:
        return Verdict(False, f"report {report.id} has no {', no '.join(absent)}, which is protected: evaluate with it")
    guarded = [id for id, case in before.items() if case.kind in gate.kinds or id in gate.cases]
    lost = [id for id in guarded if before[id].success and not (id in after and after[id].success)]
    if lost:
        named = ", ".join(lost[:MOST_NAMED]) + (f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else "")
        return Verdict(
            False, f"report {report.id}: {candidate} lost {len(lost)} of {len(guarded)} protected cases: {named}"
        )
    return Verdict(True, f"report {report.id}: none of {len(guarded)} protected cases was lost")


def cheap_enough(report: EvalReport, candidate: str, incumbent: str, gate: Cost) -> Verdict:
    """Pass only when 1,000 conversations cost no more than the bounds; an unknown cost does not pass."""
    after, before = (_measured(report, name).cost_usd_per_thousand for name in (candidate, incumbent))
    said = f"report {report.id}: 1,000 conversations cost {_dollars(after)}, {_dollars(before)} with {incumbent}"
    return _within(said, after, before, gate.max_usd_per_thousand, gate.max_increase, _dollars)


def fast_enough(report: EvalReport, candidate: str, incumbent: str, gate: Latency) -> Verdict:
    """Pass only when the 95th percentile of a call's latency is within the bounds; an unknown one does not pass."""
    after, before = (_measured(report, name).latency_p95 for name in (candidate, incumbent))
    said = f"report {report.id}: a call's 95th percentile is {_seconds(after)}, {_seconds(before)} with {incumbent}"
    return _within(said, after, before, gate.max_p95_seconds, gate.max_increase, _seconds)


def complies(store: Store, target: str, gate: Compliance) -> Verdict:
    """Pass only when every case of the compliance suite succeeded with this very target, recently enough."""
    if gate.report is not None:
        try:
            report = read_report(gate.report)
        except InvalidInput as error:
            return Verdict(False, str(error))
        measured = measured_in(store, target, report)
        if measured is None:
            return Verdict(False, f"the compliance report {gate.report} did not measure {target}: evaluate it anew")
    else:
        found = find_measured(store, target, str(gate.suite))
        if found is None:
            return Verdict(False, f"no report of the compliance suite {gate.suite} has measured {target}: evaluate it")
        report, measured = found
    failed = [case.scenario_id for case in measured.cases if not case.success]
    solved = f"compliance report {report.id} ({report.suite}): {len(measured.cases) - len(failed)} of "
    solved += f"{len(measured.cases)} cases succeeded"
    age = (now() - report.at).total_seconds() / 86_400
    if gate.max_age_days is not None and age > gate.max_age_days:
        return Verdict(False, f"{solved}, but it is {age:.1f} days old and may be {gate.max_age_days:g}: evaluate anew")
    if failed or not measured.cases:
        return Verdict(False, f"{solved}; all must. Not: {', '.join(failed[:MOST_NAMED]) or 'there are none'}")
    return Verdict(True, solved)


def keeps_policy(store: Store, target: str, gate: Policy) -> Verdict:
    """Pass only when the compliance report is about this very target and keeps within every bound."""
    try:
        report = read_compliance(gate.report)
    except InvalidInput as error:
        return Verdict(False, str(error))
    faults = faults_of(report, gate)
    if meant(store, report.agent, report) != target:
        faults.insert(0, f"it tried {report.agent}, not {target}")
    return Verdict(not faults, "; ".join([told(report), *faults]))


def judged_soundly(store: Store, report: EvalReport, gate: Judge) -> Verdict:
    """Pass only when each rubric that the report's judge went by has a card of that judge, good and recent enough.

    A card is found by the rubric's hash, so that an edited rubric has none until the judge is measured again.
    """
    if report.judge is None:
        return Verdict(
            False,
            f"report {report.id} holds no verdicts of a judge, so the card {gate.card!r} says nothing of it; take the "
            "[judge] table out of the gates, or evaluate cases that a judge grades",
        )
    said = []
    for rubric in report.judge.rubrics:
        card = find_card(store, report.judge.model, rubric, name=gate.card)
        if card is None:
            return Verdict(
                False,
                f"no card {gate.card!r} of the judge {report.judge.model} under rubric {rubric}: what is unmeasured "
                "does not pass, and an edited rubric is another one. Measure it with `journeyman judge card`",
            )
        found, age = card.accuracy, (now() - card.at).total_seconds() / 86_400
        measured = (
            f"card {card.id} ({card.task}, {card.groups} groups): {card.judge} orders {100 * found.estimate:.1f}% of "
            f"pairs rightly, 95% interval {100 * found.low:.1f} to {100 * found.high:.1f}, {age:.1f} days ago"
        )
        if found.low <= gate.min_accuracy:
            return Verdict(False, f"{measured}; the gate asks for more than {100 * gate.min_accuracy:.1f}%")
        if gate.max_age_days is not None and age > gate.max_age_days:
            return Verdict(False, f"{measured}, and it may be {gate.max_age_days:g}: measure the judge again")
        said.append(measured)
    return Verdict(True, "; ".join(said))


def _verdicts(store: Store, gates: Gates, target: str, evidence: Evidence) -> Iterator[tuple[str, Verdict]]:
    compared = (evidence.report, evidence.candidate, evidence.incumbent)
    try:
        yield "gain", better_than(*compared, gates.gain)
    except InvalidInput as error:
        yield "gain", Verdict(False, f"report {evidence.report.id}: {error}")
    if gates.protected:
        yield "protected", none_lost(*compared, gates.protected)
    if gates.cost:
        yield "cost", cheap_enough(*compared, gates.cost)
    if gates.latency:
        yield "latency", fast_enough(*compared, gates.latency)
    if gates.compliance:
        yield "compliance", complies(store, target, gates.compliance)
    if gates.policy:
        yield "policy", keeps_policy(store, target, gates.policy)
    if gates.judge:
        yield "judge", judged_soundly(store, evidence.report, gates.judge)


def _within(
    said: str,
    after: float | None,
    before: float | None,
    most: float | None,
    increase: float | None,
    shown: Callable[[float | None], str],
) -> Verdict:
    bounds = [] if most is None else [most]
    if increase is not None and before is not None:
        bounds.append(before * (1 + increase))
    if after is None or (increase is not None and before is None):
        return Verdict(False, f"{said}; what is not known is not within a bound: give a price, or measure it again")
    if after > min(bounds):
        return Verdict(False, f"{said}; the bound is {shown(min(bounds))}")
    return Verdict(True, f"{said}; the bound is {shown(min(bounds))}")


def _measured(report: EvalReport, model: str) -> ModelReport:
    for measured in report.models:
        if measured.model == model:
            return measured
    raise NotFound("model in this report", model, (measured.model for measured in report.models))


def _errors_forgiven(model: ModelReport) -> ModelReport:
    forgiven = {"success": True, "successes": None, "attempts": 1}
    cases = tuple(case if case.error is None else case.model_copy(update=forgiven) for case in model.cases)
    return model.model_copy(update={"cases": cases})


def _dollars(amount: float | None) -> str:
    return "an unknown sum" if amount is None else f"${amount:,.4g}"


def _seconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:.2f} s"
