"""The evidence for a promotion: which evaluation measured both, and what the names in it stood for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from journeyman.errors import InvalidInput
from journeyman.records import Condition, EvalReport, Filter, ModelReport, Promotion, Record
from journeyman.records.evaluation import VersusReport
from journeyman.registry.adapters import list_adapters
from journeyman.store.store import R, Store

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Evidence:
    """A report that measured the candidate and what it would replace, and what it calls the two."""

    report: EvalReport
    candidate: str
    incumbent: str


def find_evidence(store: Store, target: str, incumbent: str, report: EvalReport | None = None) -> Evidence | None:
    """The newest report that measured both, or `report` itself where it did; None when there is no such report."""
    for each in [report] if report else pages(store, EvalReport):
        names = {meant(store, model.model, each): model.model for model in each.models}
        if target in names and incumbent in names:
            return Evidence(each, names[target], names[incumbent])
    return None


def find_measured(store: Store, target: str, suite: str) -> tuple[EvalReport, ModelReport] | None:
    """The newest report of that suite that measured `target`, and what it measured of it."""
    for report in pages(store, EvalReport, Filter(conditions=(Condition(field="suite", operator="=", value=suite),))):
        measured = measured_in(store, target, report)
        if measured is not None:
            return report, measured
    return None


def measured_in(store: Store, target: str, report: EvalReport) -> ModelReport | None:
    """What a report measured of `target`, under whatever name."""
    return next((model for model in report.models if meant(store, model.model, report) == target), None)


def read_report(file: Path) -> EvalReport:
    """A report from the JSON file that an evaluation wrote; InvalidInput when it is none."""
    try:
        return EvalReport.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        problem = error.strerror if isinstance(error, OSError) else f"{error.error_count()} fields are not a report's"
        raise InvalidInput(f"the report {file} cannot be read ({problem}); `journeyman eval` writes one") from error


def read_versus(file: Path) -> VersusReport | None:
    """A head-to-head report from its JSON file; None when the file holds something else."""
    try:
        return VersusReport.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def meant(store: Store, name: str, report: Record) -> str:
    """What a model's name stood for when the report was measured: an alias and an adapter's name move on."""
    where = Filter(conditions=(Condition(field="alias", operator="=", value=name),))
    for promotion in pages(store, Promotion, where):
        if promotion.at <= report.at:
            # What several answered together says nothing of one of them.
            return name if promotion.split else promotion.target
    namesakes = (adapter.id for adapter in list_adapters(store, name) if adapter.at <= report.at)
    return next(namesakes, name)


def pages(store: Store, kind: type[R], where: Filter | None = None) -> Iterator[R]:
    """Every record of that kind, newest first, read a page at a time."""
    page = store.find(kind, where, limit=PAGE)
    while page:
        yield from page
        page = store.find(kind, where, after=page[-1].id, limit=PAGE) if len(page) == PAGE else ()
