"""Keys and values of every request in flight, one slot each; a slot is kept for what may continue its request."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from journeyman.engines.local.network.lora import LoraWeights

NEARLY_ALL = 0.9
"""A slot is continued, not copied from, when at least this share of what it holds is a prefix of the new prompt."""


@dataclass(slots=True)
class Slot:
    """What one slot holds: the ids whose keys and values are in it, and under which weights they were computed."""

    index: int
    weights: LoraWeights | None = None
    ids: list[int] = field(default_factory=list)
    busy: bool = False
    used_at: int = 0


class SlotCache:
    """Key–value tensors [layer][slots, heads, positions, head size] and the bookkeeping of their slots."""

    def __init__(self, layers: int, slots: int, heads: int, positions: int, head_size: int, dtype: torch.dtype) -> None:
        self.positions = positions
        shape = (slots, heads, positions, head_size)
        self.keys = [_untouched_zeros(shape, dtype) for _ in range(layers)]
        self.values = [_untouched_zeros(shape, dtype) for _ in range(layers)]
        self.slots = [Slot(index) for index in range(slots)]
        self._clock = 0

    def take(self, ids: Sequence[int], weights: LoraWeights | None) -> tuple[Slot, int] | None:
        """A slot for a prompt, and how many of its first tokens need no computation; None when all are busy.

        At least the prompt's last token is always left to compute: its logits are needed. A busy slot may be
        copied from, too: what is in it was computed for exactly those ids under those weights. The weights are
        told apart by identity: a name may have been given to others meanwhile.
        """
        free = [slot for slot in self.slots if not slot.busy]
        if not free:
            return None
        shared = {slot.index: _shared(slot, ids, weights) for slot in self.slots}
        continued = [slot for slot in free if slot.ids and shared[slot.index] >= NEARLY_ALL * len(slot.ids)]
        if continued:
            chosen = max(continued, key=lambda slot: shared[slot.index])
        else:
            chosen = min(free, key=lambda slot: slot.used_at)
        source = max(self.slots, key=lambda slot: shared[slot.index])
        length = shared[chosen.index]
        if shared[source.index] > length:
            length = shared[source.index]
            self._copy(source.index, chosen.index, length)
        chosen.busy, chosen.weights, chosen.ids = True, weights, list(ids[:length])
        return chosen, length

    def release(self, slot: Slot) -> None:
        """The request ended; what the slot holds stays until somebody needs the room."""
        self._clock += 1
        slot.busy, slot.used_at = False, self._clock
        if not self._is_finite(slot):
            # Left there, a NaN would spread to whoever has the slot next: attention weighs it with 0, which is NaN.
            for cached in (*self.keys, *self.values):
                cached[slot.index] = 0
            slot.ids = []

    def forget(self, weights: LoraWeights) -> None:
        """Let go of an adapter that is no longer loaded, except where a request still runs under it."""
        for slot in self.slots:
            if slot.weights is weights and not slot.busy:
                slot.weights, slot.ids = None, []

    def _is_finite(self, slot: Slot) -> bool:
        # Whatever went wrong in an earlier layer has reached the last one.
        filled = len(slot.ids)
        last = (self.keys[-1][slot.index, :, :filled], self.values[-1][slot.index, :, :filled])
        return all(bool(cached.isfinite().all()) for cached in last)

    def _copy(self, source: int, target: int, length: int) -> None:
        for cached in (*self.keys, *self.values):
            cached[target, :, :length] = cached[source, :, :length]


def _untouched_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    # NumPy asks the system for zeroed pages and does not write them: a long slot costs memory only where it is used.
    # Zeros matter: attention weighs unwritten positions with 0, and 0 times a stray NaN would be NaN.
    stored = np.zeros(shape, np.float32 if dtype is torch.float32 else np.uint16)
    return torch.from_numpy(stored).view(dtype)


def _shared(slot: Slot, ids: Sequence[int], weights: LoraWeights | None) -> int:
    if slot.weights is not weights:
        return 0
    length = 0
    for held, asked in zip(slot.ids, ids[:-1], strict=False):
        if held != asked:
            break
        length += 1
    return length
