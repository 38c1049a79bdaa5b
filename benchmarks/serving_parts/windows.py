"""What a stretch of time cost: wall seconds, CPU seconds of ours, and what everybody else took of the processor.

Nothing but the standard library: vLLM's side imports it under an interpreter that has none of our packages.
"""

import os
import time
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


class Window:
    """Measures from its making until `close`; our own are this process and all its descendants that live."""

    def __init__(self) -> None:
        self._own, self._all = own_cpu_seconds(), _machine_cpu_seconds()
        self.begun = time.perf_counter()

    def close(self) -> dict[str, Any]:
        """`wall` and `cpu` in seconds, `others` as a share of the processor (None where the system does not say)."""
        wall = time.perf_counter() - self.begun
        cpu = own_cpu_seconds() - self._own
        everything = _machine_cpu_seconds()
        others = None
        if everything is not None and self._all is not None:
            others = max(0.0, everything - self._all - cpu) / (wall * (os.cpu_count() or 1))
        return {"wall": wall, "cpu": cpu, "others": others}


def own_cpu_seconds() -> float:
    """CPU seconds of this process and of all its descendants that live; of this process alone without /proc."""
    if not (_PROC / "stat").exists():
        return time.process_time()
    parents, used = {}, {}
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It ended meanwhile.
        parents[int(entry.name)], used[int(entry.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used.get(pid, 0) for pid in ours) / _TICKS


def _machine_cpu_seconds() -> float | None:
    stat = _PROC / "stat"
    if not stat.exists():
        return None
    user, nice, system, _, _, interrupts, soft, stolen, *_ = map(int, stat.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + interrupts + soft + stolen) / _TICKS
