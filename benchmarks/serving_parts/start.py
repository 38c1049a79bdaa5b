"""From nothing to the first token, and how long an adapter takes to load or to change."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from serving_parts.http_engine import NAME, HTTPEngine
from serving_parts.our_engine import OurEngine
from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure, rounds_of
from serving_parts.sides import run_side
from serving_parts.speeds import random_prompts
from serving_parts.windows import Window

START_SECONDS, LOAD_MILLISECONDS = 10, 50
_STREAMS = 8


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for the start, for loads in a process, and for loads over HTTP, idle and while requests run."""
    rows = _start_rows(plan)
    for precision in ("float32", "bfloat16"):
        folders = plan.adapters(plan.count(20, 4), precision)
        found = run_side("start", plan.job(adapters=folders))
        rows += [_load_row(f"{how} an adapter of rank 16 from {precision} files", found[how]) for how in found]
    with HTTPEngine(plan) as engine:
        folders = plan.adapters(plan.count(20, 4), "float32")
        rows += [_load_row(f"{how}, over HTTP, float32 files", times) for how, times in _over_http(engine, folders)]
        with _Busy(engine):
            busy = f"over HTTP while {_STREAMS} replies are written, float32 files"
            rows += [_load_row(f"{how} {busy}", times) for how, times in _over_http(engine, folders, "busy")]
    return rows


def side(job: dict[str, Any]) -> dict[str, list[float]]:
    """Milliseconds of each load, and of each change of what a name stands for."""
    with OurEngine(job["model"], job["threads"], precision=job["precision"]) as engine:
        engine.run(random_prompts(2, 16, "warm"), 2)

        def load(folder: str) -> None:
            engine.model.load_adapter(Path(folder).name, Path(folder))

        def swap(folder: str) -> None:
            engine.model.load_adapter("swapped", Path(folder), replace=True)

        return {"load": _milliseconds(load, job["adapters"]), "swap": _milliseconds(swap, job["adapters"])}


def _start_rows(plan: Plan) -> list[ServingRow]:
    firsts, readies, spent = [], [], []
    # The first one brings the files into memory, and compiles the kernels where nobody has.
    for number in range(1 if plan.quick else 1 + plan.rounds):
        window = Window()
        with HTTPEngine(plan) as engine:
            ready = time.perf_counter() - engine.begun
            next(iter(engine.stream("/v1/completions", model=NAME, prompt="The capital of France is", max_tokens=1)))
            first = time.perf_counter() - engine.begun
            costs = window.close()
        if number or plan.quick:
            firsts.append(first)
            readies.append(ready)
            spent.append(costs)
    return [
        figure("start of the process to first token over HTTP, warm file cache", median(firsts), "s",
               at_most=START_SECONDS, note=rounds_of(firsts), spent=spent),
        figure("start of the process to ready", median(readies), "s", note=rounds_of(readies)),
    ]  # fmt: skip


def _over_http(engine: HTTPEngine, folders: Sequence[str], kind: str = "idle") -> list[tuple[str, list[float]]]:
    def load(folder: str) -> None:
        engine.post("/v1/load_lora_adapter", lora_name=f"{kind}-{Path(folder).name}", lora_path=folder)

    def swap(folder: str) -> None:
        engine.post("/v1/load_lora_adapter", lora_name=f"{kind}-swapped", lora_path=folder, load_inplace=True)

    return [("load", _milliseconds(load, folders)), ("swap", _milliseconds(swap, folders))]


def _milliseconds(act: Callable[[str], None], folders: Sequence[str]) -> list[float]:
    found = []
    for folder in folders:
        begun = time.perf_counter()
        act(folder)
        found.append(1000 * (time.perf_counter() - begun))
    return found


def _load_row(what: str, times: list[float]) -> ServingRow:
    note = f"median of {len(times)}; slowest {max(times):.0f} ms"
    return figure(what, median(times), "ms", at_most=LOAD_MILLISECONDS, note=note)


class _Busy:
    """Keeps an engine writing replies until it is left."""

    def __init__(self, engine: HTTPEngine) -> None:
        self._engine, self._over = engine, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(_STREAMS)]

    def __enter__(self) -> "_Busy":
        for thread in self._threads:
            thread.start()
        while self._engine.get("/v1/counters")["gauges"]["running"] < _STREAMS:
            time.sleep(0.05)
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        prompt = random_prompts(1, 64, f"busy/{number}")[0]
        while not self._over.is_set():
            for _ in self._engine.stream("/v1/completions", model=NAME, prompt=prompt, max_tokens=512, ignore_eos=True):
                if self._over.is_set():
                    break
