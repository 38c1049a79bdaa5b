"""Makes a process suit an ingester, which makes and drops the same kind of memory again and again."""

import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD = -1, -2
"""As glibc's malloc.h numbers them."""
_KEPT_BYTES = 32 << 20
_TAKEN_AT_ONCE_BYTES = 4 << 20


def suit_ingesting() -> None:
    """Change the whole process: call it where a process begins, after its imports.

    What records are made of holds no cycles, so the collector looks for some more seldom. And glibc gives memory that
    is free at the end of its heap back to the system at once, to ask for it again for the next batch: up to 32 MiB are
    kept instead.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
    if sys.platform == "linux" and (tune := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        tune(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        tune(_M_TOP_PAD, _TAKEN_AT_ONCE_BYTES)
