"""`python -m sft_parts.child SIDE`: one trainer in a process of its own; job in, findings out, both as JSON."""

import json
import resource
import sys
import time
from importlib import import_module
from typing import Any


def main() -> None:
    job = json.loads(sys.stdin.read())
    found = import_module(f"sft_parts.{sys.argv[1]}").train(job)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write("\n" + json.dumps(found))


class Clock:
    """CPU and wall seconds of the steps behind the first, which pays for what is paid once."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def tick(self) -> None:
        """A step has ended, or the first begins."""
        now = (time.process_time(), time.perf_counter())
        if self._began is not None:
            self.cpu.append(now[0] - self._began[0])
            self.wall.append(now[1] - self._began[1])
        self._began = now

    def told(self) -> dict[str, Any]:
        """Seconds of each step."""
        return {"cpu": self.cpu, "wall": self.wall}


if __name__ == "__main__":
    main()
