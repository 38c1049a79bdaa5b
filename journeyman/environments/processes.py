"""What a program and all that it started use, and their end: read from `/proc`, where there is one."""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_ROUNDS = 20


class Watched(NamedTuple):
    """How many processes there are, the bytes of memory they hold, and the processor seconds they have used."""

    processes: int
    memory: int
    cpu_seconds: float


class _Process(NamedTuple):
    id: int
    parent: int
    session: int
    ticks: int
    pages: int


def usage_of(leader: int) -> Watched:
    """What the processes of a session leader and their children use now; nothing where there is no `/proc`."""
    found = _family(leader)
    return Watched(
        len(found),
        sum(each.pages for each in found) * os.sysconf("SC_PAGE_SIZE"),
        sum(each.ticks for each in found) / os.sysconf("SC_CLK_TCK"),
    )


def kill_all(leader: int) -> None:
    """End a session leader's processes and their children; those that appear meanwhile, too.

    All are stopped before any is killed: a child in a session of its own is found by its parent, as long as that lives.
    """
    for _ in range(_ROUNDS):
        known: set[int] = set()
        while new := {each.id for each in _family(leader)} - known:
            known |= new
            for each in new:
                _send(os.kill, each, signal.SIGSTOP)
        for each in known:
            _send(os.kill, each, signal.SIGKILL)
        _send(os.killpg, leader, signal.SIGKILL)
        if known <= {leader}:
            return


def _send(how: Callable[[int, int], None], to: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        how(to, number)


def _family(leader: int) -> list[_Process]:
    every = [each for each in map(_read, _PROC.glob("[0-9]*")) if each is not None] if _PROC.is_dir() else []
    known = {each.id for each in every if each.id == leader or each.session == leader}
    grown = True
    while grown:
        children = {each.id for each in every if each.parent in known} - known
        known |= children
        grown = bool(children)
    return [each for each in every if each.id in known]


def _read(folder: Path) -> _Process | None:
    """One process; None when it is gone, or only waits to be buried."""
    try:
        text = (folder / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(") ")[2].split()
    if fields[0] == "Z":
        return None
    ticks = int(fields[11]) + int(fields[12])
    return _Process(int(folder.name), int(fields[1]), int(fields[3]), ticks, int(fields[21]))
