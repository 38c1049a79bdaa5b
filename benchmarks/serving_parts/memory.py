"""What adapters in use add to the memory of the process."""

from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from serving_parts.our_engine import OurEngine
from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure
from serving_parts.sides import run_side
from serving_parts.speeds import random_prompts

GIGABYTES = 1.5
_ROWS = 32


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for 100 different adapters of rank 16."""
    count = plan.count(100, 10)
    found = run_side("memory", plan.job(adapters=plan.crowd(count)))
    return [
        figure("memory of the process, base model in use", found["base"] / 1e9, "GB"),
        figure(f"memory of the process, {count} adapters of rank 16 in use", found["adapters"] / 1e9, "GB"),
        figure(
            f"memory for {count} adapters of rank 16 in use, above the base model", found["grown"] / 1e9, "GB",
            at_most=GIGABYTES,
            note=f"the engine itself counts {found['counted'] / 1e9:.3f} GB for {found['resident']} adapters",
        ),
    ]  # fmt: skip


def side(job: dict[str, Any]) -> dict[str, int]:
    """Resident bytes after the same work under the base model and under all adapters, none of which may be let go."""
    process = psutil.Process()
    with OurEngine(job["model"], job["threads"], precision=job["precision"]) as engine:
        _work(engine, [], len(job["adapters"]), "base")
        base = process.memory_info().rss
        names = engine.load(job["adapters"])
        held = [engine.model.adapters.hold(Path(name).name) for name in names]
        _work(engine, names, len(names), "adapters")
        used = process.memory_info().rss
        store = engine.model.adapters
        found = {"base": base, "adapters": used, "counted": store.resident_bytes, "resident": store.resident}
        for weights in held:
            store.release(weights)
    assert found["resident"] == len(job["adapters"])
    return found | {"grown": used - base}


def _work(engine: OurEngine, names: list[str], requests: int, seed: str) -> None:
    """A short reply under each adapter, in full batches."""
    for first in range(0, requests, _ROWS):
        some = names[first : first + _ROWS]
        engine.run(random_prompts(_ROWS, 64, f"{seed}/{first}"), 4, some)
