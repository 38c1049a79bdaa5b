"""A run of reinforcement learning that dies at random comes to what one comes to that lives."""

import os
import subprocess
import sys

import pytest

from tests.training.reinforcement.kills import ROOT

KILLS = 5
"""At most. `python -m tests.training.reinforcement.kills 20 …` takes more."""


@pytest.mark.slow
def test_a_run_killed_at_random_ends_like_one_that_was_not(tiny, tmp_path):
    command = [sys.executable, "-m", "tests.training.reinforcement.kills", str(KILLS), tiny.parent, tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=900, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # How many lives a run has before it is through depends on the machine.
    assert int(done.stdout.partition(" kills")[0]) >= 2
