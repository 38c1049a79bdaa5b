"""Imports files of a format into the store: good rows are kept, bad ones told by line, nothing is stored twice."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from journeyman.capture.imports import art, helicone, langfuse, litellm, openai_chat, openpipe, tensorzero
from journeyman.capture.imports.beside import Beside
from journeyman.capture.imports.reading import ExportFile
from journeyman.capture.imports.rows import Imported, Json, Origin
from journeyman.capture.parquet import feedback_beside, read_parquet
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Condition, Exchange, Feedback, Filter, WireExchange
from journeyman.store.store import Store

MOST_PROBLEMS = 20
"""Bad rows that a report names; further ones are only counted."""


class Format(NamedTuple):
    """How a format's rows are read; `aside` says what of a row others look for, and under which key."""

    read_row: Callable[[Json, Origin], list[Imported]]
    aside: Callable[[Json], tuple[str, Json] | None] | None = None


FORMATS: dict[str, Format] = {
    "openai-chat": Format(openai_chat.read_row),
    "openpipe": Format(openpipe.read_row),
    "art": Format(art.read_row),
    "langfuse": Format(langfuse.read_row, langfuse.aside),
    "helicone": Format(helicone.read_row),
    "litellm": Format(litellm.read_row),
    "tensorzero": Format(tensorzero.read_row, tensorzero.aside),
}


PARQUET = "parquet"
"""Our own export: its rows are exchanges already."""


class Problem(NamedTuple):
    """A row that could not be used."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        """The problem on one line."""
        return f"{self.file}, line {self.line}: {self.reason}"


class Redacting(Protocol):
    """What takes secrets out of an exchange before it is stored; `capture.redact.Redactor` is one."""

    def wire(self, exchange: WireExchange) -> WireExchange:
        """The exchange without them."""

    def feedback(self, feedback: Feedback) -> Feedback:
        """The judgement without them."""


@dataclass
class ImportReport:
    """What came of an import. `new` of the exchanges were not in the store before (unknown when nothing was stored)."""

    format: str
    rows: int = 0
    exchanges: int = 0
    feedback: int = 0
    new: int | None = None
    passed_over: int = 0
    """Rows that are no calls of their own, such as a trace's other observations."""
    erased: int = 0
    """Exchanges that were left out because their person or session was erased."""
    bad: int = 0
    fidelity: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    @property
    def good(self) -> int:
        """Rows that could be used."""
        return self.rows - self.bad

    def add_problem(self, file: Path, line: int, reason: str) -> None:
        """Count a bad row, and name it if it is among the first."""
        self.bad += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(file.name, line, reason))


def import_files(
    store: Store | None,
    format: str,
    paths: Sequence[Path],
    *,
    tags: dict[str, str] | None = None,
    redactor: Redacting | None = None,
    is_erased: Callable[[WireExchange], bool] | None = None,
    progress: Callable[[Path, float], None] | None = None,
    batch: int = 500,
) -> ImportReport:
    """Read the files' rows and put what they tell into the store; without a store only say what they hold.

    `tags` are given to every exchange. `progress` is told about once a second which file is read, and how much of it
    (from 0 to 1). A row that cannot be used is reported and the rest goes on; the store's own errors end the import,
    and what was stored until then stays: importing again adds the rest.
    """
    if format == PARQUET:
        return _import_parquet(store, paths, tags or {}, redactor, is_erased, batch)
    if format not in FORMATS:
        raise NotFound("format", format, [*FORMATS, PARQUET])
    for path in paths:
        if not path.is_file():
            raise InvalidInput(f"{path} is not a file; nothing was imported")
    known = FORMATS[format]
    beside = Beside()
    try:
        if known.aside:
            beside.keep(_put_aside(paths, known.aside))
        origin = Origin(
            format, time.time_ns() // 1000, beside.find if known.aside else Origin._field_defaults["beside"]
        )
        reading = _Reading(ImportReport(format), known, origin, tags or {}, redactor, is_erased)
        before = _stored(store, format)
        waiting: list[Imported] = []
        for path in paths:
            for made in reading.file(path, progress):
                waiting.append(made)
                if len(waiting) >= batch:
                    _put(store, waiting)
        _put(store, waiting)
        reading.report.new = None if store is None else _stored(store, format) - before
        return reading.report
    finally:
        beside.close()


@dataclass
class _Reading:
    report: ImportReport
    format: Format
    origin: Origin
    tags: dict[str, str]
    redactor: Redacting | None
    is_erased: Callable[[WireExchange], bool] | None
    erased: set[str | None] = field(default_factory=set)
    """Ids, own ids and sessions of what was left out: what was said of it is left out, too."""

    def file(self, path: Path, progress: Callable[[Path, float], None] | None) -> Iterator[Imported]:
        """What the rows of a file become; its bad rows are reported."""
        source, told = ExportFile(path), time.monotonic()
        for row in source.rows():
            self.report.rows += 1
            if row.fields is None:
                self.report.add_problem(path, row.line, row.problem)
                continue
            try:
                # Rows that tell no time keep their order: each is a microsecond later than the one before.
                found = self.format.read_row(row.fields, self.origin._replace(at=self.origin.at + self.report.rows))
            except (InvalidInput, RecursionError) as problem:
                self.report.add_problem(path, row.line, str(problem))
                continue
            self.report.passed_over += not found
            yield from self.counted(found)
            if progress and time.monotonic() - told > 1:
                told = time.monotonic()
                progress(path, source.progress)

    def counted(self, found: list[Imported]) -> Iterator[Imported]:
        """What of it is to be stored, as it is to be stored."""
        for each in found:
            if not isinstance(each, WireExchange):
                self.report.feedback += 1
                yield self.redactor.feedback(each) if self.redactor and isinstance(each, Feedback) else each
                continue
            if self.is_erased and self.is_erased(each):
                self.report.erased += 1
                self.erased |= {each.id, each.external_id, each.session}
                continue
            self.report.exchanges += 1
            self.report.fidelity[each.fidelity] += 1
            if self.tags:
                each = replace(each, tags={**each.tags, **self.tags})
            yield self.redactor.wire(each) if self.redactor else each


def _import_parquet(
    store: Store | None,
    paths: Sequence[Path],
    tags: dict[str, str],
    redactor: Redacting | None,
    is_erased: Callable[[WireExchange], bool] | None,
    batch: int,
) -> ImportReport:
    reading = _Reading(
        ImportReport(PARQUET), Format(lambda row, origin: []), Origin(PARQUET, 0), tags, redactor, is_erased
    )
    before = _stored(store, None)
    waiting: list[Imported] = []
    for path in paths:
        for exchange in read_parquet(path):
            reading.report.rows += 1
            waiting += reading.counted([exchange])
            if len(waiting) >= batch:
                _put(store, waiting)
        for said in feedback_beside(path):
            reading.report.rows += 1
            about = {said.exchange_id, said.external_id, said.session} - {None}
            waiting += () if about & reading.erased else reading.counted([said])
            if len(waiting) >= batch:
                _put(store, waiting)
    _put(store, waiting)
    reading.report.new = None if store is None else _stored(store, None) - before
    return reading.report


def _put_aside(paths: Sequence[Path], aside: Callable[[Json], tuple[str, Json] | None]) -> Iterator[tuple[str, Json]]:
    for path in paths:
        for row in ExportFile(path).rows():
            kept = aside(row.fields) if row.fields is not None else None
            if kept is not None:
                yield kept


def _put(store: Store | None, waiting: list[Imported]) -> None:
    if store is not None and waiting:
        store.put(*waiting)
    waiting.clear()


def _stored(store: Store | None, format: str | None) -> int:
    """How many exchanges of a format, or in all, the store holds."""
    if store is None:
        return 0
    source = Condition(field="source", operator="=", value=f"import:{format}")
    return store.count(Exchange, Filter(conditions=(source,)) if format else None)[""]
