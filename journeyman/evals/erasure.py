"""Takes erased conversations out of what evaluations have kept: journals, transcripts, and the reports made of them.

Numbers stay, as they hold nobody's words; what was said, and what was said of it, goes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from journeyman.errors import InvalidInput, Refused
from journeyman.evals.journal import Finished, Journal, hold
from journeyman.evals.report import rewrite, save_versus
from journeyman.records import EvalReport, Message
from journeyman.records.evaluation import VersusReport
from journeyman.store.store import Store

ERASED = "erased"
"""What stands in a report where a reason was that quoted what is gone."""
_TRANSCRIPTS = ".transcripts.jsonl"


@dataclass
class Evaluations:
    """What an erasure found in the evaluations of a folder: conversations that went, reports that were written again.

    `sessions` are those in which the models were asked: their calls are captured, too. `unreached` says what could not
    be looked into, and why.
    """

    conversations: int = 0
    reports: int = 0
    sessions: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)


def erase_from_evaluations(folder: Path, store: Store, is_erased: Callable[[Sequence[Message]], bool]) -> Evaluations:
    """Remove the conversations of which `is_erased` holds from all evaluations in a folder. Safe to repeat."""
    found = Evaluations()
    for path in sorted(folder.glob("*.jsonl")):
        if not path.name.endswith((_TRANSCRIPTS, ".unfinished.jsonl")):
            continue
        try:
            gone = _without(path, is_erased, found)
            if gone and path.name.endswith(_TRANSCRIPTS):
                _rewrite_report(path, store, gone)
                found.reports += 1
        except (OSError, ValueError, KeyError, TypeError, ValidationError, InvalidInput, Refused) as problem:
            found.unreached.append(f"{path} ({type(problem).__name__}: {str(problem).partition(chr(10))[0][:200]})")
    return found


def _without(path: Path, is_erased: Callable[[Sequence[Message]], bool], found: Evaluations) -> set[str]:
    """Rewrite a file of finished cases; the ids of the cases that are erased."""
    with path.open("rb") as file:
        hold(file)
        lines = file.read().splitlines(keepends=True)
        read = [json.loads(line) if line.endswith(b"\n") else {} for line in lines]
        cases = [Finished.model_validate(each["finished"]) if "finished" in each else None for each in read]
        gone = {case.result.scenario_id for case in cases if case is not None and is_erased(case.messages)}
        if not gone:
            return gone
        kept = []
        for line, written, case in zip(lines, read, cases, strict=True):
            if case is not None and case.result.scenario_id in gone:
                found.conversations += 1
                found.sessions.append(case.result.session)
            elif not ("duel" in written and written["duel"]["scenario_id"] in gone):
                kept.append(line)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(b"".join(kept))
        partial.replace(path)
    return gone


def _rewrite_report(transcripts: Path, store: Store, gone: set[str]) -> None:
    """The report beside these transcripts, and its pages, without what was said of the erased cases."""
    stem = transcripts.with_name(transcripts.name.removesuffix(_TRANSCRIPTS))
    data = stem.with_name(f"{stem.name}.json").read_text(encoding="utf-8")
    left = Journal()
    left.read(transcripts)
    if "duels" in json.loads(data):
        versus = VersusReport.model_validate_json(data)
        duels = [each.model_copy(update={"reason": ERASED}) if each.scenario_id in gone else each
                 for each in versus.duels]  # fmt: skip
        again = versus.model_copy(update={"duels": tuple(duels)})
        save_versus(
            again,
            stem.parent,
            left.finished,
            "The transcripts are without the erased words; the pages are not: delete them",
        )
        return
    report = EvalReport.model_validate_json(data)
    models = []
    for model in report.models:
        cases = [
            case.model_copy(update={"reason": ERASED, "error": case.error and ERASED})
            if case.scenario_id in gone
            else case
            for case in model.cases
        ]
        models.append(model.model_copy(update={"cases": tuple(cases)}))
    rewrite(report.model_copy(update={"models": tuple(models)}), store, stem.parent, left.finished)
