"""A compliance report as one HTML page that needs nothing else, and the files that go with it."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from journeyman.evals.compliance_report import (
    COUNTED,
    KINDS,
    RULES,
    compliance_provenance,
    compliance_to_markdown,
    kind_rows,
    one_each,
    rule_rows,
    summary,
    verdict_of,
)
from journeyman.evals.html import html_table, page, provenance_section
from journeyman.evals.pages import percent
from journeyman.evals.report import write_pages
from journeyman.evals.svg import Whisker, rates
from journeyman.records import Interval, Message
from journeyman.records.compliance import ComplianceReport, Finding
from journeyman.rewards.judge import said

MOST_SHOWN = 60
"""Pairs of a rule and a scenario whose conversation the page holds; how many more there are is said."""
Conversations = Mapping[tuple[str, int], Sequence[Message]]
"""By scenario and number of the attempt."""


def save_compliance(
    report: ComplianceReport,
    folder: Path,
    conversations: Conversations,
    transcripts: str,
    faults: Sequence[str] | None = None,
) -> Path:
    """Write the report into `folder`: JSON, Markdown, HTML, and the transcripts; the path of the JSON file."""
    name = f"{report.place}-{report.pack_name}-{report.id}"
    pages = {
        ".md": compliance_to_markdown(report, faults),
        ".json": report.model_dump_json(indent=2) + "\n",
        ".html": compliance_to_html(report, conversations, faults, f"{name}.json"),
        ".transcripts.jsonl": transcripts,
    }
    return write_pages(folder, name, pages, "Free some space and run it again")[1]


def compliance_to_html(
    report: ComplianceReport,
    conversations: Conversations,
    faults: Sequence[str] | None = None,
    file: str = "REPORT",
) -> str:
    """The report as a page; `faults` are what a gate found, None where none was asked."""
    tone = "faint" if faults is None else "warn" if faults else "passed"
    listed = "".join(f"<li>{escape(fault)}</li>" for fault in faults or ())
    listed = f"<ul>{listed}</ul>" if listed else ""
    parts = [
        f'<div class="{tone}"><b>{escape(verdict_of(report, faults))}</b>{listed}</div>',
        html_table(["measure", "value"], summary(report)),
        "<h2>Rules</h2>",
        f'<p class="faint">{escape(COUNTED)}</p>',
        *_risks(report),
        html_table(RULES, rule_rows(report)),
        "<h2>Kinds of scenarios</h2>",
        html_table(KINDS, kind_rows(report)),
    ]
    if report.within:
        rows = [[str(each.k), percent(each.at_least_one), percent(each.all_of_them)] for each in report.within]
        parts += ["<h2>Within several attempts</h2>", html_table(["k", "one of k (pass@k)", "all of k (pass^k)"], rows)]
    texts = [[rule.rule, rule.text, rule.source] for rule in report.rules]
    parts += [
        "<h2>Violations</h2>",
        *_violations(report, conversations, file),
        "<h2>What the rules say</h2>",
        html_table(["rule", "text", "source"], texts),
    ]
    return page(
        f"{report.agent} and the policy {report.pack_name}",
        [*parts, *provenance_section(compliance_provenance(report))],
    )


def _risks(report: ComplianceReport) -> list[str]:
    rows = []
    for rule in report.rules:
        if rule.risk is None or rule.upper is None:
            continue
        high = max(rule.risk.high, rule.upper) if rule.violated else rule.upper
        tone = "even" if not rule.violated else "bad"
        shown = Interval(estimate=rule.risk.estimate, low=rule.risk.low, high=high)
        rows.append(Whisker(rule.rule, shown, tone, f"{rule.violated} of {rule.scenarios}, {rule.severity}"))
    return [rates(rows, "Risk by rule: what was seen, and what it may be")] if rows else []


def _violations(report: ComplianceReport, conversations: Conversations, file: str) -> list[str]:
    together = one_each(report)
    if not together:
        return ["<p>None was found.</p>"]
    parts = [
        f'<p class="faint">Each can be played again: <code>journeyman comply replay {escape(file)} F1</code> gives the '
        "agent's recorded replies to a fresh episode and compares everything to the letter; with the agent's name it "
        "asks the agent itself. One conversation is shown of each scenario.</p>"
    ]
    for (rule, scenario), places in [*together.items()][:MOST_SHOWN]:
        finding = report.findings[places[0]]
        more = f", and {len(places) - 1} more in it" if len(places) > 1 else ""
        heading = (
            f'<b>{escape(finding.id)}</b> <span class="tone-bad">{escape(rule)}</span> '
            f'<span class="faint">{escape(f"{finding.severity} · {scenario} · attempt {finding.attempt}{more}")}</span>'
        )
        parts.append(f"<details><summary>{heading}</summary>{_shown(finding, conversations)}</details>")
    if len(together) > MOST_SHOWN:
        parts.append(f"<p>And {len(together) - MOST_SHOWN} more, which the JSON file lists.</p>")
    return parts


def _shown(finding: Finding, conversations: Conversations) -> str:
    """The conversation, with the message that shows the violation marked."""
    messages = conversations.get((finding.scenario_id, finding.attempt), ())
    lines = [
        f'<div class="said{" shown" if place == finding.message else ""}"><b>{message.role}</b>\n'
        f"{escape(said(message))}</div>"
        for place, message in enumerate(messages)
    ] or ['<p class="faint">the conversation was not kept</p>']
    quote = f" “{escape(finding.quote)}”" if finding.quote else ""
    return f'<p>{escape(finding.reason)}:{quote} <span class="faint">({escape(finding.by)})</span></p>{"".join(lines)}'
