"""One GRPO step beside TRL's: CPU-seconds for the rollouts and the update together. SmolLM2-135M, LoRA, float32.

python benchmarks/grpo.py           8 prompts × 8 attempts of 64 tokens: prompts of 200 tokens, a shared history of 600
python benchmarks/grpo.py --quick   2 prompts × 4 attempts; not kept

TRL and what it needs are imported from the folder that JOURNEYMAN_TRL_PATH names (`pip install --target`); its rows say
"not run" without. Both sides get the same prompts in the same order, temperature 1 without truncation, rank, rate,
threads, one optimiser step a batch, TRL's activation checkpointing off; each runs in a process of its own, in turn. Our
CPU time is that of trainer and engine. The first step of each side, which pays for what is paid once, is not counted.
"""

import argparse
import os
from pathlib import Path
from statistics import median
from typing import Any

from grpo_parts.prompts import prompts
from record import Row, kept_rows, row, write_results
from sft import OutOfMemory, run_child

from journeyman.config import Settings
from journeyman.engines.models import find_model

SEED = 0
KINDS = {"prompts of 200 tokens": (200, 3.0), "a shared history of 600 tokens": (600, 5.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small and short; not kept")
    parser.add_argument("--steps", type=int, default=3, help="of each trainer; the first is not counted")
    parser.add_argument("--only", choices=("200", "600"), help="one of the two lengths; the rows of the other stay")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trl-rows", type=int, default=8, help="TRL's rows in one forward pass; memory bounds it")
    options = parser.parse_args()
    model = find_model(Settings(), "smollm2-135m")
    shape = {"scenarios": 2, "attempts": 4, "steps": 2} if options.quick else {
        "scenarios": 8, "attempts": 8, "steps": options.steps,
    }  # fmt: skip
    job: dict[str, Any] = shape | {
        "model": str(model), "rank": 16, "alpha": 32, "learning_rate": 1e-4, "new_tokens": 64, "pack_tokens": 4096,
        "threads": options.threads, "trl_rows": options.trl_rows,
    }  # fmt: skip
    rows: list[Row] = []
    for what, (length, bar) in KINDS.items():
        if options.only in (None, str(length)):
            rows += compare(what, job | {"prompts": _prompts(model, job, length)}, bar)
    others = (
        []
        if options.only is None
        else [each for each in kept_rows("grpo") if not any(_is_of(each, one) for one in rows)]
    )
    write_results("grpo", [*others, *rows], SEED, quick=options.quick)


def _is_of(row: Row, other: Row) -> bool:
    """Whether two rows measure the same length of prompts."""
    return any(kind in row["what"] and kind in other["what"] for kind in KINDS)


def compare(what: str, job: dict[str, Any], bar: float) -> list[Row]:
    """Both sides in turn; a step's cost is the median of those behind the first."""
    path = os.environ.get("JOURNEYMAN_TRL_PATH", "")
    told = {"ours": run_child(["grpo_parts.child", "ours"], job, "")}
    why = "not run: set JOURNEYMAN_TRL_PATH"
    if path:
        try:
            told["theirs"] = run_child(["grpo_parts.child", "theirs"], job, path)
        except OutOfMemory as error:
            why = str(error)
    rows, names = [], {"ours": "Journeyman", "theirs": "TRL"}
    what = f"{what}, {job['scenarios']} × {job['attempts']} × {job['new_tokens']}, {job['threads']} threads"
    for side, found in told.items():
        memory = found["peak_mib"] + found["engine_mib"]
        sampled = median(found["sampled"][1:])
        rows += [
            row(f"{names[side]}: a step, {what}", median(found["cpu"][1:]), "CPU-s"),
            row(f"{names[side]}: a step by the wall clock, {what}", median(found["wall"][1:]), "s"),
            row(f"{names[side]}: sampled tokens a step, {what}", sampled, "tokens"),
            row(f"{names[side]}: peak memory, {what}", memory, "MiB"),
        ]
    for name in ("sample", "learn", "hand over"):
        rows.append(
            row(f"Journeyman: of a step, {name}, {what}", median(p.get(name, 0.0) for p in told["ours"]["phases"]), "s")
        )
    rows.append(
        row(f"Journeyman: tokens through the network, {what}", median(p["computed"] for p in told["ours"]["phases"]))
    )
    if "theirs" not in told:
        return [*rows, row(f"TRL: {what}", why)]
    ratio = median(told["theirs"]["cpu"][1:]) / median(told["ours"]["cpu"][1:])
    return [
        *rows,
        row(f"CPU time of a step, TRL's over ours: {what}", ratio, "×", bar=f"≥ {bar:g}", holds=ratio >= bar),
    ]


def _prompts(model: Path, job: dict[str, Any], length: int) -> list[str]:
    return prompts(model, job["scenarios"] * job["steps"], length)


if __name__ == "__main__":
    main()
