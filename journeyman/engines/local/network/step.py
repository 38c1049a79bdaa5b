"""One forward pass over many requests: whose tokens lie where in the flat batch, and in which pages of the cache."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from journeyman.engines.local.network.lora import LoraWeights

PAGE = 16
"""Positions in a page of the key–value cache; kernels.c has the same number."""
_FEW = 24
"""Chunks of at most so many tokens are attended to row by row, like decoding ones: cheaper than gathering pages."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of one request inside the flat batch.

    Tokens `offset … offset + length` of the batch stand at positions `start … start + length` of their request, whose
    pages `pages` names in order.
    """

    pages: Sequence[int]
    offset: int
    start: int
    length: int

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens `first … last` of the batch, the last exclusive, run under `weights`."""

    first: int
    last: int
    weights: LoraWeights


@dataclass
class Step:
    """A flat batch: one token of each decoding request first, then short chunks of prompts, then long ones."""

    ids: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    memo: dict[Any, Any] = field(default_factory=dict)
    """What one layer worked out about the batch, for the layers after it."""

    def add(self, ids: Sequence[int], start: int, pages: Sequence[int], weights: LoraWeights | None) -> int:
        """Append consecutive tokens of a request; returns the index of the last of them in the batch."""
        offset = len(self.ids)
        self.ids += ids
        self.parts.append(Part(pages, offset, start, len(ids)))
        if weights is not None:
            joins = self.spans and self.spans[-1].last == offset and self.spans[-1].weights is weights
            first = self.spans.pop().first if joins else offset
            self.spans.append(Span(first, len(self.ids), weights))
        return len(self.ids) - 1

    @cached_property
    def rows(self) -> int:
        """How many tokens, from the first on, are attended to row by row."""
        return sum(part.length for part in self.parts if part.length <= _FEW)

    @cached_property
    def chunks(self) -> list[Part]:
        """The parts that are attended to as a whole; they come after all others."""
        return [part for part in self.parts if part.length > _FEW]

    @cached_property
    def positions(self) -> torch.Tensor:
        """int32 [tokens]."""
        return torch.cat([torch.arange(part.start, part.end, dtype=torch.int32) for part in self.parts])

    @cached_property
    def places(self) -> torch.Tensor:
        """Where each token's key and value go, as page × PAGE + offset: int32 [tokens]."""
        return torch.tensor(
            [
                part.pages[position // PAGE] * PAGE + position % PAGE
                for part in self.parts
                for position in range(part.start, part.end)
            ],
            dtype=torch.int32,
        )

    @cached_property
    def lengths(self) -> torch.Tensor:
        """How many positions each row sees, its own included: int32 [rows]."""
        return self.positions[: self.rows] + 1

    @cached_property
    def tables(self) -> torch.Tensor:
        """The pages of each row, in order: int32 [rows, most pages]."""
        few = [part for part in self.parts if part.length <= _FEW]
        most = max((_pages(part.end) for part in few), default=0)
        tables = torch.zeros(self.rows, most, dtype=torch.int32)
        row = 0
        for part in few:
            used = _pages(part.end)
            tables[row : row + part.length, :used] = torch.tensor(part.pages[:used], dtype=torch.int32)
            row += part.length
        return tables


def _pages(positions: int) -> int:
    return -(-positions // PAGE)
