"""Verdicts that were paid for once, kept by the content they are about: a restart, or a rollout that says the same
again, does not pay for them twice."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from journeyman.errors import DiskFull, InvalidInput


class VerdictBook:
    """A file of JSON lines, one for each verdict; each is on the disk before the next one is asked for.

    Without a path the verdicts live as long as the process. Processes may append to one file; each sees what was there
    when it opened it, and its own.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            found = _entry(line)
            if found is not None:
                self._known[found["question"]] = found["verdict"]

    def __len__(self) -> int:
        return len(self._known)

    def get(self, question: str) -> dict[str, Any] | None:
        """The verdict on the question with that hash, if there is one."""
        return self._known.get(question)

    def add(self, question: str, verdict: dict[str, Any], about: Mapping[str, Any]) -> None:
        """Keep a verdict for good; `about` says what it is about: scenario, judge, `sessions` of the attempts."""
        self._known[question] = verdict
        if self._path is None:
            return
        line = json.dumps({"question": question, "verdict": verdict, "about": dict(about)}, ensure_ascii=False)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Begun with a line break: what a killed process left unfinished stays a line of its own.
            with self._path.open("ab", buffering=0) as file:
                file.write(b"\n" + line.encode("utf-8", "surrogatepass"))
                os.fsync(file.fileno())
        except OSError as error:
            raise DiskFull(
                f"a verdict could not be kept in {self._path} ({error}); those before it are safe. Make room, or name "
                "another file"
            ) from error

    def forget(self, sessions: Collection[str]) -> int:
        """Remove the verdicts on attempts of these sessions (erasure), and lines that cannot be read; how many went."""
        if self._path is None:
            raise InvalidInput("this book has no file, so nothing of it outlives the process")
        entries = [(line, _entry(line)) for line in self._lines()]
        kept = [(line, found) for line, found in entries if found and not _sessions(found) & set(sessions)]
        if len(kept) < len(entries):
            partial = self._path.with_suffix(".partial")
            partial.write_bytes(b"".join(b"\n" + line for line, _ in kept))
            partial.replace(self._path)
            self._known = {found["question"]: found["verdict"] for _, found in kept}
        return len(entries) - len(kept)

    def _lines(self) -> list[bytes]:
        if self._path is None or not self._path.exists():
            return []
        return [line for line in self._path.read_bytes().splitlines() if line.strip()]


def _entry(line: bytes) -> dict[str, Any] | None:
    """What a line says; None for one that was cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"question", "verdict", "about"} <= found.keys() else None


def _sessions(entry: dict[str, Any]) -> set[str]:
    return set(entry["about"].get("sessions", ()))
