"""Ctrl-C and a polite kill, taken as a wish to stop after the step in progress."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = b"\nStopping after this step. Once more stops at once, and loses what came after the last checkpoint.\n"


@contextmanager
def stopping_in_order() -> Iterator[Callable[[], None]]:
    """While inside, a signal only asks for a stop; calling what is yielded stops, if that was asked for.

    A signal can strike in the middle of a step, and half a step must not be saved.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not print: the signal may have interrupted one, and buffered streams cannot be entered twice.
        os.write(2, _STOPPING)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check  # Signals are for the main thread alone.
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
