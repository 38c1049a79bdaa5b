"""One forward pass over many requests: whose tokens lie where in the flat batch."""

from dataclasses import dataclass, field
from typing import Any

from journeyman.engines.local.network.lora import LoraWeights


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of one request inside the flat batch.

    Tokens `offset … offset + length` of the batch stand at positions `start … start + length` of cache slot `slot`.
    """

    slot: int
    offset: int
    start: int
    length: int

    @property
    def end(self) -> int:
        """Position after the last token: how much of the slot is filled after this pass."""
        return self.start + self.length


@dataclass(slots=True)
class Step:
    """A flat batch: one token of each decoding request first, then chunks of prompts.

    `spans` are (first token, last token + 1, weights) for every run of tokens under one adapter.
    """

    decoding: list[Part] = field(default_factory=list)
    chunks: list[Part] = field(default_factory=list)
    spans: list[tuple[int, int, LoraWeights]] = field(default_factory=list)
    memo: dict[Any, Any] = field(default_factory=dict)
    """What one layer worked out about the batch, for the layers after it."""
