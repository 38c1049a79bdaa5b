"""`python -m sft_parts.profile LAYERS`: where our step spends its CPU time; job in, shares out, both as JSON."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from journeyman.records import Row
from journeyman.training.loop import Trainer
from sft_parts.ours import config_of

MOST = 12


def main() -> None:
    job = json.loads(sys.stdin.read())
    sys.stdout.write("\n" + json.dumps(measure(job, fused=sys.argv[1] == "fused")))


def measure(job: dict[str, Any], *, fused: bool) -> dict[str, Any]:
    """Shares of one step's CPU time by operation, largest first, and what the step before cost without a profiler."""
    torch.set_num_threads(job["threads"])
    rows = [Row.model_validate(each) for each in job["rows"]]
    batch = job["batch_rows"]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(config_of(job, rows), rows, Path(job["model"]), Path(scratch))
        if not fused:
            trainer.policy._fused = None
        trainer._step()
        began = time.process_time()
        trainer._step()
        seconds = time.process_time() - began
        with profile(activities=[ProfilerActivity.CPU]) as found:
            trainer._step()
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shares = {event.key: event.self_cpu_time_total / total for event in events[:MOST]}
    return {
        "tokens_per_cpu_s": sum(len(each["ids"]) for each in job["train"][batch : 2 * batch]) / seconds,
        "shares": shares,
    }


if __name__ == "__main__":
    main()
