"""The most that this machine allows, how much of it is reached, and where the rest of a step goes."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure, of_case
from serving_parts.sides import run_side

BATCHES = (1, 8, 32)
_SIDE = 1536
"""Of the square matrices whose product is timed."""


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for the machine, for the bounds, and for the shares of a step."""
    machine = run_side("roofline", plan.job(repeats=plan.count(30, 3)))
    cases = [{"batch": batch, "adapters": 0} for batch in BATCHES]
    ours = run_side("ours", plan.job(cases=cases, seed="roofline", repeats=plan.rounds))
    numbers, size = weights_of(plan.model, getattr(torch, plan.dtype))
    rows = [
        figure("memory bandwidth, reading", machine["bandwidth"] / 1e9, "GB/s", note="fastest sum of 512 MB"),
        figure(
            f"GEMM rate, {plan.dtype}", machine["rate"] / 1e9, "GFLOP/s", note=f"fastest product of {_SIDE}×{_SIDE}"
        ),
    ]
    for batch in BATCHES:
        step = max(size / machine["bandwidth"], 2 * numbers * batch / machine["rate"])
        found = [each["decoding"] for each in of_case(ours, batch=batch)]
        limit = "memory" if size / machine["bandwidth"] >= step else "arithmetic"
        note = f"limited by {limit}: {numbers / 1e6:.1f} M parameters, {size / 1e6:.0f} MB; the cache is not counted"
        reached = median(found)
        rows.append(figure(f"roofline, batch {batch}", batch / step, "tok/s", note=note))
        rows.append(
            figure(f"share of the roofline reached, batch {batch}", 100 * reached * step / batch, "%",
                   note=f"{reached:.4g} tok/s decoding alone, in the same run")
        )  # fmt: skip
    for batch, adapters in ((1, 0), (8, 0), (32, 0), (8, 8), (32, 8)):
        rows += _profile_rows(plan, batch, adapters)
    return rows


def side(job: dict[str, Any]) -> dict[str, float]:
    """Bytes a second that can be read, and floating-point operations a second in products of the precision."""
    torch.set_num_threads(job["threads"])
    much = torch.ones(128 << 20)
    left, right = (torch.randn(_SIDE, _SIDE).to(getattr(torch, job["precision"])) for _ in range(2))
    return {
        "bandwidth": much.nbytes / _fastest(lambda: much.sum(), job["repeats"]),
        "rate": 2 * _SIDE**3 / _fastest(lambda: left @ right, job["repeats"]),
    }


def weights_of(model: Path, dtype: torch.dtype) -> tuple[int, int]:
    """Parameters of a model, and the bytes of them that a step in `dtype` reads, by the headers of its files."""
    numbers = 0
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        numbers += sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
    return numbers, dtype.itemsize * numbers


def _fastest(act: Callable[[], Any], repeats: int) -> float:
    act()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return min(times)


def _profile_rows(plan: Plan, batch: int, adapters: int) -> list[ServingRow]:
    folders = plan.adapters(adapters) if adapters else []
    found = run_side("step_profile", plan.job(batch=batch, adapters=folders))
    kind = f"batch {batch}" + (f", {adapters} adapters" if adapters else "")
    whole = figure(f"one decoding step, {kind}", found["step"], "ms", note=f"mean of {found['steps']} steps")
    return [
        whole,
        *(
            figure(f"share of a decoding step, {kind}: {what}", 100 * spent / found["step"], "%",
                   note=f"{spent:.2f} ms")
            for what, spent in found["parts"].items()
        ),
    ]  # fmt: skip
