"""The adapters an engine knows: any number registered, those in use in memory, up to a limit."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from journeyman.engines.local.network.lora import MOST_RANKS, LoraWeights, read_lora
from journeyman.engines.local.network.sites import Site
from journeyman.errors import InvalidInput, NotFound, Overloaded


@dataclass(frozen=True, slots=True)
class Registered:
    """An adapter by name: its files as they were when it was registered."""

    name: str
    folder: Path
    digest: str
    rank: int
    bytes: int


class AdapterStore(Mapping[str, Registered]):
    """Adapters by name. Weights are found by their digest, never by a name or a folder; safe to use from any thread.

    Weights that nobody uses are let go, the longest unused first, when others need the room; they are read again when
    they are asked for. `limit` is in bytes and counts weights in use, too.
    """

    def __init__(
        self, sites: Sequence[Site], dtype: torch.dtype, limit: int = 2 << 30, most_ranks: int = MOST_RANKS
    ) -> None:
        self._sites, self._dtype, self._limit, self._most_ranks = sites, dtype, limit, most_ranks
        self._registered: dict[str, Registered] = {}
        self._resident: OrderedDict[str, LoraWeights] = OrderedDict()
        self._users: Counter[str] = Counter()
        self._owners: Counter[str] = Counter()
        """How many requests run under each digest; and how many names and unfinished requests it has."""
        self._size = 0
        self._lock = threading.Lock()
        self.loads = self.evictions = 0

    def __getitem__(self, name: str) -> Registered:
        return self._registered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._registered))

    def __len__(self) -> int:
        return len(self._registered)

    @property
    def resident(self) -> int:
        """How many different adapters are in memory."""
        return len(self._resident)

    @property
    def resident_bytes(self) -> int:
        """Memory of their weights."""
        return self._size

    def register(self, name: str, folder: Path, *, replace: bool = False) -> Registered:
        """Read an adapter, check it and make it answerable by name.

        A name stands for one content: for another one InvalidInput, unless `replace`. Requests that run under the old
        content finish under it.
        """
        weights = read_lora(name, folder, self._sites, self._dtype, self._most_ranks)
        entry = Registered(name, folder, weights.digest, weights.rank, weights.bytes)
        if entry.bytes > self._limit:
            raise InvalidInput(
                f"adapter {name!r} takes {entry.bytes >> 20} MiB, and the engine was given {self._limit >> 20} MiB for "
                "adapters; start it with more"
            )
        with self._lock:
            known = self._registered.get(name)
            if known is not None and known.digest != entry.digest and not replace:
                raise InvalidInput(
                    f"adapter {name!r} is loaded with other weights; unload it first, use a new name, or ask for "
                    "load_inplace"
                )
            self._registered[name] = entry
            self._owners[entry.digest] += 1
            if known is not None:
                self._disown(known.digest)
            self._keep(weights)
        return entry

    def unregister(self, name: str) -> None:
        """Forget a name. Requests that run under its weights finish first."""
        with self._lock:
            entry = self._registered.pop(name, None)
            if entry is None:
                raise NotFound("adapter", name, self._registered)
            self._disown(entry.digest)

    def claim(self, name: str) -> Registered:
        """What a name stands for now, kept for a request whatever becomes of the name; given back with `disclaim`."""
        with self._lock:
            entry = self._registered.get(name)
            if entry is None:
                raise NotFound("adapter", name, self._registered)
            self._owners[entry.digest] += 1
            return entry

    def disclaim(self, entry: Registered) -> None:
        """The request has ended."""
        with self._lock:
            self._disown(entry.digest)

    def acquire(self, entry: Registered) -> LoraWeights | None:
        """The weights for one more request, to be given back with `release`; None when they must be `fetch`ed first."""
        with self._lock:
            weights = self._resident.get(entry.digest)
            if weights is not None:
                self._resident.move_to_end(entry.digest)
                self._users[entry.digest] += 1
            return weights

    def hold(self, name: str) -> LoraWeights:
        """The weights of a name, read now where they are not in memory; to be given back with `release`."""
        entry = self._registered.get(name)
        if entry is None:
            raise NotFound("adapter", name, self._registered)
        while (weights := self.acquire(entry)) is None:
            if not self.has_room(entry):
                raise Overloaded("every place for adapters in memory is in use; try again when others are done", 1.0)
            self.fetch(entry)
        return weights

    def release(self, weights: LoraWeights) -> None:
        """A request under these weights ended."""
        with self._lock:
            self._users[weights.digest] -= 1
            self._forget_unused(weights.digest)

    def has_room(self, entry: Registered, promised: int = 0) -> bool:
        """Whether these weights fit beside those that requests run under, and so many bytes promised to others."""
        with self._lock:
            if entry.digest in self._resident:
                return True
            in_use = sum(weights.bytes for digest, weights in self._resident.items() if self._users[digest])
            return in_use + promised + entry.bytes <= self._limit

    def fetch(self, entry: Registered) -> None:
        """Read the weights again. InvalidInput when their files are not what was registered."""
        weights = read_lora(entry.name, entry.folder, self._sites, self._dtype, self._most_ranks)
        if weights.digest != entry.digest:
            raise InvalidInput(
                f"the files of adapter {entry.name!r} changed after it was loaded; nothing was computed with them. "
                "Give changed weights a new name, and load them"
            )
        with self._lock:
            self._keep(weights)

    def _keep(self, weights: LoraWeights) -> None:
        """Hold new weights, and let go of others for them; of these, too, when all others are in use."""
        if weights.digest in self._resident:
            self._resident.move_to_end(weights.digest)
            return
        self.loads += 1
        self._resident[weights.digest] = weights
        self._size += weights.bytes
        for digest in list(self._resident):
            if self._size <= self._limit:
                break
            if not self._users[digest]:
                self._drop(digest)
                self.evictions += 1

    def _disown(self, digest: str) -> None:
        self._owners[digest] -= 1
        self._forget_unused(digest)

    def _forget_unused(self, digest: str) -> None:
        """Weights that no name and no request has are nobody's."""
        if not self._users[digest]:
            del self._users[digest]
            if not self._owners[digest]:
                del self._owners[digest]
                self._drop(digest)

    def _drop(self, digest: str) -> None:
        weights = self._resident.pop(digest, None)
        if weights is not None:
            self._size -= weights.bytes
