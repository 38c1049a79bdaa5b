"""Suites of cases that are written in files: a conversation, and what its answer must be.

A suite is a JSONL file with a case a line, a TOML file with `[[cases]]`, or a folder of such files; in a TOML file and
in a folder's `suite.toml` there may be a `name` and a `check` for all cases that have none of their own.
"""

import hashlib
import json
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput
from journeyman.evals.checks import Check, Judged, prepare, run_check
from journeyman.records import Message, Scenario, Score, Tool
from journeyman.rewards.judge import Judge, rubric_hash

_SETTINGS = "suite.toml"


class Case(BaseModel):
    """One conversation, up to where the model answers, and the checks that its answer must pass, all of them.

    Slices are made by `kind` and by each of the `tags`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    kind: str = "case"
    tags: tuple[str, ...] = ()
    split: str = "held-out"
    messages: tuple[Message, ...] = Field(min_length=1)
    tools: tuple[Tool, ...] = ()
    check: Check | list[Check] | None = None


class CaseSuite:
    """Cases as a suite of one-turn episodes; `judge` answers for the checks that need one.

    `folder` is where the files of code checks lie.
    """

    def __init__(self, name: str, cases: Sequence[Case], folder: Path, judge: Judge | None = None) -> None:
        self.name, self.folder, self.judge = name, folder, judge
        self._cases = {case.id: case for case in cases}
        self._identities = {case.id: _identity(case, folder) for case in cases}

    def __len__(self) -> int:
        return len(self._cases)

    @property
    def needs_judge(self) -> bool:
        """Whether some check cannot be carried out without a judge."""
        return bool(self.rubrics)

    @property
    def unchecked(self) -> list[str]:
        """Cases without a check: they can be compared head to head, but cannot be passed or failed."""
        return [id for id, case in self._cases.items() if not checks_of(case)]

    @property
    def rubrics(self) -> set[str]:
        """The hashes of what a judge is asked to go by."""
        checks = (check for case in self._cases.values() for check in checks_of(case))
        return {rubric_hash(check.rubric) for check in checks if isinstance(check, Judged)}

    def judged_by(self, judge: Judge) -> "CaseSuite":
        """The same cases with a judge for the checks that need one."""
        return CaseSuite(self.name, list(self._cases.values()), self.folder, judge)

    def without_checks(self) -> "CaseSuite":
        """The same conversations, for a comparison that asks no check."""
        bare = [case.model_copy(update={"check": None}) for case in self._cases.values()]
        return CaseSuite(self.name, bare, self.folder)

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """At most `count` cases of `split`, chosen by `seed` where there are more, in the order of the files."""
        chosen = [case for case in self._cases.values() if case.split == split]
        if not chosen:
            known = sorted({case.split for case in self._cases.values()})
            raise InvalidInput(f"suite {self.name} has no {split} cases; its splits are: {', '.join(known)}")
        if count < len(chosen):
            numbers = sorted(random.Random(seed).sample(range(len(chosen)), count))
            chosen = [chosen[number] for number in numbers]
        return [
            Scenario(id=case.id, environment=self.name, kind=case.kind, data=self._identities[case.id])
            for case in chosen
        ]

    def environment(self, scenario: Scenario) -> "CaseEnvironment":
        """A fresh episode of that case."""
        return CaseEnvironment(self._cases[scenario.id], self.folder, self.judge)


class CaseEnvironment:
    """Shows a case's conversation and checks the answer to it."""

    def __init__(self, case: Case, folder: Path, judge: Judge | None) -> None:
        self._case, self._folder, self._judge = case, folder, judge
        self._scores: tuple[Score, ...] = ()

    async def start(self) -> Observation:
        """The case's conversation and tools."""
        return Observation(messages=self._case.messages, tools=self._case.tools)

    async def step(self, reply: Message) -> Observation:
        """Carry out the checks, in order, until one fails."""
        written = self._case.model_dump(mode="json", by_alias=True)
        for check in checks_of(self._case):
            passed, reason = await run_check(check, reply, self._case.messages, written, self._folder, self._judge)
            by = self._judge.model if isinstance(check, Judged) and self._judge else check.type
            told = reason if isinstance(check, Judged) or not passed else "passed"
            self._scores = (Score(name="success", value=float(passed), reason=told, by=by),)
            if not passed:
                break
        return Observation(done=True)

    def fork(self, n: int) -> "Sequence[CaseEnvironment]":
        """`n` episodes of the same case: nothing has happened before the answer."""
        return [CaseEnvironment(self._case, self._folder, self._judge) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`success`, once there is an answer and where the case has a check."""
        return self._scores

    async def close(self) -> None:
        """Nothing is held."""


def checks_of(case: Case) -> list[Check]:
    """The case's checks as a list."""
    if case.check is None:
        return []
    return case.check if isinstance(case.check, list) else [case.check]


def load_cases(path: Path) -> CaseSuite:
    """Read a suite. InvalidInput names the file and the line of a case that cannot be used; then nothing is loaded."""
    if not path.exists():
        raise InvalidInput(f"there is no {path}; a suite is a .jsonl or .toml file, or a folder of such files")
    if path.is_dir():
        settings = path / _SETTINGS
        name, default, _ = _toml(settings) if settings.is_file() else (None, None, None)
        files = sorted(each for each in path.iterdir() if each.suffix in (".jsonl", ".toml"))
        written = [row for file in files for row in _rows(file, default)[1]]
    else:
        name, written = _rows(path, None)
    cases, seen = list[Case](), dict[str, str]()
    for where, row, check in written:
        case = _case(row, where, check)
        if case.id in seen:
            raise InvalidInput(
                f"{where}: the id {case.id!r} is already that of {seen[case.id]}; give each case an id of its own, "
                "and none twice. Nothing was evaluated"
            )
        seen[case.id] = where
        cases.append(case)
    if not cases:
        raise InvalidInput(f"{path} holds no cases; a suite is a .jsonl or .toml file, or a folder of such files")
    return CaseSuite(name or path.resolve().stem, cases, path if path.is_dir() else path.parent)


def _rows(file: Path, default: object) -> tuple[str | None, list[tuple[str, object, object]]]:
    """The suite's name where the file says it, and for each case where it stands, itself, and its check by default."""
    if file.suffix != ".toml":
        return None, [(where, row, default) for where, row in _lines(file)]
    name, own, rows = _toml(file)
    check = default if own is None else own
    return name, [(f"{file}, case {number}", row, check) for number, row in enumerate(rows, 1)]


def _case(row: object, where: str, default: object) -> Case:
    if not isinstance(row, Mapping):
        raise InvalidInput(f"{where}: a case is an object with `messages`; nothing was evaluated")
    row = dict(row)
    if "check" not in row and default is not None:
        row["check"] = default
    try:
        case = Case.model_validate(row)
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{where}: {place or 'the case'}: {first['msg']}; nothing was evaluated") from problem
    if case.messages[-1].role == "assistant":
        raise InvalidInput(
            f"{where}: the conversation ends with the assistant; it must end where the model is to answer. "
            "Nothing was evaluated"
        )
    return case if case.id else case.model_copy(update={"id": f"case-{_digest(row)[:12]}"})


def _identity(case: Case, folder: Path) -> dict[str, Any]:
    """Everything that decides what the case measures, so that a report can name it by a hash."""
    data = case.model_dump(mode="json", by_alias=True, include={"tags", "messages", "tools"})
    return data | {"check": [prepare(check, folder) for check in checks_of(case)]}


def _toml(file: Path) -> tuple[str | None, object, list[object]]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InvalidInput(f"{file} cannot be read: {problem}; nothing was evaluated") from problem
    unknown = set(found) - {"name", "check", "cases"}
    if unknown or not isinstance(found.get("cases", []), list):
        raise InvalidInput(
            f"{file}: a suite has `name`, `check` and `[[cases]]`; what is {', '.join(sorted(unknown)) or 'cases'}? "
            "Nothing was evaluated"
        )
    name = found.get("name")
    return None if name is None else str(name), found.get("check"), found.get("cases", [])


def _lines(file: Path) -> Iterator[tuple[str, object]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise InvalidInput(f"{file} cannot be read: {problem}; nothing was evaluated") from problem
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{file}, line {number}", json.loads(line)
            except ValueError as problem:
                raise InvalidInput(f"{file}, line {number}: no JSON ({problem}); nothing was evaluated") from problem


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
