"""Runs other people's tool code where it can do no harm: bubblewrap without network, or limits alone, which is said.

With bubblewrap (`bwrap`; Debian's package `bubblewrap`) the program sees the system's libraries and Python read-only,
an empty `/tmp` in memory, no network, none of our environment variables and no other process; it may write to one
folder if it is given one. Without it, a process of its own has the same limits of time, memory, processes and output,
and puts nothing into files unless it was given a folder, but it can read, empty and delete what we can, and reach the
network: a warning says so, and isolation="required" refuses.
"""

import asyncio
import json
import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from journeyman.environments.processes import Watched, kill_all, usage_of
from journeyman.errors import InvalidInput, ProgramFailed, Refused
from journeyman.records import Frozen

log = logging.getLogger(__name__)
Isolation = Literal["required", "preferred"]
"""Whether a program may run with limits alone where bubblewrap is missing."""
Ended = Literal["by itself", "time", "processor time", "memory", "processes", "output"]
_POLL_SECONDS = 0.05
_LAST_SECONDS = 5.0
_LAST_WORDS = 500
_LAUNCH = """
import os, resource, sys
cpu, memory, files = map(int, sys.argv[1:4])
resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_FSIZE, (files, files))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.execvp(sys.argv[4], sys.argv[4:])
"""
_CALL = """
import importlib.util, json, sys
asked = json.loads(sys.stdin.buffer.read())
out, sys.stdout = sys.stdout, sys.stderr
spec = importlib.util.spec_from_file_location("tool_code", asked["file"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
json.dump(getattr(module, asked["function"])(**asked["arguments"]), out)
"""


class SandboxLimits(Frozen):
    """What a program may use: seconds by the clock and of the processor, MB of memory, processes, MB of output."""

    seconds: float = Field(10.0, gt=0)
    cpu_seconds: int = Field(5, ge=1)
    memory_mb: int = Field(512, ge=16)
    processes: int = Field(16, ge=1)
    output_mb: float = Field(1.0, gt=0)


class SandboxResult(Frozen):
    """How a program ended: its exit code (negative: by a signal), what it wrote, and which limit stopped it.

    `isolated`: whether it ran in bubblewrap.
    """

    code: int
    out: bytes
    errors: bytes
    ended: Ended
    isolated: bool
    seconds: float


async def run_sandboxed(
    command: Sequence[str],
    *,
    given: bytes = b"",
    readable: Sequence[Path] = (),
    writable: Path | None = None,
    limits: SandboxLimits = SandboxLimits(),
    isolation: Isolation = "preferred",
) -> SandboxResult:
    """Run a program once, with `given` as its input, until it ends or a limit stops it and all that it started.

    `readable` files and folders are where they are outside; `writable` is also the folder that it starts in. Refused
    where bubblewrap is required and missing.
    """
    if not command:
        raise InvalidInput("a command has at least one word: the program")
    if not shutil.which(command[0]):
        raise ProgramFailed(f"{command[0]} cannot be found, and nothing was run")
    around = _bubblewrap(readable, writable) if _has_bubblewrap() else _without(isolation)
    # Without a folder and without the walls, whatever it wrote would stay.
    file_bytes = int(limits.output_mb * 2**20) + (1 << 20) if around or writable is not None else 0
    most = [str(limits.cpu_seconds), str(limits.memory_mb << 20), str(file_bytes)]
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", _LAUNCH, *most, *around, *command,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=None if around else writable, env=_VARIABLES, start_new_session=True,
    )  # fmt: skip
    running = _Running(process, limits)
    try:
        ended = await running.watch(given)
    finally:
        kill_all(process.pid)
        await running.finish()
    code = await process.wait()
    if ended == "by itself" and code in (-24, 128 + 24):  # SIGXCPU
        ended = "processor time"
    return SandboxResult(
        code=code, out=bytes(running.out), errors=bytes(running.errors), ended=ended, isolated=bool(around),
        seconds=time.monotonic() - began,
    )  # fmt: skip


async def call_sandboxed(
    file: Path,
    function: str,
    arguments: Mapping[str, Any],
    *,
    limits: SandboxLimits = SandboxLimits(),
    isolation: Isolation = "preferred",
) -> Any:
    """What a function of a Python file answers, as JSON; ProgramFailed, with its last words, where it does not."""
    asked = json.dumps({"file": str(file), "function": function, "arguments": dict(arguments)}).encode()
    if not file.is_absolute():
        raise InvalidInput(f"{file} is not an absolute path, and the program starts in another folder")
    result = await run_sandboxed(
        python_command("-c", _CALL), given=asked, readable=[file], limits=limits, isolation=isolation
    )
    if result.ended != "by itself":
        raise ProgramFailed(f"{function} of {file.name} was stopped: it used too much {result.ended}")
    if result.code:
        words = result.errors.decode(errors="replace").strip()[-_LAST_WORDS:]
        raise ProgramFailed(f"{function} of {file.name} failed: {words or f'it ended with {result.code}'}")
    try:
        return json.loads(result.out)
    except ValueError as error:
        raise ProgramFailed(f"{function} of {file.name} answered what is no JSON: {result.out[:80]!r}") from error


def run_sandboxed_here(command: Sequence[str], given: bytes, limits: SandboxLimits) -> SandboxResult:
    """`run_sandboxed` for code that is not async, in a loop of its own: one may be running in this thread already."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, run_sandboxed(command, given=given, limits=limits)).result()


def python_command(*words: str) -> list[str]:
    """This Python as a program that the sandbox can start, apart from all that is installed or set for us.

    The interpreter itself: a virtual environment's link leads out of what the program sees.
    """
    # Not -I: it would leave out PYTHONHASHSEED, and a program that lists a set would answer differently each time.
    return [str(Path(sys.executable).resolve()), "-s", "-P", *words]


def isolation_here() -> str:
    """How programs are kept apart on this machine, in words."""
    return "bubblewrap, no network" if _has_bubblewrap() else "a process with limits only: install bubblewrap"


class _Running:
    """A program under way, and what it wrote so far."""

    def __init__(self, process: asyncio.subprocess.Process, limits: SandboxLimits) -> None:
        self._process, self._limits = process, limits
        self.out, self.errors = bytearray(), bytearray()
        self._began = time.monotonic()
        self._talking: list[asyncio.Task[None]] = []

    async def watch(self, given: bytes) -> Ended:
        """Until it ended, or used more than it may."""
        self._talking = [
            asyncio.create_task(each)
            for each in (
                self._give(given),
                self._read(self._process.stdout, self.out),
                self._read(self._process.stderr, self.errors),
            )
        ]
        left: set[asyncio.Task[None]] = {*self._talking}
        while left:
            _, left = await asyncio.wait(left, timeout=_POLL_SECONDS)
            over = self._over(usage_of(self._process.pid))
            if over is not None:
                return over
        return "by itself"

    async def finish(self) -> None:
        """After the kill: what was written until then is read, and its pipes are at their ends."""
        if self._talking:
            _, late = await asyncio.wait(self._talking, timeout=_LAST_SECONDS)
            for task in late:
                task.cancel()

    def _over(self, used: Watched) -> Ended | None:
        limits = self._limits
        if len(self.out) + len(self.errors) > limits.output_mb * 2**20:
            return "output"
        if used.processes > limits.processes + _OURS:
            return "processes"
        if used.memory > limits.memory_mb << 20:
            return "memory"
        if used.cpu_seconds > limits.cpu_seconds:
            return "processor time"
        return "time" if time.monotonic() - self._began > limits.seconds else None

    async def _give(self, given: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(given)
            await pipe.drain()
        except (BrokenPipeError, ConnectionResetError):
            log.debug("the program did not read its input")
        pipe.close()

    async def _read(self, pipe: asyncio.StreamReader | None, into: bytearray) -> None:
        assert pipe is not None
        most = int(self._limits.output_mb * 2**20)
        while piece := await pipe.read(1 << 16):
            # What comes after the limit is read and thrown away: a pipe that is full would hold back the end.
            if len(into) <= most:
                into += piece


_OURS = 2
"""Processes of bubblewrap's own."""
_VARIABLES = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "TZ": "UTC"}


def _bubblewrap(readable: Sequence[Path], writable: Path | None) -> list[str]:
    words = [
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--size", str(64 << 20), "--tmpfs", "/tmp",
    ]  # fmt: skip
    for name in ("lib", "lib64", "bin", "sbin"):
        path = Path("/") / name
        words += ["--symlink", f"usr/{name}", f"/{name}"] if path.is_symlink() else []
        words += ["--ro-bind", str(path), str(path)] if path.is_dir() and not path.is_symlink() else []
    seen = [Path(sys.base_prefix), *readable]
    words += [word for path in seen if path.exists() for word in ("--ro-bind", str(path), str(path))]
    if writable is not None:
        words += ["--bind", str(writable), str(writable)]
    return [*words, "--chdir", "/tmp" if writable is None else str(writable), "--"]


def _without(isolation: Isolation) -> list[str]:
    if isolation == "required":
        raise Refused(
            "bubblewrap is missing or cannot make namespaces here, and code of others was not run; install it "
            "(apt install bubblewrap), or allow isolation='preferred'"
        )
    _warn()
    return []


@cache
def _warn() -> None:
    log.warning(
        "CODE OF OTHERS RUNS WITH LIMITS ALONE: bubblewrap is missing or cannot make namespaces here, so it can read, "
        "empty and delete your files, and reach the network; install it (apt install bubblewrap)"
    )


@cache
def _has_bubblewrap() -> bool:
    """Whether it is there and works: some containers forbid namespaces."""
    import subprocess

    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        return False
    tried = [*_bubblewrap((), None), shutil.which("true") or "/bin/true"]
    return subprocess.run(tried, capture_output=True, timeout=20, check=False).returncode == 0
