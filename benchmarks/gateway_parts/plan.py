"""How much is measured, on which cores: the full programme, or a first look."""

import os
from dataclasses import dataclass, field
from pathlib import Path

SEED = 0


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Plan:
    """What every part is told. `scratch` is a folder for homes and logs.

    The server under test has the first core for itself; the upstream, the load and our ingester share the others.
    """

    scratch: Path
    rounds: int = 3
    quick: bool = False
    calls: int = 1_000_000
    """Over which the memory is watched."""
    cores: list[int] = field(default_factory=_cores)

    @property
    def server_cores(self) -> set[int]:
        """Where the server under test runs."""
        return set(self.cores[:1])

    @property
    def other_cores(self) -> set[int]:
        """Where everything else runs."""
        return set(self.cores[1:] or self.cores)

    def of(self, full: float, quick: float) -> float:
        """One of two lengths, in seconds."""
        return quick if self.quick else full
