"""People label a random part of what a judge has judged, and thereby correct the rest.

A judge's mean is biased by what the judge gets wrong; a few labels by people measure how much (prediction-powered
inference). The cases to label are drawn at random: chosen ones would say nothing of the others.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.evals.journal import Finished
from journeyman.records import EvalReport, ModelReport
from journeyman.records.evaluation import PeopleSaid
from journeyman.records.record import new_id
from journeyman.statistics import prediction_powered_rate

Labels = Mapping[tuple[str, str], bool]
"""By model and case: whether people let the answer pass."""
FEWEST = 20
"""Labels of a model below which its corrected rate is not reckoned."""


def draw_sheet(
    report: EvalReport, transcripts: Mapping[tuple[str, str], Finished], count: int, seed: int = 0
) -> list[dict[str, Any]]:
    """A line to label for each model and each of `count` cases drawn at random; it does not say what the judge said."""
    _check(report)
    cases = [case.scenario_id for case in report.models[0].cases]
    if not FEWEST <= count < len(cases) - 1:
        raise InvalidInput(
            f"label at least {FEWEST} cases, and leave at least two to the judge; the report has {len(cases)}, and "
            f"{count} were asked for"
        )
    chosen, lines = set(random.Random(seed).sample(cases, count)), []
    for id in cases:
        for model in report.models:
            found = transcripts.get((model.model, id))
            if id in chosen and found is None:
                raise InvalidInput(f"the conversation of {model.model} in {id} was not kept, so nobody can label it")
            if id in chosen and found is not None:
                said = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in found.messages]
                lines.append(
                    {"report": report.id, "model": model.model, "case": id, "passed": None, "conversation": said}
                )
    return lines


def read_labels(file: Path, report: EvalReport) -> tuple[Labels, str]:
    """What people said, and the hash of it; lines whose `passed` is null are not labelled yet."""
    known = {(model.model, case.scenario_id) for model in report.models for case in model.cases}
    labels: dict[tuple[str, str], bool] = {}
    for place, line in label_lines(file):
        key, passed = _label(line, place, report)
        if key not in known or key in labels:
            what = "is labelled twice" if key in labels else "is not in the report"
            raise InvalidInput(f"{place}: {key[0]} in {key[1]} {what}; nothing was changed")
        if passed is not None:
            labels[key] = passed
    told = sorted([model, case, passed] for (model, case), passed in labels.items())
    return labels, hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def label_lines(file: Path) -> list[tuple[str, str]]:
    """Where each line that is not empty stands, for messages, and the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as problem:
        raise InvalidInput(f"the labels {file} cannot be read: {problem}; nothing was changed") from problem
    return [(f"{file}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]


def correct(report: EvalReport, labels: Labels, labels_hash: str) -> EvalReport:
    """The same report, as a new record, with the success rates that people would have found."""
    _check(report)
    models = tuple(_corrected(model, labels) for model in report.models)
    if all(model.people is None for model in models):
        raise InvalidInput(f"no model has {FEWEST} labels, which is the least to correct a judge by; label more")
    found = {"id": new_id(), "models": models, "labelled_from": report.id, "labels_hash": labels_hash}
    return report.model_copy(update=found)


def _check(report: EvalReport) -> None:
    if report.judge is None:
        raise InvalidInput(f"report {report.id} had no judge, and what code has checked needs no correction")
    if report.attempts > 1:
        raise InvalidInput(
            f"report {report.id} has {report.attempts} attempts at each case; label one with one attempt"
        )
    if report.labelled_from is not None:
        raise InvalidInput(f"report {report.id} is corrected already; give the labels of {report.labelled_from}")


def _label(line: str, where: str, report: EvalReport) -> tuple[tuple[str, str], bool | None]:
    try:
        found = json.loads(line)
        key, passed, of = (str(found["model"]), str(found["case"])), found["passed"], found["report"]
    except (ValueError, KeyError, TypeError) as problem:
        raise InvalidInput(
            f"{where}: a label is an object with report, model, case and passed ({problem!r}); nothing was changed"
        ) from problem
    if of != report.id:
        raise InvalidInput(f"{where}: this label is of report {of}, not of {report.id}; nothing was changed")
    if passed is not None and not isinstance(passed, bool):
        raise InvalidInput(f"{where}: passed is true, false, or null while nobody has said; not {passed!r}")
    return key, passed


def _corrected(model: ModelReport, labels: Labels) -> ModelReport:
    judged = {case.scenario_id: float(case.success) for case in model.cases}
    said = {id: float(labels[model.model, id]) for id in judged if (model.model, id) in labels}
    alone = [value for id, value in judged.items() if id not in said]
    if len(said) < FEWEST or len(alone) < 2:
        return model
    both = [judged[id] for id in said]
    people = PeopleSaid(
        success=prediction_powered_rate(list(said.values()), both, alone),
        labels=len(said),
        agreed=sum(judged[id] == value for id, value in said.items()),
        judged=len(alone),
    )
    return model.model_copy(update={"people": people})


def to_lines(sheet: Sequence[Mapping[str, Any]]) -> str:
    """The sheet as a JSONL file's text."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in sheet)
