"""Our engine against vLLM on this processor: ours, vLLM, ours, in one run."""

import os
from statistics import median
from typing import Any

from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure, of_case, rounds_of, speed_rows, speeds
from serving_parts.sides import run_side

PYTHON = "JOURNEYMAN_VLLM_PYTHON"
BARS = {(8, 0): 1.0, (32, 0): 1.0, (8, 8): 2.5, (32, 8): 3.0}
"""Times vLLM's speed, by (batch, different adapters)."""


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for the base model, where vLLM runs with LoRA switched off, and for 8 adapters mixed."""
    python = os.environ.get(PYTHON)
    if not python:
        reason = f"not run: {PYTHON} names no interpreter that has vLLM"
        return [figure(_name(*case), reason, at_least=bar) for case, bar in BARS.items()]
    cases = [{"batch": batch, "adapters": adapters} for batch, adapters in BARS]
    folders = plan.adapters(8)
    job = plan.job(cases=cases, adapters=folders, repeats=plan.rounds, eager=plan.quick)
    before = run_side("ours", job | {"seed": "vllm/before"})
    theirs = []
    for adapters in (0, 8):
        part = {"cases": of_case(cases, adapters=adapters), "adapters": folders if adapters else []}
        theirs += run_side("vllm_side", job | part | {"seed": "vllm"}, python=python)
    after = run_side("ours", job | {"seed": "vllm/after"})
    rows: list[ServingRow] = []
    for (batch, adapters), bar in BARS.items():
        rows += _compared(batch, adapters, bar, before, theirs, after)
    started = sorted({each["start_seconds"] for each in theirs})
    return [*rows, figure("vLLM: start, LoRA off and on, fastest first", started[0], "s", note=rounds_of(started))]


def _compared(
    batch: int, adapters: int, bar: float, before: list[dict[str, Any]], theirs: list[dict[str, Any]],
    after: list[dict[str, Any]],
) -> list[ServingRow]:  # fmt: skip
    case = {"batch": batch, "adapters": adapters}
    kind = f"{adapters} adapters mixed" if adapters else "base model"
    earlier, vllm, later = (of_case(side, **case) for side in (before, theirs, after))
    ratio = median(speeds([*earlier, *later])) / median(speeds(vllm))
    note = f"ours before {median(speeds(earlier)):.4g} and after {median(speeds(later)):.4g} tok/s"
    return [
        *speed_rows(f"ours (beside vLLM), {kind}, batch {batch}", [*earlier, *later]),
        *speed_rows(f"vLLM, {kind}, batch {batch}", vllm),
        figure(_name(batch, adapters), ratio, "times", at_least=bar, note=note),
    ]


def _name(batch: int, adapters: int) -> str:
    kind = f"{adapters} adapters mixed" if adapters else "base model, its LoRA off"
    return f"ours against vLLM, {kind}, batch {batch}"
