"""Turns what was measured into pages that people read and files that programs read."""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

from journeyman.errors import DiskFull
from journeyman.evals.html import to_html
from journeyman.evals.journal import Finished
from journeyman.evals.junit import to_junit
from journeyman.evals.pages import (
    PEOPLE,
    PEOPLE_TOLD,
    PREFERRED,
    WITHIN,
    caveats,
    money,
    people_rows,
    percent,
    points,
    preferred_row,
    provenance,
    seconds,
    shows_from,
    table,
    versus_notes,
    warnings,
    within_rows,
)
from journeyman.evals.slices import by_slice
from journeyman.evals.summaries import success_rate
from journeyman.evals.verdicts import slice_verdict, verdict, versus_verdict
from journeyman.evals.versus_page import versus_to_html
from journeyman.records import CaseResult, Condition, EvalReport, Filter, ModelReport, PairedDifference
from journeyman.records.evaluation import SliceDifference, VersusReport
from journeyman.store.store import Store

Transcripts = Mapping[tuple[str, str], Finished]
"""By model and case."""


def save(report: EvalReport, store: Store, folder: Path, transcripts: Transcripts | None = None) -> tuple[Path, Path]:
    """Keep the report in the store, as evidence for promotions, and in `folder`: Markdown, JSON, JUnit XML and HTML.

    The paths of the Markdown and the JSON file are returned; the others differ in their ending only.
    """
    store.put(report)
    return write_pages(
        folder,
        f"{report.suite}-{report.id}",
        _pages(report, transcripts or {}),
        f"The store has kept the report as {report.id}; free some space and evaluate again to get the files",
    )


def rewrite(report: EvalReport, store: Store, folder: Path, transcripts: Transcripts) -> None:
    """Put the report in its own place, in the store and in `folder`, after what it said of some cases was erased."""
    write_pages(
        folder,
        f"{report.suite}-{report.id}",
        _pages(report, transcripts),
        "The transcripts are without the erased words; the pages are not: delete them",
    )
    store.forget(EvalReport, Filter(conditions=(Condition(field="id", operator="=", value=report.id),)))
    store.put(report)


def _pages(report: EvalReport, transcripts: Transcripts) -> dict[str, str]:
    return {
        ".md": to_markdown(report),
        ".json": report.model_dump_json(indent=2) + "\n",
        ".xml": to_junit(report),
        ".html": to_html(report, transcripts),
    }


def save_versus(
    report: VersusReport,
    folder: Path,
    transcripts: Transcripts | None = None,
    otherwise: str = "What was judged is kept; free some space and run the same command again",
) -> tuple[Path, Path]:
    """Write a head-to-head report into `folder`: Markdown, JSON and HTML; `otherwise` says what to do without space."""
    pages = {
        ".md": versus_to_markdown(report),
        ".json": report.model_dump_json(indent=2) + "\n",
        ".html": versus_to_html(report, transcripts or {}),
    }
    return write_pages(folder, f"{report.suite}-versus-{report.id}", pages, otherwise)


def to_markdown(report: EvalReport) -> str:
    """The whole report: success, paired differences, slices, and what it takes to measure it again."""
    cases = len(report.models[0].cases)
    parts = [
        f"# {report.suite}: {len(report.models)} models on the same {cases} {report.split} cases",
        "Every interval is a 95% confidence interval. A case that ended in an error counts as failed.",
        *(f"**Note:** {each}" for each in warnings(report)),
        table(
            ["model", "success", "errors", "turns", "prompt tokens", "reply tokens", "cost per 1,000", "latency p50",
             "p95", "mean latency"],
            map(_model_row, report.models),
        ),
    ]  # fmt: skip
    if people := people_rows(report.models):
        parts += ["## What people would have found", PEOPLE_TOLD, table(PEOPLE, people)]
    if within := within_rows(report.models):
        parts += ["## Within several attempts", table(WITHIN, within)]
    if report.differences:
        parts += [
            "## Paired differences",
            COUNTED,
            table(
                ["model", "against", "difference", "smallest that shows", "fixed", "broken", "verdict"],
                (_difference_row(difference, cases) for difference in report.differences),
            ),
        ]
    parts += ["## Success by kind and tag", _slices(report.models)]
    if report.slices:
        parts += ["## Where the differences come from", EXPLAINED, slice_table(report.slices)]
    facts = "\n".join(f"- {name}: {value}" for name, value in provenance(report).items())
    return "\n\n".join([*parts, "## How it was measured", facts]) + "\n"


COUNTED = (
    "Fixed and broken count the cases that only the one or only the other model solved (of several attempts: that it "
    "solved more often or less often). A difference below what the cases show four times of five is not ranked."
)
EXPLAINED = (
    "A slice is called better or worse only if it stays so after the correction for how many slices were looked at "
    "(Benjamini and Hochberg, 5% false discoveries)."
)


def versus_to_markdown(report: VersusReport) -> str:
    """The head-to-head report: wins, ties, losses, what the judge is worth, slices."""
    judged = report.wins + report.ties + report.losses
    header = ["wins", "ties", "losses", "wins − losses", "verdict"]
    net = "none" if report.net is None else points(report.net)
    row = [str(report.wins), str(report.ties), str(report.losses), net, versus_verdict(report)]
    parts = [
        f"# {report.suite}: {report.model} versus {report.opponent}, {judged} judged {report.split} cases",
        "Each pair was judged in both orders; where the orders disagree, it is a tie. Intervals are 95%.",
        *(f"**Note:** {each}" for each in versus_notes(report)),
        table(header, [row]),
        "\n".join(f"- {name}: {value}" for name, value in caveats(report).items()),
    ]
    if people := preferred_row(report):
        parts += ["## What people would have found", PEOPLE_TOLD, table(PREFERRED, [people])]
    if report.slices:
        parts += ["## By kind and tag", EXPLAINED, slice_table(report.slices, "wins", "losses")]
    facts = "\n".join(f"- {name}: {value}" for name, value in provenance(report).items())
    return "\n\n".join([*parts, "## How it was measured", facts]) + "\n"


def slice_table(slices: Sequence[SliceDifference], gained: str = "fixed", lost: str = "broken") -> str:
    """The paired differences by slice; `gained` and `lost` name the two counts."""
    header = ["slice", "model", "against", "cases", "difference", gained, lost, "p", "corrected", "verdict"]
    return table(header, map(_slice_row, slices))


def _model_row(model: ModelReport) -> tuple[str, ...]:
    latency = model.latency
    return (
        model.model,
        percent(model.success),
        str(model.errors),
        f"{model.turns:.1f}",
        f"{model.prompt_tokens:,.0f}",
        f"{model.completion_tokens:,.0f}",
        money(model.cost, model.cost_usd_per_thousand),
        seconds(model.latency_p50),
        seconds(model.latency_p95),
        seconds(latency.estimate if latency else None, latency),
    )


def _difference_row(difference: PairedDifference, cases: int) -> tuple[str, ...]:
    fixed, broken = str(difference.fixed), str(difference.broken)
    told = points(difference.difference)
    shown = shows_from(difference, cases)
    return difference.model, difference.baseline, told, shown, fixed, broken, verdict(difference, cases)


def _slice_row(each: SliceDifference) -> tuple[str, ...]:
    counts = (str(each.cases), points(each.difference), str(each.fixed), str(each.broken))
    return (
        each.slice,
        each.model,
        each.baseline,
        *counts,
        f"{each.p:.3g}",
        f"{each.adjusted_p:.3g}",
        slice_verdict(each),
    )


def _slices(models: Sequence[ModelReport]) -> str:
    slices = [by_slice(model.cases) for model in models]
    rows = [[name, str(len(cases)), *(_rate(found[name]) for found in slices)] for name, cases in slices[0].items()]
    return table(["slice", "cases", *(model.model for model in models)], rows)


def _rate(cases: Sequence[CaseResult]) -> str:
    return percent(success_rate(cases))


def write_pages(folder: Path, name: str, pages: Mapping[str, str], kept: str) -> tuple[Path, Path]:
    """Write files of one name, by their endings, whole or not at all; the paths of the Markdown and the JSON file."""
    paths = {ending: folder / f"{name}{ending}" for ending in pages}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, text in pages.items():
            _write_whole(paths[ending], text)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        names = " and ".join(path.name for path in paths.values())
        raise DiskFull(f"no space left to write {names}, and none is left half-written. {kept}") from error
    return paths[".md"], paths[".json"]


def _write_whole(path: Path, text: str) -> None:
    """Write the file or leave nothing: a reader never meets half of it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
