"""Memory that was used for a while goes back to the system, where the C library can be asked to."""

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Return what is free inside of the allocator's pools: by itself glibc keeps it for ever. Takes milliseconds."""
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    """glibc's `malloc_trim`; None elsewhere."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
