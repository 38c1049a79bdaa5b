"""Starts the processes of a measurement, each on its cores, and reads from /proc what they use."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import journeyman

BENCHMARKS = Path(__file__).parent.parent
PYTHON = sys.executable
_STOP_SECONDS = 60.0
_SHOWN_LINES = 30
_PROC = Path("/proc")


@contextmanager
def running(
    command: Sequence[str],
    cores: set[int],
    log: Path,
    more: Mapping[str, str] | None = None,
    *,
    talks: bool = True,
) -> Iterator["subprocess.Popen[str]"]:
    """A process on these cores, ended on the way out; `more` is added to its environment.

    Its standard output is a pipe if it `talks` to us, else goes to its log. What fails while it runs is a RuntimeError
    with the end of that log.
    """
    with log.open("ab") as words, subprocess.Popen(
        command, stdout=subprocess.PIPE if talks else words, stderr=words, env=environment() | dict(more or {}),
        text=True, start_new_session=True, preexec_fn=partial(os.sched_setaffinity, 0, cores),
    ) as process:  # fmt: skip
        try:
            yield process
        except Exception as error:
            shown = "\n".join(log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:])
            raise RuntimeError(f"{error}; the end of {log.name}:\n{shown}") from error
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def environment() -> dict[str, str]:
    """Ours, without the settings of an installation of the user's, and without a proxy on the way to loopback."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("JOURNEYMAN_") and not name.lower().endswith("_proxy")
    }
    paths = [*filter(None, [kept.get("PYTHONPATH")]), str(BENCHMARKS)]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def measure_a_copy(target: Path) -> None:
    """From now on processes run from a copy of the source: all of a run measures one state of it, whoever edits it."""
    shutil.copytree(Path(journeyman.__file__).parent, target / "journeyman")
    shutil.copytree(Path(__file__).parent, target / "gateway_parts")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])


def output_of(command: Sequence[str], cores: set[int], more: Mapping[str, str] | None = None) -> str:
    """What a command prints; RuntimeError with what it said when it fails."""
    done = subprocess.run(
        command, env=environment() | dict(more or {}), capture_output=True, text=True,
        preexec_fn=partial(os.sched_setaffinity, 0, cores),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} … ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def line_of(process: "subprocess.Popen[str]", mark: str = "") -> str:
    """The next line of a process's output that has the mark; RuntimeError when it ends before."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        if mark in line:
            return line.strip()
    raise RuntimeError(f"process {process.pid} ended before it was ready")


def child_of(pid: int, mark: str) -> int | None:
    """The process that `pid` has started whose command line has the mark; None as long as there is none."""
    for entry in _PROC.iterdir():
        try:
            if not entry.name.isdigit() or int(_stat(entry)[1]) != pid:
                continue
            if mark in (entry / "cmdline").read_text():
                return int(entry.name)
        except OSError:
            continue  # It ended meanwhile.
    return None


def pin(pid: int, cores: set[int]) -> None:
    """Move a process that runs, with all its threads."""
    for thread in (_PROC / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _stat(process: Path) -> list[str]:
    """Fields of /proc/PID/stat from the state on."""
    return (process / "stat").read_text().rpartition(")")[2].split()
