"""The engine's bars: speed against transformers, PEFT and vLLM, sameness of replies, memory, and a soak.

python benchmarks/serving.py                     every part, one after the other: more than an hour
python benchmarks/serving.py --only decode,forks some of them; the rows of the others stay as they were measured
python benchmarks/serving.py --quick             a first look within a minute; its results are not kept

On a processor without bfloat16 instructions measure `--dtype float32`: rows of both precisions are kept, each with its
own processor and threads. `decode`, `adapters`, `vllm`, `forks`, `start`, `roofline` and `plot` need an idle machine;
`replies`, `logprobs`, `memory` and `soak` only take longer on one that is not. All that needs it, for float32:

    python benchmarks/serving.py --dtype float32 --only decode,adapters,vllm,forks,start,roofline,plot

Every engine runs in a process of its own, never two of them at once, and a ratio is of figures of one run. The part
`vllm` needs the interpreter of an environment that has vLLM, in JOURNEYMAN_VLLM_PYTHON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from record import RESULTS, write_results
from rich.console import Console
from serving_parts import (
    adapter_curve,
    adapter_mix,
    against_vllm,
    decode,
    forks,
    logprobs,
    memory,
    roofline,
    same_replies,
    soak,
    start,
)
from serving_parts.plan import SEED, Plan
from serving_parts.rows import ServingRow
from serving_parts.sides import measure_a_copy

from journeyman.config import Settings
from journeyman.engines.models import find_model
from journeyman.machine import describe_machine

PARTS: dict[str, Callable[[Plan], list[ServingRow]]] = {
    "decode": decode.measure,
    "adapters": adapter_mix.measure,
    "vllm": against_vllm.measure,
    "forks": forks.measure,
    "start": start.measure,
    "replies": same_replies.measure,
    "logprobs": logprobs.measure,
    "memory": memory.measure,
    "soak": soak.measure,
    "roofline": roofline.measure,
    "plot": adapter_curve.measure,
}
IN_ANY_DTYPE = ("decode", "adapters", "vllm", "forks", "start", "memory", "roofline", "plot")
"""Parts that `--dtype` concerns; the others name their own, or take the processor's best."""
FIRST_LOOK = ("decode", "forks")
"""What fits into a minute."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--model", type=Path, help="folder of a model; smollm2-135m of the model cache when absent")
    parser.add_argument("--threads", type=int, default=2, help="threads of every engine (default: 2)")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default="bfloat16", help=f"of {', '.join(IN_ANY_DTYPE)}"
    )
    parser.add_argument("--rounds", type=int, help="how often each speed is measured (default: 3)")
    parser.add_argument("--quick", action="store_true", help="few and short; speeds mean nothing then")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else FIRST_LOOK if options.quick else list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: there is no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    model = options.model or find_model(Settings(), "smollm2-135m")
    console = Console(stderr=True)
    rounds = options.rounds or (1 if options.quick else 3)
    measured: dict[str, list[ServingRow]] = {}
    with tempfile.TemporaryDirectory(prefix="journeyman-serving-") as scratch:
        measure_a_copy(Path(scratch) / "source")
        plan = Plan(model, Path(scratch), options.threads, rounds, options.quick, options.dtype)
        try:
            for name in names:
                console.print(f"{name} …")
                begun = time.monotonic()
                measured[name] = [_named(each, name, plan) for each in PARTS[name](plan)]
                console.print(f"{name}: {time.monotonic() - begun:.0f} s")
        finally:
            # What was measured before something failed is kept.
            if measured:
                keep(measured, plan)


def _named(row: ServingRow, part: str, plan: Plan) -> ServingRow:
    """The row with the part that measured it, the processor and, where it might be another one, the precision."""
    found: ServingRow = {**row, "part": part, "threads": plan.threads, "cpu": _processor()}
    if part in IN_ANY_DTYPE:
        found["dtype"] = plan.dtype
        found["what"] = f"{plan.dtype}: {row['what']}"
    return found


def keep(measured: dict[str, list[ServingRow]], plan: Plan) -> None:
    """Write the parts' rows, in the place of their older ones of this precision and beside all others."""
    extra = {"model": plan.model.name, "new_tokens": plan.new_tokens}
    known = {} if plan.quick else _known(extra)
    for name, rows in measured.items():
        older = known.get(name, [])
        here = [each for each in older if each.get("dtype") == rows[0].get("dtype")]
        if not here or not all(str(each["value"]).startswith("not run") for each in rows):
            known[name] = [each for each in older if each not in here] + rows
    merged = [each for name in PARTS for each in known.get(name, [])]
    write_results("serving", merged, SEED, extra, RESULTS, quick=plan.quick)


def _known(extra: dict[str, object]) -> dict[str, list[ServingRow]]:
    """The rows by part that are kept already, unless another model made them; each names its own processor."""
    path = RESULTS / "serving.json"
    if not path.is_file():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if any(kept.get(name) != value for name, value in extra.items()):
        return {}
    found: dict[str, list[ServingRow]] = {}
    for each in kept["rows"]:
        found.setdefault(each["part"], []).append(each)
    return found


def _processor() -> str:
    return str(describe_machine()["cpu"])


if __name__ == "__main__":
    main()
