"""Runs an engine in a process of its own, and ends it with us."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from journeyman.engines.dialect import LOCAL, SERVING_ONLY, Dialect
from journeyman.errors import InvalidInput, UpstreamFailed

_LOG_LINES = 15
_REFUSED = 2
"""The exit status of a child that could not use what it was given, and said so in its last line."""
_LONGEST_LINE = 16 << 20
"""Bytes of a line of the child's output: a library may print a whole configuration in one."""
_OURS = {
    "--precision": " and use the setting `precision`",
    "--threads": " and use the setting `threads`",
    "--model": " and choose the model with `journeyman up --model`",
    "--name": "",
    "--host": "",
    "--port": "",
    "--adapters": "",
    "--exit-with-stdin": "",
}
"""What we tell our own engine ourselves, and where else a person chooses it, if anywhere."""


class EngineProcess:
    """A child process that prints `ready http://127.0.0.1:PORT` once it serves; use it as `async with`.

    The child gets a pipe as its standard input and exits when that closes, so it never outlives us, whatever ends us.
    Everything it writes goes to `log`. After it ended, it can be started again.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        dialect: Dialect = LOCAL,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 120.0,
        stop_timeout: float = 10.0,
    ) -> None:
        self.name = name
        self.url = ""
        self.log = log
        self.dialect = dialect
        self.ends_with_us = True
        self.command, self._environment = tuple(command), environment
        self._start_timeout, self._stop_timeout = start_timeout, stop_timeout
        self._process: Process | None = None
        self._begins = 0
        """Where in the log the child that runs now has begun."""
        self._drain: asyncio.Task[None] | None = None

    @classmethod
    def local(
        cls, model: Path, name: str, home: Path, *,
        threads: int | None = None, precision: str = "auto", arguments: Sequence[str] = (),
        start_timeout: float = 120.0,
    ) -> Self:  # fmt: skip
        """The PyTorch engine over the weights in the folder `model`, called `name` by its clients.

        InvalidInput when the further `arguments` hold one that is set here.
        """
        refuse_ours("local_arguments", arguments, _OURS)
        command = [sys.executable, "-m", "journeyman.engines.local", "--model", str(model), "--name", name]
        command += ["--host", "127.0.0.1", "--port", "0", "--exit-with-stdin", "--precision", precision]
        command += ["--adapters", str(home / "adapters")]
        if threads is not None:
            command += ["--threads", str(threads)]
        dialect = SERVING_ONLY if precision == "int8" else LOCAL
        return cls(
            name, [*command, *arguments], log_of(home, name), dialect=dialect, start_timeout=start_timeout
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the child and wait until it serves. UpstreamFailed, with its last words, when it does not."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._begins = log.tell()
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we end the engine after the last call.
            self._process = await asyncio.create_subprocess_exec(
                *self.command, stdin=PIPE, stdout=PIPE, stderr=log, start_new_session=True, env=self._environment,
                limit=_LONGEST_LINE,
            )  # fmt: skip
        try:
            async with asyncio.timeout(self._start_timeout):
                self.url = await self._ready(self._process)
        except TimeoutError as error:
            await self.stop()
            raise UpstreamFailed(
                f"waited {self._start_timeout:g} s for the engine of {self.name} to be ready, in vain; "
                f"it was stopped. {self._last_words()}"
            ) from error
        except BaseException:
            await self.stop()
            raise
        self._drain = asyncio.create_task(self._keep_output(self._process))

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is a child."""
        return self._process.pid if self._process else None

    @property
    def failure(self) -> str | None:
        """Why the engine cannot answer, in words for the person who called it; None while it runs."""
        if self._process is None:
            return f"the engine of {self.name} is not running; start it with `journeyman up`"
        if self._process.returncode is None:
            return None
        return (
            f"the engine of {self.name} has ended (exit status {self._process.returncode}); what was captured is safe. "
            f"Restart `journeyman up`; its log is {self.log}"
        )

    @property
    def exit_status(self) -> int | None:
        """The child's exit status, once it has ended."""
        return self._process.returncode if self._process else None

    def kill(self) -> None:
        """End the child and all that it started, now."""
        if self._process is not None:
            _kill_group(self._process.pid)

    async def ended(self) -> None:
        """Return when the child has ended; at once when there is none."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """End the child: ask it to finish and go, then close its input, then kill it and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        for insist in (_ask_to_end, _close_input):
            if process.returncode is not None:
                break
            insist(process)
            await self._ended(process)
        _kill_group(process.pid)
        await process.wait()
        _close_input(process)
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.wait([self._drain])
            self._drain = None

    async def _ready(self, process: Process) -> str:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            word, _, url = line.decode(errors="replace").strip().partition(" ")
            if word == "ready" and url:
                return url
            self._write(line)
        status = await process.wait()
        said = self._said()
        if status == _REFUSED and said:
            raise UpstreamFailed(f"the engine of {self.name} did not start: {said[-1]}. Its log is {self.log}")
        raise UpstreamFailed(
            f"the engine of {self.name} ended (exit status {status}) before it was ready. {self._last_words()}"
        )

    async def _keep_output(self, process: Process) -> None:
        """Read the child's output to its end: a pipe that nobody empties would stop the child."""
        assert process.stdout is not None
        while written := await process.stdout.read(1 << 16):
            self._write(written)

    def _write(self, output: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(output)

    def _said(self) -> list[str]:
        """The lines that this child wrote; the log keeps those of earlier ones, too."""
        with self.log.open("rb") as log:
            log.seek(self._begins)
            return log.read().decode(errors="replace").splitlines()

    def _last_words(self) -> str:
        said = "\n".join(f"    {line}" for line in self._said()[-_LOG_LINES:]) or "    (nothing)"
        return f"Its log is {self.log}; the last lines:\n{said}"

    async def _ended(self, process: Process) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self._stop_timeout)


def refuse_ours(setting: str, arguments: Sequence[str], ours: Mapping[str, str]) -> None:
    """InvalidInput for an argument that we set ourselves, however it is written; `ours` says what to do instead."""
    for argument in arguments:
        # Parsers of arguments take a beginning that stands for one option only, and some of them `_` for `-`.
        name = argument.partition("=")[0].replace("_", "-")
        found = next((option for option in ours if name.startswith("--") and option.startswith(name)), None)
        if found is not None:
            raise InvalidInput(
                f"{setting}: {argument} is set by Journeyman, because the rest relies on it; nothing was started. "
                f"Leave it out{ours[found]}"
            )


def log_of(home: Path, name: str) -> Path:
    """The log of the engine that answers for the base model `name`."""
    return home / "logs" / f"engine-{name.replace('/', '_')}.log"


def _ask_to_end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()


def _close_input(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _kill_group(pid: int) -> None:
    """Kill what a child left behind: processes that it started would go on at full speed, and nobody would know."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
