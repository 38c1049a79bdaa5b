"""The programs that a demo needs, started as a user would start them, and stopped whatever happens."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from journeyman.errors import JourneymanError

_STOP_SECONDS = 30


class StepFailed(JourneymanError):
    """A command of the demo ended with an error, which it has already printed."""

    code = "demo_step_failed"


def run_command(arguments: list[str], environment: Mapping[str, str]) -> None:
    """Run `journeyman ARGUMENTS` in a process of its own, its output going straight to the terminal."""
    ended = subprocess.run([sys.executable, "-m", "journeyman", *arguments], env={**os.environ, **environment})
    if ended.returncode:
        raise StepFailed(
            f"`journeyman {' '.join(arguments)}` ended with exit code {ended.returncode}; what was captured and "
            f"trained until then is kept in {environment['JOURNEYMAN_HOME']}"
        )


@contextmanager
def running(module: list[str], environment: Mapping[str, str], log: Path, timeout: float = 180.0) -> Iterator[str]:
    """A server in a process of its own; yields the first URL that it announces. It is stopped on the way out.

    StepFailed with the end of its log when it has not announced one within `timeout` seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops its servers in order
        )
    try:
        yield _announced_url(process, module, log, timeout)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _announced_url(process: subprocess.Popen[str], module: list[str], log: Path, timeout: float) -> str:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + timeout
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            said = "\n".join(log.read_text().splitlines()[-5:])
            raise StepFailed(
                f"waited up to {timeout:g} s for `{' '.join(module)}` to say where it listens; its log ends:\n{said}"
            )
        found = re.search(r"http://[\w.:\[\]]+", line)
        if found:
            return found.group()
