"""Several processes that learn as one: each computes its share of every batch, and all make the same step."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """Which of how many processes this is. All of them hold the whole dataset and draw the same order from the seed."""

    rank: int = 0
    size: int = 1
    settle: Callable[[], None] = lambda: None
    """What comes before anything is added up: help the others with passes that all must compute together."""

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """What this process computes of a batch; nothing, when the batch is smaller than the world."""
        return batch[self.rank :: self.size]

    def add_up(self, values: Iterable[torch.Tensor]) -> None:
        """Replace tensors by their sums over all processes; the same bits in each of them."""
        if self.size == 1:
            return
        self.settle()
        kept = list(values)
        flat = torch.cat([value.reshape(-1) for value in kept])
        distributed.all_reduce(flat)
        for value, total in zip(kept, torch.split(flat, [value.numel() for value in kept]), strict=True):
            value.copy_(total.view_as(value))

    def join(self, values: torch.Tensor) -> torch.Tensor:
        """The values [n] of all processes, one after the other [N]; every n may be another."""
        if self.size == 1:
            return values
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(values)
        self.add_up([counts])
        whole = values.new_zeros(int(counts.sum()))
        torch.split(whole, counts.tolist())[self.rank].copy_(values)
        self.add_up([whole])
        return whole

    def total(self, *numbers: float) -> tuple[float, ...]:
        """The sums of numbers over all processes."""
        found = torch.tensor(numbers, dtype=torch.float64)
        self.add_up([found])
        return tuple(found.tolist())


def this_world() -> World:
    """The world that torch.distributed was set up for; alone when it was not."""
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return World()
