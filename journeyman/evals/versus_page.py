"""A head-to-head report as one HTML page that needs nothing else."""

from collections.abc import Mapping
from html import escape

from journeyman.evals.html import LEGEND, conversation, html_table, page, provenance_section, slice_whisker
from journeyman.evals.journal import Finished
from journeyman.evals.pages import (
    PEOPLE_TOLD,
    PREFERRED,
    caveats,
    points,
    preferred_row,
    provenance,
    versus_notes,
)
from journeyman.evals.slices import names_of
from journeyman.evals.svg import Whisker, bars, forest
from journeyman.evals.verdicts import versus_verdict
from journeyman.records.evaluation import Duel, VersusReport

MOST_DUELS = 200
"""Duels shown; how many more there are is said."""


def versus_to_html(report: VersusReport, transcripts: Mapping[tuple[str, str], Finished]) -> str:
    """The report as a page, with both conversations of each duel where `transcripts` holds them."""
    judged = report.wins + report.ties + report.losses
    net = "none" if report.net is None else points(report.net)
    rows = [[str(report.wins), str(report.ties), str(report.losses), net, versus_verdict(report)]]
    parts = [
        f'<p class="faint">{judged} judged {escape(report.split)} cases. Each pair was judged in both orders; where '
        "the orders disagree, it is a tie. Intervals are 95%.</p>",
        *(f"<p><strong>Note:</strong> {escape(each)}</p>" for each in versus_notes(report)),
        html_table(["wins", "ties", "losses", "wins − losses", "verdict"], rows),
        bars(_bars(report), f"{report.model} against {report.opponent}"),
        *_forest(report),
        *_people(report),
        "<h2>What to know before believing it</h2>",
        html_table(["", ""], caveats(report).items()),
        "<h2>Duels</h2>",
        *(_duel(duel, report, transcripts) for duel in sorted(report.duels, key=_order)[:MOST_DUELS]),
    ]
    if len(report.duels) > MOST_DUELS:
        parts.append(f"<p>And {len(report.duels) - MOST_DUELS} more, which the JSON file lists.</p>")
    title = f"{report.suite}: {report.model} versus {report.opponent}"
    return page(title, [*parts, *provenance_section(provenance(report))])


def _people(report: VersusReport) -> list[str]:
    row = preferred_row(report)
    if not row:
        return []
    told = f'<p class="faint">{escape(PEOPLE_TOLD)}</p>'
    return ["<h2>What people would have found</h2>", told, html_table(PREFERRED, [row])]


def _bars(report: VersusReport) -> list[tuple[str, int, int, int]]:
    found: dict[str, list[int]] = {}
    for duel in report.duels:
        for name in ("all cases", *sorted(names_of(duel.kind, duel.tags))):
            if duel.won is not None:
                found.setdefault(name, [0, 0, 0])[1 - duel.won] += 1
    whole = sum(found.get("all cases", ()))
    return [
        (name, *counts)  # type: ignore[misc]
        for name, counts in sorted(found.items())
        if name == "all cases" or sum(counts) < whole
    ] or [("nothing judged", 0, 0, 0)]


def _forest(report: VersusReport) -> list[str]:
    if report.net is None:
        return []
    tone = {"better": "good", "worse": "bad"}.get(versus_verdict(report), "even")
    judged = report.wins + report.ties + report.losses
    rows = [Whisker("all cases", report.net, tone, f"n {judged}"), *map(slice_whisker, report.slices)]
    return [LEGEND, forest(rows, "wins minus losses, percentage points of the cases")]


def _order(duel: Duel) -> tuple[int, str]:
    """Losses first: that is what a reader looks for."""
    return (2 if duel.won is None else duel.won, duel.scenario_id)


def _duel(duel: Duel, report: VersusReport, transcripts: Mapping[tuple[str, str], Finished]) -> str:
    word, tone = {1: ("won", "good"), 0: ("tied", "even"), -1: ("lost", "bad"), None: ("unjudged", "even")}[duel.won]
    sides = "".join(
        conversation(transcripts.get((name, duel.scenario_id)), name, f"{length:,} characters")
        for name, length in zip((report.model, report.opponent), duel.lengths, strict=True)
    )
    return (
        f'<details><summary><span class="tone-{tone}">{word}</span> {escape(duel.scenario_id)} '
        f'<span class="faint">{escape(duel.reason[:160])}</span></summary><p>{escape(duel.error or duel.reason)}</p>'
        f'<div class="beside">{sides}</div></details>'
    )
