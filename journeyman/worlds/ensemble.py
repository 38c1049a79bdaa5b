"""Several worlds of the same traces under one name: each was built without other sessions, and errs elsewhere."""

import json
from pathlib import Path

from journeyman.errors import InvalidInput, NotFound

_FILE = "members.json"


def member_names(name: str, folder: Path) -> tuple[str, ...]:
    """The worlds that a name stands for: those of an ensemble, or that one world; NotFound for neither."""
    path = folder / name / _FILE
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["members"]
            return tuple(str(each) for each in found)
        except (ValueError, KeyError, TypeError) as problem:
            raise InvalidInput(f"{path} names no members ({problem}); build the ensemble again") from problem
    if folder.is_dir() and (folder / name).is_dir():
        return (name,)
    known = sorted({each.parent.name for each in folder.glob("*/*") if each.is_file()}) if folder.is_dir() else []
    raise NotFound("world", name, known, f"Build it: journeyman world build {name}")


def save_members(name: str, members: tuple[str, ...], folder: Path) -> None:
    """Let a name stand for several worlds, in place of what it stood for."""
    path = folder / name / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"members": members}), encoding="utf-8")
    partial.replace(path)


def forget_members(name: str, folder: Path) -> None:
    """Let a name stand for one world again."""
    (folder / name / _FILE).unlink(missing_ok=True)
