"""Keeps an ingester running beside the gateway: what is captured reaches the store from a process of its own."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

import orjson

REPORT = "ingester.json"
"""In the spool's folder: how the ingester goes, rewritten about every second."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_WELL_SECONDS = 60.0
_STOP_SECONDS = 20.0

log = logging.getLogger(__name__)


class IngesterProcess:
    """`python -m journeyman.capture`, started again whenever it ends; use it as `async with`.

    It gets a pipe as its standard input and finishes when that closes, so it never outlives us. What it writes goes to
    `logs/ingester.log` in the home folder. While it is down, calls wait in the spool, and are not lost.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.restarts = 0

    async def __aenter__(self) -> "IngesterProcess":
        self._task = asyncio.create_task(self._keep_running())
        return self

    async def __aexit__(self, *ended: object) -> None:
        """Let it store what waits, and end it."""
        self._stopping.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
            if not done:
                log.error("the ingester took longer than %g s to end; what waits is stored next time", _STOP_SECONDS)
                if self._process is not None:
                    self._process.kill()
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_running(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._run()
            if self._stopping.is_set():
                return
            self.restarts += 1
            pause = _FIRST_PAUSE if time.monotonic() - began > _WELL_SECONDS else min(_LONGEST_PAUSE, pause * 2)
            log.error("the ingester has ended (exit status %s); started again in %g s", status, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run(self) -> int | str:
        folder = self._home / "logs"
        command = [sys.executable, "-m", "journeyman.capture", "--home", str(self._home)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "ingester.log").open("ab") as words:
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=PIPE, stdout=DEVNULL, stderr=words, start_new_session=True,
                    env={**os.environ, "JOURNEYMAN_HOME": str(self._home)},
                )  # fmt: skip
        except OSError as error:
            return str(error)
        if self._stopping.is_set() and self._process.stdin is not None:
            self._process.stdin.close()
        return await self._process.wait()


def ingester_report(spool: Path) -> dict[str, Any]:
    """What the ingester of a spool's folder last told of itself; `at` says when. Nothing before it ever ran.

    The `lag` goes on growing from then on: an ingester that hangs, or is dead, tells of none.
    """
    try:
        report = orjson.loads((spool / REPORT).read_bytes())
        report["lag"] = round(report["lag"] + max(0.0, time.time() - report["at"]), 3)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return report if isinstance(report, dict) else {}
