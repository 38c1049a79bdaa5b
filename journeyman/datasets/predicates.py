"""Keeps rows by a person's own code."""

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from journeyman.errors import InvalidInput
from journeyman.records import Row

Predicate = Callable[[Row], bool | str]
"""True to keep a row; false, or the reason in words, to leave it out."""


def load_predicate(code: str, folder: Path) -> Predicate:
    """The function that `FILE.py:FUNCTION` names; a relative path begins at `folder`. It is run as it is: trust it."""
    path, function = _path_and_name(code, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InvalidInput(f"code = {code!r}: there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as problem:  # whatever a person's own file raises
        raise InvalidInput(f"{path} cannot be run: {type(problem).__name__}: {problem}") from problem
    found = getattr(module, function, None)
    if not callable(found):
        raise InvalidInput(f"code = {code!r}: {path} defines no function {function!r}")
    predicate: Predicate = found
    return predicate


def code_text(code: str, folder: Path) -> str:
    """The text of the file, which decides whether its node must run again; InvalidInput when it is not there."""
    path, _ = _path_and_name(code, folder)
    try:
        return path.read_text("utf-8")
    except OSError as problem:
        raise InvalidInput(f"code = {code!r}: cannot read {path} ({problem.strerror})") from problem


def judged(predicate: Predicate, rows: Iterable[Row], code: str) -> list[tuple[Row, str | None]]:
    """Each row, and why it is left out (None: it is kept). InvalidInput names the row on which the code fails."""
    verdicts: list[tuple[Row, str | None]] = []
    for row in rows:
        try:
            said = predicate(row)
        except Exception as problem:  # whatever a person's own code raises
            raise InvalidInput(
                f"{code} failed on the conversation {row.conversation}: {type(problem).__name__}: {problem}. "
                "Nothing was built; repair it, and build again"
            ) from problem
        if not isinstance(said, bool | str):
            raise InvalidInput(f"{code} returned {said!r} for {row.conversation}; return true, false, or a reason")
        verdicts.append((row, None if said is True else said or f"{code} said no"))
    return verdicts


def _path_and_name(code: str, folder: Path) -> tuple[Path, str]:
    path, _, function = code.rpartition(":")
    return folder / path, function
