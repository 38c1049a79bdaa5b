"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from journeyman.evals.journal import Finished, attempt_key
from journeyman.evals.pages import (
    PEOPLE,
    PEOPLE_TOLD,
    WITHIN,
    money,
    people_rows,
    percent,
    points,
    provenance,
    seconds,
    shows_from,
    warnings,
    within_rows,
)
from journeyman.evals.svg import Spot, Whisker, forest, scatter
from journeyman.evals.verdicts import slice_verdict, verdict
from journeyman.records import CaseResult, EvalReport, ModelReport, PairedDifference
from journeyman.records.evaluation import SliceDifference
from journeyman.rewards.judge import said

MOST_FLIPS = 100
"""Cases shown in either direction for each pair of models; how many more there are is said."""

_WHOLE = 36
"""Characters that a cell keeps in one line."""

LEGEND = (
    '<p class="faint">Blue is better, orange is worse; grey is what cannot be told apart, or what these cases are too '
    "few to rank. Slices are corrected for their number (Benjamini and Hochberg).</p>"
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #5b6675; --line: #d9dee5; --paper: #fff; --panel: #f5f7fa;
  --good: #1f6feb; --bad: #d9650b; --even: #8a94a3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --faint: #9aa5b4; --line: #333c48; --paper: #14181e;
  --panel: #1c222b; --good: #58a0ff; --bad: #f0883e; --even: #7d8795; } }
body { margin: 2rem auto; max-width: 68rem; padding: 0 1.25rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.faint, td.faint, .faint { color: var(--faint); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--faint); }
td.fact, td.whole { white-space: nowrap; } td.fact { color: var(--faint); }
.wide { overflow-x: auto; }
.warn { border-left: 4px solid var(--bad); background: var(--panel); padding: .6rem 1rem; }
svg { width: 100%; min-width: 42rem; height: auto; margin: .6rem 0; font: 12.5px system-ui, sans-serif; }
svg .ink { fill: var(--ink); } svg .faint { fill: var(--faint); } svg .inside { fill: #fff; font-weight: 600; }
svg .line { stroke: var(--line); } svg .axis { stroke: var(--faint); stroke-width: 1.5; }
svg .whisker { stroke-width: 2; } svg .front { fill: none; stroke: var(--good); stroke-dasharray: 4 4; }
svg .good { stroke: var(--good); } svg .bad { stroke: var(--bad); } svg .even { stroke: var(--even); }
svg .fill { stroke: none; }
svg .good.fill { fill: var(--good); } svg .bad.fill { fill: var(--bad); } svg .even.fill { fill: var(--even); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; } .tone-good { color: var(--good); } .tone-bad { color: var(--bad); }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.beside > div, .said { min-width: 0; } h4 { margin: .6rem 0 .2rem; font-size: .9rem; }
.said { background: var(--panel); border-radius: 6px; padding: .4rem .7rem; margin: .3rem 0; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .85rem; } .said b { color: var(--faint); font-weight: 600; }
.said.shown { border-left: 4px solid var(--bad); } .passed { border-left: 4px solid var(--good);
  background: var(--panel); padding: .6rem 1rem; } code { font-size: .85em; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page; the parts are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def to_html(report: EvalReport, transcripts: Mapping[tuple[str, str], Finished]) -> str:
    """The report as a page, with the flips' conversations where `transcripts` holds them."""
    cases = len(report.models[0].cases)
    parts = [
        f'<p class="faint">{len(report.models)} models on the same {cases} {escape(report.split)} cases. Every '
        "interval is a 95% confidence interval. A case that ended in an error counts as failed.</p>",
        *(f'<p class="warn">{escape(each)}</p>' for each in warnings(report)),
        _models(report.models),
    ]
    if people := people_rows(report.models):
        told = f'<p class="faint">{escape(PEOPLE_TOLD)}</p>'
        parts += ["<h2>What people would have found</h2>", told, html_table(PEOPLE, people)]
    if within := within_rows(report.models):
        parts += ["<h2>Within several attempts</h2>", html_table(WITHIN, within)]
    if report.differences:
        rows = [_difference_row(each, cases) for each in report.differences]
        parts += [
            "<h2>Differences</h2>",
            html_table(["model", "against", "difference", "smallest that shows", "fixed", "broken", "verdict"], rows),
            LEGEND,
            *_forests(report, cases),
        ]
    parts += [*_fronts(report.models), *_flips(report, transcripts), *provenance_section(provenance(report))]
    return page(f"{report.suite}: {', '.join(model.model for model in report.models)}", parts)


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: str) -> str:
    """A number stays in one line with its interval; what is longer may break."""
    kind = ' class="whole"' if len(value) <= _WHOLE else ""
    return f"<td{kind}>{escape(value)}</td>"


def provenance_section(facts: Mapping[str, str]) -> list[str]:
    """What it takes to measure it again."""
    rows = "".join(
        f'<tr><td class="fact">{escape(name)}</td><td>{escape(value)}</td></tr>' for name, value in facts.items()
    )
    return ["<h2>How it was measured</h2>", f'<div class="wide"><table><tbody>{rows}</tbody></table></div>']


def conversation(finished: Finished | None, name: str, reason: str) -> str:
    """One model's side of a case: what was said, and how it was judged."""
    said_ = [
        f'<div class="said"><b>{message.role}</b>\n{escape(said(message))}</div>'
        for message in (finished.messages if finished else ())
    ] or ['<p class="faint">the conversation was not kept</p>']
    return f'<div><h4>{escape(name)}</h4>{"".join(said_)}<p class="faint">{escape(reason)}</p></div>'


def slice_whisker(each: SliceDifference) -> Whisker:
    """A slice as a line of a forest plot, coloured only where the correction leaves a finding."""
    tone = {"better": "good", "worse": "bad"}.get(slice_verdict(each), "even")
    return Whisker(each.slice, each.difference, tone, f"n {each.cases}, corrected p {each.adjusted_p:.2g}")


def _models(models: Sequence[ModelReport]) -> str:
    header = ["model", "success", "errors", "turns", "prompt tokens", "reply tokens", "cost per 1,000", "mean latency"]
    rows = [
        [
            model.model,
            percent(model.success),
            str(model.errors),
            f"{model.turns:.1f}",
            f"{model.prompt_tokens:,.0f}",
            f"{model.completion_tokens:,.0f}",
            money(model.cost, model.cost_usd_per_thousand),
            seconds(model.latency.estimate if model.latency else None, model.latency),
        ]
        for model in models
    ]
    return html_table(header, rows)


def _difference_row(each: PairedDifference, cases: int) -> list[str]:
    told = points(each.difference)
    fixed, broken = str(each.fixed), str(each.broken)
    return [each.model, each.baseline, told, shows_from(each, cases), fixed, broken, verdict(each, cases)]


def _forests(report: EvalReport, cases: int) -> list[str]:
    """A forest plot for each pair: all cases, then its slices."""
    plots = []
    for each in report.differences:
        tone = {"better": "good", "worse": "bad"}.get(verdict(each, cases), "even")
        rows = [Whisker("all cases", each.difference, tone, f"n {cases}")]
        rows += [
            slice_whisker(part) for part in report.slices if (part.model, part.baseline) == (each.model, each.baseline)
        ]
        plots.append(forest(rows, f"{each.model} minus {each.baseline}, percentage points"))
    return plots


def _fronts(models: Sequence[ModelReport]) -> list[str]:
    parts = []
    by_cost = [Spot(model.model, model.cost, model.success) for model in models if model.cost]
    by_time = [Spot(model.model, model.latency, model.success) for model in models if model.latency]
    if by_cost:
        parts.append(scatter(by_cost, "Success and cost", "US dollars per 1,000 cases", "${}"))
    if by_time:
        parts.append(scatter(by_time, "Success and latency", "mean seconds per model call", "{} s"))
    missing = [model.model for model in models if not model.cost]
    if parts and missing:
        parts.append(
            f'<p class="faint">Without a price, or with too few cases for an interval: {escape(", ".join(missing))}</p>'
        )
    note = (
        '<p class="faint">The dashed line is the front by the estimates: no other model is both better and cheaper.</p>'
    )
    return ["<h2>What quality costs</h2>", note, *parts] if parts else []


def _flips(report: EvalReport, transcripts: Mapping[tuple[str, str], Finished]) -> list[str]:
    results = {model.model: {case.scenario_id: case for case in model.cases} for model in report.models}
    parts = []
    for each in report.differences:
        before, after = results[each.baseline], results[each.model]
        for name, tone, sign in (("Broken", "bad", -1), ("Fixed", "good", 1)):
            flipped = [id for id in after if sign * (after[id].rate - before[id].rate) > 0]
            heading = f"{name} by {each.model}, against {each.baseline}: {len(flipped)}"
            parts.append(f'<h3 class="tone-{tone}">{escape(heading)}</h3>')
            for id in flipped[:MOST_FLIPS]:
                sides = ((each.baseline, before[id]), (each.model, after[id]))
                parts.append(_flip(id, sides, transcripts))
            if len(flipped) > MOST_FLIPS:
                parts.append(f"<p>And {len(flipped) - MOST_FLIPS} more, which the JSON file lists.</p>")
    return ["<h2>Cases that changed</h2>", *parts] if parts else []


def _flip(id: str, sides: Sequence[tuple[str, CaseResult]], transcripts: Mapping[tuple[str, str], Finished]) -> str:
    shown = "".join(
        conversation(transcripts.get((name, attempt_key(id, case.attempt))), name, case.reason) for name, case in sides
    )
    case = sides[0][1]
    told = escape(", ".join([case.kind, *case.tags]))
    if case.attempts > 1:
        told += " · " + " → ".join(f"{each.successes} of {each.attempts}" for _, each in sides)
    return (
        f'<details><summary>{escape(id)} <span class="faint">{told}</span></summary>'
        f'<div class="beside">{shown}</div></details>'
    )
