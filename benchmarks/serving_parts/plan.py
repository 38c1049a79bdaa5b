"""How much is measured: the full programme, or a first look."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving_parts.random_adapters import write_adapter, write_lookalike

SEED = 0


@dataclass(frozen=True)
class Plan:
    """What every part is told. `scratch` is a folder for adapters and models made for the occasion."""

    model: Path
    scratch: Path
    threads: int = 2
    rounds: int = 3
    quick: bool = False
    dtype: str = "bfloat16"
    """In which every engine computes where speed and memory are measured."""

    @property
    def new_tokens(self) -> int:
        """Length of each reply whose speed is measured."""
        return 8 if self.quick else 128

    @property
    def prompt_tokens(self) -> int:
        """Length of each prompt to such a reply."""
        return 64

    def count(self, full: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else full

    def job(self, **more: Any) -> dict[str, Any]:
        """What a side needs to know, as JSON."""
        return {
            "model": str(self.model),
            "threads": self.threads,
            "new_tokens": self.new_tokens,
            "prompt_tokens": self.prompt_tokens,
            "precision": self.dtype,
            **more,
        }

    def adapters(self, count: int, precision: str | None = None) -> list[str]:
        """Folders of so many different random adapters of rank 16, written when they are first asked for."""
        precision = precision or self.dtype
        folder = self.scratch / f"adapters-{precision}"
        return [str(write_adapter(folder / f"a{number}", self.model, number, precision)) for number in range(count)]

    def crowd(self, count: int) -> list[str]:
        """Folders of so many adapters of rank 16 that the engine tells apart, on the disk space of 32.

        Their weights are those of 32 others; their settings, and so the hash they are known by, are their own.
        """
        originals = [Path(folder) for folder in self.adapters(self.count(32, 4))]
        folder = self.scratch / "crowd"
        return [
            str(write_lookalike(folder / f"c{number}", originals[number % len(originals)], number))
            for number in range(count)
        ]
