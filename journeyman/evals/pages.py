"""Words and tables that every form of a report shares."""

from collections.abc import Iterable, Sequence
from typing import Any

from journeyman.evals.verdicts import detectable
from journeyman.records import EvalReport, Interval, ModelReport, PairedDifference
from journeyman.records.evaluation import JudgeUse, VersusReport
from journeyman.statistics import proportion


def percent(interval: Interval) -> str:
    """A rate with its interval."""
    return f"{100 * interval.estimate:.1f}% ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def points(interval: Interval) -> str:
    """A difference of rates with its interval, in percentage points."""
    return f"{100 * interval.estimate:+.1f} points ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def money(interval: Interval | None, mean: float | None) -> str:
    """US dollars for 1,000 cases, with the interval where there is one."""
    if mean is None:
        return "unknown"
    digits = 2 if mean >= 0.1 else 4
    told = f"${mean:,.{digits}f}"
    return told if interval is None else f"{told} ({interval.low:,.{digits}f} to {interval.high:,.{digits}f})"


def seconds(value: float | None, interval: Interval | None = None) -> str:
    """A duration, with the interval where there is one."""
    if value is None:
        return "none"
    return f"{value:.2f} s" + (f" ({interval.low:.2f} to {interval.high:.2f})" if interval else "")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(map(cell, header))} |", f"|{'|'.join(' --- ' for _ in header)}|"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text that stays inside its cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def shows_from(difference: PairedDifference, cases: int) -> str:
    """From which difference on these cases reliably show one."""
    if difference.anytime:
        return "stops when known"
    return f"{100 * detectable(difference, cases):.1f} points"


def within_rows(models: Sequence[ModelReport]) -> list[list[str]]:
    """pass@k and pass^k of each model, a line for each k."""
    return [
        [model.model, str(each.k), percent(each.at_least_one), percent(each.all_of_them)]
        for model in models
        for each in model.within
    ]


def people_rows(models: Sequence[ModelReport]) -> list[list[str]]:
    """What people would have found of each model that they labelled enough of."""
    return [
        [
            model.model,
            percent(model.success),
            percent(model.people.success),
            str(model.people.labels),
            percent(proportion(model.people.agreed, model.people.labels)),
        ]
        for model in models
        if model.people
    ]


WITHIN = ["model", "k", "at least one of k (pass@k)", "all of k (pass^k)"]
PEOPLE = ["model", "the judge's rate", "corrected by people", "labels", "judge agreed"]
PEOPLE_TOLD = (
    "The judge's own rate is biased by what the judge gets wrong. People labelled a random part of the cases; that "
    "corrects the rest (prediction-powered inference, PPI++)."
)


def provenance(report: EvalReport | VersusReport) -> dict[str, str]:
    """What it takes to believe a report and to measure it again."""
    machine: dict[str, Any] = dict(report.machine)
    versions = machine.pop("versions", {})
    facts = {
        "report": f"{report.id}, {report.at:%Y-%m-%d %H:%M} UTC",
        "cases": f"suite {report.suite}, hash {report.suite_hash or 'not recorded'}, split {report.split}, "
        f"seed {report.seed}",
        "sampling": ", ".join(f"{name} {value}" for name, value in report.sampling.wire().items()) or "model defaults",
        "judge": _judge(report.judge),
        "latency": f"seconds per model call, {report.concurrency} conversations at a time",
        "prices": f"US dollars per 1,000 cases, as of {report.prices_as_of}" if report.prices_as_of else "none",
    }
    facts |= {f"price of {name}": told for name, told in report.prices.items()}
    if isinstance(report, EvalReport):
        if report.attempts > 1:
            facts["attempts"] = f"{report.attempts} at each case; success is the mean over cases of their share"
        if report.labelled_from is not None:
            facts["labels"] = f"hash {report.labels_hash}, of report {report.labelled_from}"
        facts |= _money_and_time(report)
    elif report.labelled_from is not None:
        facts["labels"] = f"hash {report.labels_hash}, of report {report.labelled_from}"
    if isinstance(report, VersusReport) and report.cost_usd is not None:
        facts["spent"] = f"${report.cost_usd:.4f} on the answers"
    facts["machine"] = ", ".join(f"{name} {value}" for name, value in machine.items()) or "not recorded"
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in versions.items()) or "not recorded"
    return facts


def warnings(report: EvalReport) -> list[str]:
    """What must be read before the numbers."""
    told = []
    if report.planned is not None:
        told.append(STOPPED.format(met=len(report.models[0].cases), planned=report.planned))
    if report.left:
        left = ", ".join(f"{count} cases of {model}" for model, count in report.left.items())
        told.append(f"The cost ceiling was reached; not measured: {left}.")
    if report.judge and report.judge.model in {model.model for model in report.models}:
        told.append(f"{report.judge.model} judged its own answers, too; judges prefer their own.")
    return told


STOPPED = (
    "Stopped as soon as it was known which is better, after {met} of {planned} cases in a random order. The interval "
    "of the difference holds however often it was looked at; it is wider than a plain one. All other intervals are "
    "plain ones."
)


def versus_notes(report: VersusReport) -> list[str]:
    """What must be read before the numbers of a head to head."""
    return [] if report.planned is None else [STOPPED.format(met=len(report.duels), planned=report.planned)]


def preferred_row(report: VersusReport) -> list[str]:
    """What people would have found head to head; empty where nobody labelled."""
    if report.people is None or report.net is None:
        return []
    people = report.people
    agreed = percent(proportion(people.agreed, people.labels))
    return [points(report.net), points(people.net), str(people.labels), agreed]


PREFERRED = ["the judge's wins − losses", "corrected by people", "labels", "judge agreed"]


def caveats(report: VersusReport) -> dict[str, str]:
    """What a reader must know before believing a judge: order, length, and what it could not judge."""
    judged = report.wins + report.ties + report.losses
    told = {
        "orders that disagreed": f"{report.disagreements} of {judged} pairs, counted as ties",
        "unjudged": f"{report.unjudged} pairs, left out of every number",
    }
    if report.planned is None:
        told["p"] = f"{report.p:.3g} (McNemar, wins against losses)"
    if report.first_place is not None:
        told["answer shown first won"] = (
            f"{percent(report.first_place)} of the decided verdicts; far from 50%, the judge goes by the order"
        )
    lengths = [sum(duel.lengths[side] for duel in report.duels) / max(1, len(report.duels)) for side in (0, 1)]
    told["mean length"] = f"{lengths[0]:,.0f} and {lengths[1]:,.0f} characters"
    if report.equal_length is None:
        told["at equal length"] = "not said: that takes twenty judged pairs"
    else:
        share = (report.wins + report.ties / 2) / judged
        told["at equal length"] = (
            f"{percent(report.equal_length)} would be won, ties counted half, by a regression on the lengths; as the "
            f"answers are, it is {100 * share:.1f}%. If the two differ much, it is length that wins"
        )
    return told


def _money_and_time(report: EvalReport) -> dict[str, str]:
    facts = {}
    if report.spent_usd is not None:
        ceiling = "" if report.ceiling_usd is None else f" of at most ${report.ceiling_usd:g}"
        facts["spent"] = f"${report.spent_usd:.4f}{ceiling}"
    if report.left:
        left = ", ".join(f"{model}: {count}" for model, count in report.left.items())
        facts["left by the ceiling"] = f"cases not measured: {left}; the report is about those that every model met"
    retried = {model.model: model.retries for model in report.models if model.retries}
    facts["retries"] = ", ".join(f"{model}: {count}" for model, count in retried.items()) or "none"
    if report.resumed:
        judged = "; the judge's numbers are those of the last run" if report.judge else ""
        facts["resumed"] = f"{report.resumed} cases come from an interrupted run of the same evaluation{judged}"
    return facts


def _judge(judge: JudgeUse | None) -> str:
    if judge is None:
        return "none; cases were checked without one"
    read = judge.answers - judge.unreadable
    share = f"{100 * read / judge.answers:.1f}%" if judge.answers else "none"
    cost = "" if judge.cost_usd is None else f", ${judge.cost_usd:.4f}"
    return (
        f"{judge.model}, rubric {', '.join(judge.rubrics) or 'none'}; {judge.judgements} judgements, "
        f"{read} of {judge.answers} answers could be read ({share}), {judge.lost} judgements lost{cost}"
    )
