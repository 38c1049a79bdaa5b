"""Killed at random points and started again, a run of any method ends with the weights of an uninterrupted one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import write_model
from tests.training.test_methods import METHODS

ROOT = Path(__file__).parents[2]
KILLS = {"sft": 4, "dpo": 3, "kto": 3, "orpo": 3, "reward": 2, "scores": 2, "distill": 1, "distill-top-k": 2}


def test_every_method_is_killed_twenty_times_in_all():
    assert set(KILLS) == set(METHODS)
    assert sum(KILLS.values()) == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="lives are forks")
@pytest.mark.parametrize("method", KILLS)
def test_a_run_killed_at_random_points_ends_bit_for_bit_like_one_that_was_not(method, tiny, tmp_path):
    teacher = write_model(tmp_path / "teacher", seed=1)
    command = [sys.executable, "-m", "tests.training.kills", method, str(KILLS[method]), tiny, teacher, tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=500, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)
    whole = load_file(tmp_path / "whole" / "final.safetensors")
    others = sorted(tmp_path.glob("killed-*"))
    assert others
    for folder in others:
        found = load_file(folder / "final.safetensors")
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[name], value) for name, value in whole.items()), folder.name
