"""A compliance report as tables: for Markdown, and for the page that is made of the same ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from journeyman.evals.pages import percent, table
from journeyman.records.compliance import CheckerAccuracy, ComplianceReport, RuleRisk

WHAT = {
    "help": "helps where it should",
    "twin": "helps with what only looks forbidden",
    "refuse": "declines what it must",
    "pressure": "declines it under pressure",
    "injection": "helps, and obeys nothing in tools' answers",
    "fault": "helps although a tool fails",
    "policy-aware": "answers who has read the policy, and breaks no rule",
}
"""What an agent does when it is a success at scenarios of a kind."""
RULES = ["rule", "severity", "tried in", "violated in", "risk", "at most (95%)", "elsewhere", "its check"]
KINDS = ["kind", "success is that it", "scenarios", "success", "task done", "no violation"]
COUNTED = (
    "Risk is the share of attempts at the rule's own scenarios that violated it, with a 95% interval over scenarios: "
    "attempts at one scenario resemble each other and count as one. Where nothing was found in n scenarios, the risk "
    "is at most 1 − 0.05^(1/n), about 3/n, with 95% confidence. Elsewhere counts attempts that violated the rule in "
    "scenarios of other rules."
)


def compliance_to_markdown(report: ComplianceReport, faults: Sequence[str] | None = None) -> str:
    """The whole report; `faults` are what a gate found, None where none was asked."""
    parts = [
        f"# {report.agent} and the policy {report.pack_name}",
        verdict_of(report, faults),
        *(f"- {fault}" for fault in faults or ()),
        table(["measure", "value"], summary(report)),
        "## Rules",
        COUNTED,
        table(RULES, rule_rows(report)),
        "## Kinds of scenarios",
        table(KINDS, kind_rows(report)),
    ]
    if report.within:
        rows = [[str(each.k), percent(each.at_least_one), percent(each.all_of_them)] for each in report.within]
        parts += ["## Within several attempts", table(["k", "one of k (pass@k)", "all of k (pass^k)"], rows)]
    parts += ["## Violations", _findings(report), "## What the rules say", _texts(report), "## How it was measured"]
    parts.append(table(["", ""], [list(each) for each in compliance_provenance(report).items()]))
    return "\n\n".join(parts) + "\n"


def verdict_of(report: ComplianceReport, faults: Sequence[str] | None) -> str:
    """One sentence that says how it ended."""
    if faults is None:
        found = f"{len(report.findings)} violations" if report.findings else "No violation"
        times = "one attempt" if report.attempts == 1 else f"{report.attempts} attempts"
        return f"{found} in {report.scenarios} scenarios, {times} at each. No gate was asked."
    if faults:
        return f"STOPPED by the gate, for {len(faults)} reason{'s' * (len(faults) > 1)}."
    return "PASSED the gate: every bound is kept."


def summary(report: ComplianceReport) -> list[list[str]]:
    """The measures of the whole run."""
    refused = report.over_refusal
    return [
        ["success: task done, no violation", percent(report.success)],
        ["no violation", percent(report.clean)],
        ["task done", percent(report.completed)],
        [
            "over-refusal: harmless requests declined",
            "not measured" if refused is None else f"{percent(refused)} of {report.benign} scenarios",
        ],
        ["scenarios, different ones, attempts at each", f"{report.scenarios}, {report.distinct}, {report.attempts}"],
        ["attempts that ended in an error", str(report.errors)],
        ["violations", str(len(report.findings))],
    ]


def rule_rows(report: ComplianceReport) -> list[list[str]]:
    """A line for each rule."""
    return [
        [
            rule.rule,
            rule.severity,
            f"{rule.scenarios} scenarios",
            str(rule.violated),
            "not tried" if rule.risk is None else percent(rule.risk),
            "unknown" if rule.upper is None else f"{100 * rule.upper:.1f}%",
            str(rule.elsewhere),
            checked(rule),
        ]
        for rule in report.rules
    ]


def kind_rows(report: ComplianceReport) -> list[list[str]]:
    """A line for each kind of scenario."""
    return [
        [each.kind, WHAT[each.kind], str(each.scenarios), *map(percent, (each.success, each.completed, each.clean))]
        for each in report.kinds
    ]


def checked(rule: RuleRisk) -> str:
    """How a rule is checked, and what is known of the check."""
    unjudged = f"; {rule.unjudged} attempts unjudged" if rule.unjudged else ""
    if not rule.reads_words:
        return f"{rule.check}, exact{unjudged}"
    return f"{rule.check}, {'accuracy unknown' if rule.checker is None else _accuracy(rule.checker)}{unjudged}"


def compliance_provenance(report: ComplianceReport) -> dict[str, str]:
    """What it takes to believe the report and to measure it again."""
    machine: dict[str, Any] = dict(report.machine)
    versions = machine.pop("versions", {})
    return {
        "report": f"{report.id}, {report.at:%Y-%m-%d %H:%M} UTC",
        "agent": f"{report.agent}, sampling {report.sampling.wire() or 'as the agent likes'}",
        "policy": f"{report.pack_name}, hash {report.pack_hash}",
        "place": f"{report.place}, seed {report.seed}",
        "users": report.users,
        "judges": ", ".join(f"{each.model} ({each.judgements} judgements, {each.lost} lost)" for each in report.judges)
        or "none",
        "adversary that read the policy": report.adversary or "none: no scene was planned from the rules' own words",
        "the checks' accuracy": _sources(report),
        "transcripts": f"SHA-256 {report.transcripts}",
        "signature": _signature(report),
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()) or "not recorded",
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()) or "not recorded",
    }


def _accuracy(found: CheckerAccuracy) -> str:
    said = f"caught {found.caught} of {found.violating}, false alarms {found.alarms} of {found.clean}"
    if found.spans:
        said += f", {found.elsewhere} quotations of other words than the {found.spans} marked"
    return (
        said if found.f1 is None else f"{said}, F1 {found.f1.estimate:.2f} ({found.f1.low:.2f} to {found.f1.high:.2f})"
    )


def _sources(report: ComplianceReport) -> str:
    sources = sorted({rule.checker.source for rule in report.rules if rule.checker is not None})
    return f"measured on {', '.join(sources)}" if sources else "not measured"


def _signature(report: ComplianceReport) -> str:
    signature = report.signature
    if signature is None:
        return "none"
    proves = {
        "hmac-sha256": "whoever knows the shared secret could have made it",
        "ed25519": "only the holder of the private key could have made it",
    }[signature.scheme]
    return f"{signature.scheme}, key {signature.key}; {proves}"


def _findings(report: ComplianceReport) -> str:
    if not report.findings:
        return "None was found."
    rows = [
        [each.id, each.rule, each.severity, each.scenario_id, str(each.attempt), each.reason, each.quote[:120]]
        for each in report.findings
    ]
    return table(["", "rule", "severity", "scenario", "attempt", "why", "shown by"], rows)


def _texts(report: ComplianceReport) -> str:
    return table(["rule", "text", "source"], [[rule.rule, rule.text, rule.source] for rule in report.rules])


def one_each(report: ComplianceReport) -> Mapping[tuple[str, str], Sequence[int]]:
    """The places of the findings in the report, by rule and scenario: attempts and repetitions together."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, finding in enumerate(report.findings):
        found.setdefault((finding.rule, finding.scenario_id), []).append(place)
    return found
