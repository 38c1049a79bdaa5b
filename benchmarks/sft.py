"""Supervised fine-tuning beside TRL's: tokens per CPU-second, memory, and where both end. SmolLM2-135M, LoRA.

python benchmarks/sft.py             three kinds of rows beside TRL
python benchmarks/sft.py --only full  some of them; the rows of the others stay as they were measured
python benchmarks/sft.py --quick     a first look; not kept
python benchmarks/sft.py --profile   where our own step spends its time, and did before its layers were fused

TRL and what it needs are imported from the folder that JOURNEYMAN_TRL_PATH names (`pip install --target`); its rows say
"not run" without. Both sides get the same token sequences in the same order, batches, rate, precision and threads, each
in a process of its own, in turn; TRL's activation checkpointing is off. Tokens are those of the rows, padding and what
we compute once for several rows aside.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from record import Row, kept_rows, row, write_results
from sft_parts.rows import conversations, full_rows

from journeyman.config import Settings
from journeyman.engines.models import find_model
from journeyman.machine import describe_machine
from journeyman.records import Row as Conversation
from journeyman.records import SFTConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import mask_conversation
from journeyman.training.schedule import batch_indices, learning_rate

SEED = 0
BENCHMARKS = Path(__file__).parent
JOB: dict[str, Any] = {"rank": 16, "alpha": 32, "learning_rate": 1e-3, "batch_rows": 8, "pack_tokens": 2048}
Job = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, one round; not kept")
    parser.add_argument("--steps", type=int, default=5, help="of each trainer; the first and the last are not timed")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=("mixed", "full", "prompts"), help="some of the kinds of rows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--profile", action="store_true", help="ours alone, operation by operation")
    options = parser.parse_args()
    model = find_model(Settings(), "smollm2-135m")
    steps, rounds, count = (4, 1, 60) if options.quick else (options.steps, options.rounds, 100)
    kinds: dict[str, tuple[str, Callable[[], list[Conversation]], float | None]] = {
        "mixed": ("conversations of mixed length", lambda: conversations(count, prompts=False), 2.0),
        "full": ("full rows of 256 tokens", lambda: full_rows(count, model), 1.3),
        "prompts": ("the same conversations with their common prompt and tools",
                    lambda: conversations(count, prompts=True), None),
    }  # fmt: skip
    name = "sft_profile" if options.profile else "sft"
    for kind in options.only or kinds:
        what, make, bar = kinds[kind]
        if options.profile and kind == "prompts":
            continue
        job = prepare(make(), model, steps) | {"threads": options.threads, "precision": options.precision}
        what = f"{what}, {options.precision}, {options.threads} threads"
        rows = profiled(what, job) if options.profile else compare(what, job, bar, rounds)
        # At once: a trainer that takes too long, or too much memory, in the next kind costs none of this one.
        others = [] if options.quick else [each for each in kept_rows(name) if f": {what}" not in each["what"]]
        write_results(name, [*others, *rows], SEED, quick=options.quick)


def profiled(what: str, job: Job) -> list[Row]:
    """Our step with the layers as transformers and PEFT compute them, and fused."""
    rows = []
    for layers in ("transformers", "fused"):
        found = run_child(["sft_parts.profile", layers], job, "")
        rows.append(row(f"{layers} layers: {what}", found["tokens_per_cpu_s"], "tokens/CPU-s"))
        rows += [row(f"{layers} layers: {name}", 100 * share, "%") for name, share in found["shares"].items()]
    return rows


def prepare(rows: list[Conversation], model: Path, steps: int) -> Job:
    """The job of both sides; TRL gets the sequences in the order in which ours draws them."""
    tokenizer = ChatTokenizer(model)
    training = [row for row in rows if row.split == "train"]
    config = SFTConfig(base="base", dataset="none", name="none", batch_rows=JOB["batch_rows"])
    order = [index for step in range(steps) for index in batch_indices(config, step, len(training))]
    return JOB | {
        "model": str(model),
        "steps": steps,
        "rates": [learning_rate(config, step, steps) / config.learning_rate for step in range(steps)],
        "rows": [row.model_dump(mode="json") for row in rows],
        "train": [_masked(tokenizer, training[index]) for index in order],
        "validation": [_masked(tokenizer, row) for row in rows if row.split == "validation"],
    }


def _masked(tokenizer: ChatTokenizer, row: Conversation) -> dict[str, Any]:
    masked = mask_conversation(tokenizer, row.messages, row.tools)
    return {"ids": masked.ids, "mask": masked.mask}


def compare(what: str, job: Job, bar: float | None, rounds: int) -> list[Row]:
    """Both sides in turn; speeds are medians over all steps but the first and the last."""
    batch = job["batch_rows"]
    tokens = [
        sum(len(each["ids"]) for each in job["train"][at : at + batch]) for at in range(0, len(job["train"]), batch)
    ]
    told: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    paths = {"ours": "", "theirs": os.environ.get("JOURNEYMAN_TRL_PATH", "")}
    ended: dict[str, str] = {}
    for _ in range(rounds):
        for side, found in told.items():
            if side == "ours" or paths[side]:
                try:
                    found.append(run_child(["sft_parts.child", side], job, paths[side]))
                except OutOfMemory as error:
                    ended[side] = str(error)
    rows = []
    names = {"ours": "Journeyman", "theirs": "TRL"}
    speeds = {side: [_speed(each, tokens) for each in found] for side, found in told.items() if found}
    for side, values in speeds.items():
        wall = median(_speed(each, tokens, "wall") for each in told[side])
        rows.append(row(f"{names[side]}: {what}", median(values), "tokens/CPU-s"))
        rows.append(row(f"{names[side]}: {what}, by the wall clock", wall, "tokens/s"))
        rows.append(row(f"{names[side]}: {what}, peak memory", median(e["peak_mib"] for e in told[side]), "MiB"))
        rows.append(row(f"{names[side]}: {what}, validation loss", told[side][-1]["validation_loss"], "nats/token"))
    if len(speeds) < len(told) or ended:
        why = ended or {"theirs": "not run: set JOURNEYMAN_TRL_PATH"}
        return [*rows, *(row(f"{names[side]}: {what}", said) for side, said in why.items())]
    ratio = median(one / other for one, other in zip(speeds["ours"], speeds["theirs"], strict=True))
    memory = median(o["peak_mib"] / t["peak_mib"] for o, t in zip(told["ours"], told["theirs"], strict=True))
    ours, theirs = (told[side][-1]["validation_loss"] for side in ("ours", "theirs"))
    apart = abs(ours / theirs - 1)
    return [
        *rows,
        row(f"ratio of tokens per CPU-second: {what}", ratio, "×",
            **({} if bar is None else {"bar": f"≥ {bar:g}", "holds": ratio >= bar})),
        row(f"ratio of peak memory: {what}", memory, "×", bar="≤ 0.7", holds=memory <= 0.7),
        row(f"validation losses apart: {what}", 100 * apart, "%", bar="≤ 1 %", holds=apart <= 0.01),
    ]  # fmt: skip


def _speed(found: dict[str, Any], tokens: list[int], clock: str = "cpu") -> float:
    return sum(tokens[1:-1]) / sum(found[clock])


class OutOfMemory(RuntimeError):
    """The system killed a trainer."""


def run_child(module: list[str], job: Job, path: str) -> dict[str, Any]:
    """A module with a job in a fresh process; RuntimeError with the end of its output when it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    paths = [str(BENCHMARKS), str(BENCHMARKS.parent), *filter(None, [path])]
    environment = kept | {"PYTHONPATH": os.pathsep.join(paths), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *module], input=json.dumps(job), capture_output=True, text=True,
        env=environment, check=False,
    )  # fmt: skip
    if done.returncode == -signal.SIGKILL:
        raise OutOfMemory(f"killed by the system, which has {describe_machine()['memory_gib']} GiB: out of memory")
    if done.returncode:
        raise RuntimeError(f"{' '.join(module)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
