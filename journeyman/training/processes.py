"""Starts the other processes of a run that several share, and ends them with it.

They are `python -m journeyman.training.processes`: each holds the model, computes its share of every batch, and writes
nothing. With a dataset they know by themselves what comes next; without one they are told, a line at a time, on their
standard input. Whatever happens to the process that leads, they end: a broken connection is an error there.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from torch import distributed

from journeyman.datasets.formats import read_lines
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Row, Run
from journeyman.records.reinforcement import RL_CONFIGS, LogsConfig, RLConfig
from journeyman.records.run import CONFIGS, TrainingConfig
from journeyman.training.devices import choose_device
from journeyman.training.threads import use_threads

LONGEST_WAIT = timedelta(minutes=30)
"""For one step of the slowest process; then the run ends with an error, not with silence."""
_LAST_BREATH = 10.0
"""Seconds in which processes that broke a connection end."""
_TASK, _RANK, _PORT = "JOURNEYMAN_TRAINING_TASK", "JOURNEYMAN_TRAINING_RANK", "JOURNEYMAN_TRAINING_PORT"


class Task(Frozen):
    """What every process of a run must know to build the same trainer."""

    kind: str
    config: dict[str, Any]
    rows: str | None
    model: str
    run_folder: str
    threads: int
    folders: dict[str, str | None]

    @classmethod
    def of(cls, run: Run, rows: str | None, model: Path, folders: Mapping[str, Path | None]) -> "Task":
        """A run's task; `rows` is its dataset's file, None where there is none."""
        return cls(
            kind=run.kind,
            config=run.config,
            rows=rows,
            model=str(model),
            run_folder=run.path,
            threads=run.machine["threads"],
            folders={name: None if path is None else str(path) for name, path in folders.items()},
        )


@contextmanager
def helped(task: Task, processes: int) -> Iterator[Callable[[str], None] | None]:
    """While inside, this process leads `processes` in all; InvalidInput when one of the others ended by itself.

    What is given tells the others a line; None where there are no others.
    """
    if processes == 1:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {**os.environ, _TASK: task.model_dump_json(), _PORT: str(port)}
    command = [sys.executable, "-m", __name__]
    others = [
        subprocess.Popen(
            command, env={**given, _RANK: str(rank)}, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(1, processes)
    ]

    def tell(line: str) -> None:
        for other in others:
            assert other.stdin is not None
            other.stdin.write(f"{line}\n")
            other.stdin.flush()

    try:
        _join(port, 0, processes, task.config["device"])
        yield tell
    except (RuntimeError, BrokenPipeError) as error:
        ended = _ended_by_themselves(others)
        if not ended:
            raise
        said = ended[0].communicate()[1].strip().splitlines()[-1:]
        raise InvalidInput(
            f"{len(ended)} of the run's processes ended by themselves ({' '.join(said) or 'without a word'}); the last "
            "checkpoint is unharmed: go on with --resume last"
        ) from error
    finally:
        for other in others:
            other.kill()
            with suppress(BrokenPipeError):
                other.communicate()
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _ended_by_themselves(others: Sequence["subprocess.Popen[str]"]) -> list["subprocess.Popen[str]"]:
    """Those that ended with an error. Their connections close before they are gone: they are given a moment."""
    for other in others:
        with suppress(subprocess.TimeoutExpired):
            other.wait(_LAST_BREATH / len(others))
    return [other for other in others if other.poll() not in (None, 0)]


def _join(port: int, rank: int, size: int, asked: Literal["auto", "cpu", "cuda"]) -> None:
    device, backend = choose_device(asked, size, rank), "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"  # numbers are added up on the CPU, gradients where they are
    distributed.init_process_group(backend, f"tcp://127.0.0.1:{port}", rank=rank, world_size=size, timeout=LONGEST_WAIT)


def _help() -> None:
    """One of the other processes, from its start to its end."""
    # Ctrl-C reaches every process of a terminal: the one that leads decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task = Task.model_validate(json.loads(os.environ[_TASK]))
    config = (CONFIGS | RL_CONFIGS)[task.kind].model_validate(task.config)
    use_threads(task.threads)
    torch.manual_seed(config.seed)
    _join(int(os.environ[_PORT]), int(os.environ[_RANK]), config.processes, config.device)
    folders = {name: None if path is None else Path(path) for name, path in task.folders.items()}
    if isinstance(config, TrainingConfig):
        assert task.rows is not None
        _train(config, read_lines(Path(task.rows).read_bytes()), task, folders)
    else:
        _follow(config, task, folders)


def _train(config: TrainingConfig, rows: Sequence[Row], task: Task, folders: Mapping[str, Path | None]) -> None:
    from journeyman.training.loop import Trainer

    # Stopped with the process that leads: this one has nothing to tell.
    with suppress(KeyboardInterrupt):
        Trainer(config, rows, Path(task.model), Path(task.run_folder), **folders).train(lambda report: None)


def _follow(config: RLConfig | LogsConfig, task: Task, folders: Mapping[str, Path | None]) -> None:
    from journeyman.training.reinforcement.learner import Learner

    Learner(config, Path(task.model), Path(task.run_folder), folders["start"]).follow(sys.stdin)


if __name__ == "__main__":
    _help()
