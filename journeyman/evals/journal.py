"""What an evaluation has finished so far, on disk case by case, so that an interrupted one goes on where it was.

One line of JSON for each finished case, in a file whose name follows from everything that decides what is measured.
It stays until the report is saved; then it is the report's transcripts.
"""

import contextlib
import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from journeyman.errors import DiskFull, InvalidInput, Refused
from journeyman.records import CaseResult, Frozen, Message, now
from journeyman.records.evaluation import Duel

try:
    import fcntl
except ImportError:  # Windows: nobody is kept from evaluating the same twice at once
    fcntl = None  # type: ignore[assignment]

_WRONG_SHAPE = (ValueError, KeyError, TypeError, ValidationError)


def hold(file: BinaryIO) -> None:
    """Be the only one that works on an evaluation's file; Refused while another process does."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        raise Refused(
            "the same evaluation is under way in another process, and nothing was done here; wait for it, or "
            "change the seed"
        ) from problem


class Finished(Frozen):
    """One model's attempt at one case: its result, the seconds of each model call, and the conversation."""

    model: str
    result: CaseResult
    latencies: tuple[float, ...] = ()
    messages: tuple[Message, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Where a journal keeps it."""
        return self.model, attempt_key(self.result.scenario_id, self.result.attempt)


def attempt_key(case: str, attempt: int) -> str:
    """What an attempt at a case is called; the first one like the case."""
    return case if attempt == 1 else f"{case}, attempt {attempt}"


def read_transcripts(file: Path) -> dict[tuple[str, str], Finished]:
    """The conversations beside a report, by model and attempt; InvalidInput when the file is something else."""
    try:
        lines = [json.loads(line) for line in file.read_bytes().splitlines()]
        found = [Finished.model_validate(line["finished"]) for line in lines if "finished" in line]
    except (OSError, *_WRONG_SHAPE) as problem:
        raise InvalidInput(f"the conversations in {file} cannot be read ({type(problem).__name__})") from problem
    return {each.key: each for each in found}


class Journal:
    """Finished cases by model and case, and duels by case; without a folder, in memory alone."""

    def __init__(self, folder: Path | None = None, *, fresh: bool = False) -> None:
        """`fresh` begins again where an interrupted evaluation could be gone on with."""
        self.at = now()
        self.finished: dict[tuple[str, str], Finished] = {}
        self.duels: dict[str, Duel] = {}
        self.resumed = 0
        self.spent = 0.0
        """US dollars that the evaluation has cost so far, over all its runs; whoever plays keeps it up to date."""
        self.path: Path | None = None
        self._folder, self._fresh = folder, fresh
        self._file: BinaryIO | None = None

    def open(self, name: str, identity: object) -> None:
        """Read what an interrupted evaluation of the same had finished; `identity` is all that decides what it is.

        Refused while another process is at the same evaluation.
        """
        if self._folder is None or self._file is not None:
            return
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:12]
        self._folder.mkdir(parents=True, exist_ok=True)
        self.path = self._folder / f"{name}-{digest}.unfinished.jsonl"
        self._file = self.path.open("a+b")
        try:
            hold(self._file)
        except Refused:
            self.close()
            raise
        if self._fresh:
            self._file.truncate(0)
        self._read()

    def add(self, finished: Finished) -> None:
        """Keep a finished case; it is on the disk when this returns."""
        self.finished[finished.key] = finished
        self._write({"finished": finished.model_dump(mode="json"), "spent": self.spent})

    def add_unkept(self, finished: Finished) -> None:
        """Count a case now, but play it again when this evaluation is interrupted and goes on."""
        self.finished[finished.key] = finished

    def add_duel(self, duel: Duel) -> None:
        """Keep a judged pair; it is on the disk when this returns."""
        self.duels[duel.scenario_id] = duel
        self._write({"duel": duel.model_dump(mode="json")})

    def of(self, model: str, case: str, attempt: int = 1) -> Finished | None:
        """What a model did on a case; None when it has not met it yet."""
        return self.finished.get((model, attempt_key(case, attempt)))

    def keep_as(self, path: Path) -> None:
        """The evaluation is over: its journal becomes the report's transcripts."""
        if self.path is not None:
            self.close()
            self.path.replace(path)

    def read(self, path: Path) -> None:
        """Know what a report's transcripts hold."""
        for line in path.read_bytes().splitlines():
            self._take(json.loads(line))

    def close(self) -> None:
        """Let go of the file; what it holds stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file.read().splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                break  # the process was killed while it wrote this line
            try:
                self._take(json.loads(line))
            except _WRONG_SHAPE as problem:
                raise InvalidInput(
                    f"{self.path}, line {number + 1} is not readable ({type(problem).__name__}); nothing was changed. "
                    "Remove the file, or give --fresh, to start again"
                ) from problem
            whole += len(line)
        self._file.truncate(whole)
        if whole == 0:
            self._write({"at": self.at.isoformat()})
        self.resumed = len(self.finished)

    def _take(self, line: dict[str, object]) -> None:
        if "at" in line:
            self.at = datetime.fromisoformat(str(line["at"]))
        elif "duel" in line:
            duel = Duel.model_validate(line["duel"])
            self.duels[duel.scenario_id] = duel
        else:
            finished = Finished.model_validate(line["finished"])
            self.finished[finished.key] = finished
            self.spent = float(str(line["spent"]))

    def _write(self, line: dict[str, object]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as problem:
            with contextlib.suppress(OSError):
                self.close()
            raise DiskFull(
                f"a finished case cannot be written to {self.path} ({problem.strerror}); those before it are safe. "
                "Free some space and run the same command to go on"
            ) from problem
