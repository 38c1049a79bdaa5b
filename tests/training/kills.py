"""`python -m tests.training.kills METHOD KILLS MODEL TEACHER FOLDER`: a run that is killed at random points, and one
that is not.

Every life is a fork, so that PyTorch is loaded once. A timer of the system ends it after a random share of the CPU time
that a whole run takes: without a handler, in the middle of whatever it does, as SIGKILL would, and however busy the
machine is.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from journeyman.training.loop import Trainer
from tests.training.test_methods import JUDGED, METHODS, PAIRS, config

SETTINGS = {"epochs": 3, "patience": 99, "checkpoint_every": 1, "validate_every": 2}
DROPPING = ("kto", "orpo")
"""With dropout a step draws numbers, and takes transformers' layers; without, our own."""
_MOST_LIVES = 20


def main() -> None:
    method, kills, model, teacher, folder = sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:])
    torch.set_num_threads(1)
    draw = random.Random(method)
    status, seconds = live(method, model, teacher, folder / "whole", None)
    assert status == 0, status
    killed = lives = runs = 0
    while killed < kills:
        lives += 1
        assert lives <= _MOST_LIVES * kills, "hardly any life was cut short"
        status, _ = live(method, model, teacher, folder / f"killed-{runs}", draw.uniform(0.05, 0.95) * seconds)
        assert status in (0, signal.SIGPROF), status
        killed += status == signal.SIGPROF
        runs += status == 0
    while live(method, model, teacher, folder / f"killed-{runs}", None)[0]:
        raise AssertionError("the last life did not end well")
    print(f"{killed} kills in {lives} lives of {runs + 1} runs, a whole one {seconds:.2f} CPU-s")


def live(method: str, model: Path, teacher: Path, folder: Path, end: float | None) -> tuple[int, float]:
    """The signal that ended a run's process, or 0, and the CPU seconds that it had."""
    before = os.times()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if end is not None:
                signal.setitimer(signal.ITIMER_PROF, end)
            train(method, model, teacher, folder)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the run failed by itself"
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), used


def train(method: str, model: Path, teacher: Path, folder: Path) -> None:
    rows = JUDGED if method in ("kto", "scores") else PAIRS
    other = teacher if method.startswith("distill") else None
    # What a fresh process draws must not matter.
    torch.manual_seed(time.time_ns() % 2**32)
    trainer = Trainer(
        config(method, **SETTINGS, dropout=0.1 if method in DROPPING else 0.0), rows, model, folder, teacher=other
    )
    trainer.train(lambda report: None)
    partial = folder / "partial.safetensors"
    save_file({name: value.detach().clone() for name, value in trainer.policy.masters.items()}, partial)
    partial.replace(folder / "final.safetensors")


if __name__ == "__main__":
    assert sys.argv[1] in METHODS
    main()
