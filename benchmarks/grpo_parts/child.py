"""`python -m grpo_parts.child SIDE`: one trainer in a process of its own; job in, findings out, both as JSON."""

import json
import os
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    job = json.loads(sys.stdin.read())
    found = import_module(f"grpo_parts.{sys.argv[1]}").train(job)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write("\n" + json.dumps(found))


def cpu_seconds(others: tuple[int, ...] = ()) -> float:
    """CPU time of this process so far, and of other running ones."""
    total = time.process_time()
    for pid in others:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def reward_of(text: str) -> float:
    """The share of the letter e among a reply's letters: free, and never the same for all attempts."""
    letters = [letter for letter in text.lower() if letter.isalpha()]
    return sum(letter == "e" for letter in letters) / max(len(letters), 1)


class Steps:
    """CPU and wall seconds of each step."""

    def __init__(self, others: tuple[int, ...] = ()) -> None:
        self._others = others
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self._began: tuple[float, float] | None = None

    def tick(self) -> None:
        """A step ended, or the first begins."""
        now = (cpu_seconds(self._others), time.perf_counter())
        if self._began is not None:
            self.cpu.append(now[0] - self._began[0])
            self.wall.append(now[1] - self._began[1])
        self._began = now

    def told(self) -> dict[str, Any]:
        """Seconds of each step."""
        return {"cpu": self.cpu, "wall": self.wall}


if __name__ == "__main__":
    main()
