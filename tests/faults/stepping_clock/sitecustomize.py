"""A Python process with this folder on its path reads its wall clock off by the seconds in the file `STEPPED_CLOCK`.

A test cannot set the machine's own clock. What Python code asks `time.time` and `time.time_ns` for steps; the monotonic
clock does not, as on a machine whose clock was set.
"""

import os
import time

_time, _time_ns = time.time, time.time_ns


def _offset() -> int:
    try:
        with open(os.environ["STEPPED_CLOCK"]) as file:
            return int(file.read() or 0)
    except OSError:
        return 0


time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 1_000_000_000
