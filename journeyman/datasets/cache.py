"""Keeps what each node came to, so that a build makes anew only what an edit, or new data, has changed.

A node's key is the hash of its settings and of the rows that it reads: what is kept under it can never be out of date,
only unused. The answers of models are kept call by call as well, as they come, because they cost money: a build that
was cut short, or a node with a few new rows, asks only what was not answered yet.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from pydantic import ValidationError

from journeyman.datasets.formats import write_whole
from journeyman.records import Message, Row, Usage
from journeyman.records.dataset import NodeRun
from journeyman.store.tables import to_json

FOLDER = "nodes"
"""In the folder of the datasets."""
_ENDING = ".jsonl.zst"
_ANSWERS = "answers-*.jsonl"
_LEVEL = 3


class Outcome(NamedTuple):
    """What a node came to: its rows, the hash of them, and the account of how it went."""

    rows: list[Row]
    output: str
    run: NodeRun


class Answer(NamedTuple):
    """A model's reply to one question, and the tokens that it took."""

    message: Message
    usage: Usage
    finish_reason: str | None = None


def outcome_of(rows: Sequence[Row], run: NodeRun) -> Outcome:
    """The outcome with the hash of its rows."""
    return Outcome(list(rows), hashlib.sha256(_lines(rows)).hexdigest()[:16], run)


class NodeCache:
    """The outcomes of nodes in a folder, each a compressed file of JSON lines: its account, then its rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def load(self, key: str) -> Outcome | None:
        """What the node with that key came to; None when it is not kept, or the file was damaged."""
        try:
            content = zstandard.ZstdDecompressor().decompressobj().decompress(self._path(key).read_bytes())
            head, *lines = content.splitlines()
            kept = json.loads(head)
            found = outcome_of([Row.model_validate_json(line) for line in lines], NodeRun.model_validate(kept["run"]))
        except (OSError, zstandard.ZstdError, ValueError, KeyError, ValidationError):
            return None  # it can always be made again
        return found if found.output == kept["output"] else None

    def keep(self, outcome: Outcome) -> None:
        """Write what a node came to; DiskFull and InvalidInput as for a dataset."""
        head = to_json({"run": outcome.run.model_dump(mode="json"), "output": outcome.output}).encode() + b"\n"
        content = zstandard.ZstdCompressor(level=_LEVEL).compress(head + _lines(outcome.rows))
        write_whole(self._path(outcome.run.key), content)

    def answers(self, settings: str) -> "AnswerBook":
        """The answers that were given under settings of that hash."""
        return AnswerBook(self.folder / f"answers-{settings}.jsonl")

    def purge(self, is_erased: Callable[[Row], bool], sources: Iterable[str] = ()) -> int:
        """Remove everything that holds rows of what was erased; how many files and answers went.

        `sources` are the ids of erased exchanges. Answers of models are told by the exchange that was asked about.
        """
        gone, ids = 0, set(sources)
        for path in sorted(self.folder.glob(f"*{_ENDING}")):
            found = self.load(path.name.removesuffix(_ENDING))
            erased = [row for row in found.rows if is_erased(row)] if found else []
            if found is None or erased:
                path.unlink(missing_ok=True)
                ids.update(row.source for row in erased)
                gone += 1
        for path in sorted(self.folder.glob(_ANSWERS)):
            gone += AnswerBook(path).forget(ids)
        return gone

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_ENDING}"


class AnswerBook:
    """A file of answers by the hash of the question; each is on the disk before the next one is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Answer] = {}
        for line in self._read():
            answer = _answer(line)
            if answer is not None:
                self._known[answer[0]] = answer[1]

    def get(self, question: str) -> Answer | None:
        """The answer to the question with that hash, if there is one."""
        return self._known.get(question)

    def add(self, question: str, source: str, answer: Answer) -> None:
        """Keep an answer for good; `source` is the row's, so that erasing it finds the answer."""
        self._known[question] = answer
        line = {
            "question": question,
            "source": source,
            "reply": answer.message.wire(),
            "usage": answer.usage.model_dump(mode="json"),
            "finish_reason": answer.finish_reason,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            if file.tell() and not self._ends_a_line():
                file.write(b"\n")  # a build was killed in the middle of a line; that one is asked again
            file.write(to_json(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self, sources: set[str]) -> int:
        """Remove the answers about these sources, and lines that cannot be read; how many went."""
        lines = self._read()
        kept = [line for line in lines if _source(line) not in sources | {None}]
        if len(kept) < len(lines):
            write_whole(self._path, b"".join(line + b"\n" for line in kept))
        return len(lines) - len(kept)

    def _read(self) -> list[bytes]:
        return self._path.read_bytes().splitlines() if self._path.exists() else []

    def _ends_a_line(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _lines(rows: Iterable[Row]) -> bytes:
    # Only what was set: a row whose split is not decided yet stays so.
    return b"".join(to_json(row.model_dump(mode="json", exclude_unset=True)).encode() + b"\n" for row in rows)


def _answer(line: bytes) -> tuple[str, Answer] | None:
    """Question and answer of a line; None for one that was cut off."""
    try:
        found: dict[str, Any] = json.loads(line)
        message, usage = Message.model_validate(found["reply"]), Usage.model_validate(found["usage"])
        return found["question"], Answer(message, usage, found["finish_reason"])
    except (ValueError, KeyError, TypeError):
        return None


def _source(line: bytes) -> str | None:
    try:
        return str(json.loads(line)["source"])
    except (ValueError, KeyError, TypeError):
        return None
