"""Keys and values in pages, each named by everything that went into it, so that equal beginnings are computed once."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from journeyman.engines.local.network.ops import Pages
from journeyman.engines.local.network.step import PAGE

BASE = b"base"
"""The root of what the base model computed; an adapter's is its digest."""


@dataclass(slots=True)
class Lease:
    """The pages of one request, in order. `names[n]` is the name of page n once its ids are known.

    `shared` counts the positions that were there already when it was taken.
    """

    root: bytes
    pages: list[int]
    names: list[bytes]
    shared: int
    promised: list[bytes] = field(default_factory=list)
    published: int = 0
    """How many of the first pages others can find."""


class PagedCache:
    """Pages of all layers, and who uses them.

    A page that is full is published under its name: a hash of its ids, of all ids before it and of the weights that
    computed it. Pages that nobody uses stay until their room is needed, the longest unused first.
    """

    def __init__(self, layers: int, key_heads: int, size: int, pages: int, dtype: torch.dtype) -> None:
        self.layers = [
            Pages(
                _untouched_zeros((pages, key_heads, size, PAGE), dtype),
                _untouched_zeros((pages, key_heads, PAGE, size), dtype),
            )
            for _ in range(layers)
        ]
        self.total = pages
        # From the end: the first pages are taken first, and memory that was never used is never touched.
        self._free = list(range(pages - 1, -1, -1))
        self._users = [0] * pages
        self._published: dict[bytes, int] = {}
        self._name_of: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._promised: dict[bytes, Lease] = {}

    @property
    def used(self) -> int:
        """Pages that requests hold."""
        return self.total - len(self._free) - len(self._idle)

    def take(self, positions: int, root: bytes, names: Sequence[bytes] = ()) -> Lease | None:
        """Pages for a request, beginning with those of `names` that are here already; None when too few are free."""
        found = list[int]()
        for name in names:
            page = self._published.get(name)
            if page is None:
                break
            found.append(page)
        missing = _pages(positions) - len(found)
        spare = sum(page in self._idle for page in found)
        if missing > len(self._free) + len(self._idle) - spare:
            return None
        for page in found:
            self._use(page)
        shared = len(found)
        lease = Lease(root, found, list(names[:shared]), shared * PAGE, list(names[shared:]), shared)
        for _ in range(missing):
            lease.pages.append(self._fresh())
        for name in lease.promised:
            self._promised.setdefault(name, lease)
        return lease

    def is_promised(self, names: Sequence[bytes]) -> bool:
        """Whether a running request is just computing the first page that is missing here: waiting is cheaper."""
        missing = next((name for name in names if name not in self._published), None)
        return missing is not None and missing in self._promised

    def grow(self, lease: Lease, positions: int) -> bool:
        """Give a request pages for so many positions; False, and nothing given, when there are none left."""
        missing = _pages(positions) - len(lease.pages)
        if missing > len(self._free) + len(self._idle):
            return False
        for _ in range(missing):
            lease.pages.append(self._fresh())
        return True

    def publish(self, lease: Lease, ids: Sequence[int], computed: int) -> None:
        """Let others find the pages that are full now that the first `computed` of `ids` are in them."""
        while (lease.published + 1) * PAGE <= computed:
            number = lease.published
            if number == len(lease.names):
                before = lease.names[-1] if lease.names else lease.root
                lease.names.append(_name(before, ids[number * PAGE : (number + 1) * PAGE]))
            name = lease.names[number]
            if name not in self._published:
                self._published[name] = lease.pages[number]
                self._name_of[lease.pages[number]] = name
            if self._promised.get(name) is lease:
                del self._promised[name]
            lease.published += 1

    def release(self, lease: Lease) -> None:
        """The request ended, or gives way to another; what it published stays until the room is needed."""
        for name in lease.promised:
            if self._promised.get(name) is lease:
                del self._promised[name]
        # The last pages go first: a beginning is of use without its end, an end never without its beginning.
        for page in reversed(lease.pages):
            self._users[page] -= 1
            if self._users[page]:
                continue
            if page in self._name_of:
                self._idle[page] = None
            else:
                self._free.append(page)
        lease.pages = []

    def _use(self, page: int) -> None:
        self._users[page] += 1
        self._idle.pop(page, None)

    def _fresh(self) -> int:
        if self._free:
            page = self._free.pop()
        else:
            page, _ = self._idle.popitem(last=False)
            del self._published[self._name_of.pop(page)]
        self._users[page] = 1
        return page


def page_names(root: bytes, ids: Sequence[int]) -> list[bytes]:
    """The names of the pages that these ids fill, all but the last id: that is always computed, for its logits."""
    names, name = list[bytes](), root
    for first in range(0, len(ids) - PAGE, PAGE):
        name = _name(name, ids[first : first + PAGE])
        names.append(name)
    return names


def _pages(positions: int) -> int:
    return -(-positions // PAGE)


def _name(before: bytes, ids: Sequence[int]) -> bytes:
    return hashlib.blake2b(before + np.array(ids, np.int64).tobytes(), digest_size=16).digest()


def _untouched_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    # NumPy asks the system for zeroed memory and does not write it: the cache takes memory only where it is used.
    stored = np.zeros(shape, np.float32 if dtype is torch.float32 else np.uint16)
    return torch.from_numpy(stored).view(dtype)
