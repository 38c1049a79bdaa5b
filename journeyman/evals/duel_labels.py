"""People say of a random part of the duels which answer is better, and thereby correct the judge of the rest.

They see the two answers as A and B, in an order that is drawn for each case, and neither the models nor the verdict.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.evals.journal import Finished
from journeyman.evals.labels import FEWEST, label_lines
from journeyman.evals.versus import split_common
from journeyman.records import Message
from journeyman.records.evaluation import PeoplePreferred, VersusReport
from journeyman.records.record import new_id
from journeyman.statistics import prediction_powered_mean

Preferences = Mapping[str, int]
"""By case: 1 where people prefer the report's `model`, −1 its `opponent`, 0 for a tie."""


def draw_duels(
    report: VersusReport, transcripts: Mapping[tuple[str, str], Finished], count: int, seed: int = 0
) -> list[dict[str, Any]]:
    """A line to label for each of `count` judged cases drawn at random."""
    _check(report)
    judged = [duel.scenario_id for duel in report.duels if duel.won is not None]
    if not FEWEST <= count < len(judged) - 1:
        raise InvalidInput(
            f"label at least {FEWEST} pairs, and leave at least two to the judge; the report has {len(judged)} that "
            f"were judged, and {count} were asked for"
        )
    chosen = set(random.Random(seed).sample(judged, count))
    return [_line(report, case, transcripts) for case in judged if case in chosen]


def read_preferences(file: Path, report: VersusReport) -> tuple[Preferences, str]:
    """What people prefer, and the hash of it; lines whose `better` is null are not labelled yet."""
    known = {duel.scenario_id for duel in report.duels if duel.won is not None}
    found: dict[str, int] = {}
    for place, line in label_lines(file):
        case, better = _preference(line, place, report)
        if case not in known or case in found:
            what = "is labelled twice" if case in found else "was not judged in the report"
            raise InvalidInput(f"{place}: {case} {what}; nothing was changed")
        if better is not None:
            found[case] = better
    return found, hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()[:12]


def correct_duels(report: VersusReport, preferences: Preferences, labels_hash: str) -> VersusReport:
    """The same report, as a new record, with wins minus losses as people would have counted them."""
    _check(report)
    judged = {duel.scenario_id: float(duel.won) for duel in report.duels if duel.won is not None}
    alone = [won for case, won in judged.items() if case not in preferences]
    if len(preferences) < FEWEST or len(alone) < 2:
        raise InvalidInput(
            f"{len(preferences)} pairs are labelled; it takes {FEWEST}, and two that are left to the judge. Label more"
        )
    both = [judged[case] for case in preferences]
    people = PeoplePreferred(
        net=prediction_powered_mean(list(map(float, preferences.values())), both, alone),
        labels=len(preferences),
        agreed=sum(judged[case] == better for case, better in preferences.items()),
        judged=len(alone),
    )
    found = {"id": new_id(), "people": people, "labelled_from": report.id, "labels_hash": labels_hash}
    return report.model_copy(update=found)


def _check(report: VersusReport) -> None:
    if report.labelled_from is not None:
        raise InvalidInput(f"report {report.id} is corrected already; give the labels of {report.labelled_from}")
    if report.planned is not None:
        raise InvalidInput(
            f"report {report.id} stopped when it knew, by the judge's word; label one that met all its cases"
        )


def _line(report: VersusReport, case: str, transcripts: Mapping[tuple[str, str], Finished]) -> dict[str, Any]:
    models = (report.model, report.opponent)
    missing = next((model for model in models if (model, case) not in transcripts), None)
    if missing is not None:
        raise InvalidInput(f"the conversation of {missing} in {case} was not kept, so nobody can label it")
    shared, *answers = split_common(*(transcripts[model, case].messages for model in models))
    first, second = answers if _model_is_a(report, case) else reversed(answers)
    shown = {"conversation": _wire(shared), "A": _wire(first), "B": _wire(second)}
    return {"report": report.id, "case": case, "better": None, **shown}


def _model_is_a(report: VersusReport, case: str) -> bool:
    """Drawn, and the same whenever the sheet is read."""
    return hashlib.sha256(f"{report.id} {case}".encode()).digest()[0] % 2 == 0


def _wire(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in messages]


def _preference(line: str, where: str, report: VersusReport) -> tuple[str, int | None]:
    try:
        found = json.loads(line)
        case, better, of = str(found["case"]), found["better"], found["report"]
    except (ValueError, KeyError, TypeError) as problem:
        raise InvalidInput(
            f"{where}: a label is an object with report, case and better ({problem!r}); nothing was changed"
        ) from problem
    if of != report.id:
        raise InvalidInput(f"{where}: this label is of report {of}, not of {report.id}; nothing was changed")
    if better not in ("A", "B", "tie", None):
        raise InvalidInput(f"{where}: better is A, B, tie, or null while nobody has said; not {better!r}")
    if better in ("tie", None):
        return case, None if better is None else 0
    return case, 1 if (better == "A") == _model_is_a(report, case) else -1
