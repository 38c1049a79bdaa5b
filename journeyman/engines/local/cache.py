"""Keys and values of every request in flight, one slot each; a finished request's slot is kept for what continues it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

NEARLY_ALL = 0.9
"""A slot is continued, not copied from, when at least this share of what it holds is a prefix of the new prompt."""


@dataclass(slots=True)
class Slot:
    """What one slot holds: the ids whose keys and values are in it, and under which adapter they were computed."""

    index: int
    adapter: str | None = None
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

    def take(self, ids: Sequence[int], adapter: str | None) -> tuple[Slot, int] | None:
        """A slot for a prompt, and how many of its first tokens need no computation; None when all are busy.

        At least the prompt's last token is always left to compute: its logits are needed. A busy slot may be
        copied from, too: what is in it was computed for exactly those ids under that adapter.
        """
        free = [slot for slot in self.slots if not slot.busy]
        if not free:
            return None
        shared = {slot.index: _shared(slot, ids, adapter) for slot in self.slots}
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
        chosen.busy, chosen.adapter, chosen.ids = True, adapter, list(ids[:length])
        return chosen, length

    def release(self, slot: Slot) -> None:
        """The request ended; what the slot holds stays until somebody needs the room."""
        self._clock += 1
        slot.busy, slot.used_at = False, self._clock

    def forget(self, adapter: str) -> None:
        """Drop what was computed under an adapter that is no longer loaded."""
        for slot in self.slots:
            if slot.adapter == adapter and not slot.busy:
                slot.ids = []

    def _copy(self, source: int, target: int, length: int) -> None:
        for cached in (*self.keys, *self.values):
            cached[target, :, :length] = cached[source, :, :length]


def _untouched_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    # NumPy asks the system for zeroed pages and does not write them: a long slot costs memory only where it is used.
    # Zeros matter: attention weighs unwritten positions with 0, and 0 times a stray NaN would be NaN.
    stored = np.zeros(shape, np.float32 if dtype is torch.float32 else np.uint16)
    return torch.from_numpy(stored).view(dtype)


def _shared(slot: Slot, ids: Sequence[int], adapter: str | None) -> int:
    if slot.adapter != adapter:
        return 0
    length = 0
    for held, asked in zip(slot.ids, ids[:-1], strict=False):
        if held != asked:
            break
        length += 1
    return length
