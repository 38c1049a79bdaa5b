"""Turns an EvalReport into pages that people read and files that programs read."""

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path

from journeyman.errors import DiskFull
from journeyman.records import CaseResult, EvalReport, Interval, ModelReport, PairedDifference
from journeyman.statistics import proportion
from journeyman.store.store import Store


def save(report: EvalReport, store: Store, folder: Path) -> tuple[Path, Path]:
    """Keep the report in the store, as evidence for promotions, and in `folder` as Markdown and JSON."""
    store.put(report)
    name = f"{report.suite}-{report.id}"
    page, data = folder / f"{name}.md", folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(page, to_markdown(report))
        _write_whole(data, report.model_dump_json(indent=2) + "\n")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFull(
            f"no space left to write {page.name} and {data.name}, and neither is left half-written. The store has kept "
            f"the report as {report.id}; free some space and evaluate again to get the files"
        ) from error
    return page, data


def to_markdown(report: EvalReport) -> str:
    """The whole report: success, paired differences, slices by kind, and what it takes to measure it again."""
    cases = len(report.models[0].cases)
    parts = [
        f"# {report.suite}: {len(report.models)} models on the same {cases} {report.split} cases",
        "Every interval is a 95% confidence interval. A case that ended in an error counts as failed.",
        _table(
            "model | success | errors | turns | prompt tokens | reply tokens | cost per 1,000 | latency p50 | p95",
            (_model_row(model) for model in report.models),
        ),
    ]
    if report.differences:
        parts += [
            "## Paired differences",
            "Fixed and broken count the cases that only the one or only the other model solved.",
            _table(
                "model | against | difference | fixed | broken | verdict",
                (_difference_row(difference) for difference in report.differences),
            ),
        ]
    parts += ["## Success by kind", _slices(report.models), "## How it was measured", _provenance(report)]
    return "\n\n".join(parts) + "\n"


def success_by_kind(cases: Sequence[CaseResult]) -> dict[str, Interval]:
    """The success rate within each kind of scenario."""
    kinds: dict[str, list[bool]] = {}
    for case in cases:
        kinds.setdefault(case.kind, []).append(case.success)
    return {kind: proportion(sum(outcomes), len(outcomes)) for kind, outcomes in sorted(kinds.items())}


def _model_row(model: ModelReport) -> tuple[str, ...]:
    cost = model.cost_usd_per_thousand
    return (
        model.model,
        _percent(model.success),
        str(model.errors),
        f"{model.turns:.1f}",
        f"{model.prompt_tokens:,.0f}",
        f"{model.completion_tokens:,.0f}",
        "unknown" if cost is None else f"${cost:,.2f}",
        _seconds(model.latency_p50),
        _seconds(model.latency_p95),
    )


def _difference_row(difference: PairedDifference) -> tuple[str, ...]:
    interval = difference.difference
    verdict = "better" if interval.low > 0 else "worse" if interval.high < 0 else "not distinguishable"
    points = f"{100 * interval.estimate:+.1f} points ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    return difference.model, difference.baseline, points, str(difference.fixed), str(difference.broken), verdict


def _slices(models: Sequence[ModelReport]) -> str:
    slices = [success_by_kind(model.cases) for model in models]
    sizes = {kind: sum(case.kind == kind for case in models[0].cases) for kind in slices[0]}
    rows = ((kind, str(size), *(_percent(by_kind[kind]) for by_kind in slices)) for kind, size in sizes.items())
    return _table(" | ".join(["kind", "cases", *(_cell(model.model) for model in models)]), rows)


def _provenance(report: EvalReport) -> str:
    machine = dict(report.machine)
    versions = machine.pop("versions", {})
    facts = {
        "report": f"{report.id}, {report.at:%Y-%m-%d %H:%M} UTC",
        "cases": f"suite {report.suite}, split {report.split}, seed {report.seed}",
        "sampling": ", ".join(f"{name} {value}" for name, value in report.sampling.wire().items()) or "model defaults",
        "latency": f"seconds per model call, {report.concurrency} conversations at a time",
        "prices": f"US dollars per 1,000 conversations, as of {report.prices_as_of}" if report.prices_as_of else "none",
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()) or "not recorded",
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()) or "not recorded",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _table(header: str, rows: Iterable[tuple[str, ...]]) -> str:
    rule = "|".join(" --- " for _ in header.split(" | "))
    lines = [f"| {header} |", f"|{rule}|"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _percent(interval: Interval) -> str:
    return f"{100 * interval.estimate:.1f}% ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} s"


def _write_whole(path: Path, text: str) -> None:
    """Write the file or leave nothing: a reader never meets half of it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
