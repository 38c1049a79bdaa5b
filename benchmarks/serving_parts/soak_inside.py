"""A soak in the engine's own process, where even of a cut reply it is known how many tokens it had."""

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from journeyman.engines.local.sampling.constraints import Constraint, Grammars
from journeyman.engines.local.sampling.grammars import reply_grammar
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.errors import DeadlineExceeded
from serving_parts.our_engine import Asked, OurEngine
from serving_parts.plan import SEED, Plan
from serving_parts.rows import ServingRow, figure
from serving_parts.sides import run_side
from serving_parts.soak_requests import LONGEST_REPLY, SCHEMA, draw_ids

_AT_ONCE = 64


def measure(plan: Plan) -> list[ServingRow]:
    """Rows: entries against requests, cut ones too."""
    count = plan.count(2000, 100)
    found = run_side("soak_inside", plan.job(adapters=plan.adapters(6), count=count))
    hows = ", ".join(f"{number:,} {how}" for how, number in sorted(found["hows"].items()))
    note = f"{hows}; {found['completion']:,} tokens written, {found['counted']:,} counted"
    return [
        figure(f"soak inside the process: requests of {count:,} that ended", found["ended"], at_least=count),
        figure("soak inside: requests, cut and late ones too, whose tokens are not their entry's", found["wrong"],
               at_most=0, note=note),
        figure("soak inside: tokens written that the sums do not hold", found["completion"] - found["counted"],
               at_most=0),
        figure("soak inside: pages and adapters still held at the end", found["held"], at_most=0),
    ]  # fmt: skip


def side(job: dict[str, Any]) -> dict[str, Any]:
    """How the requests ended, and how many of them the engine's counters tell otherwise."""
    with OurEngine(job["model"], job["threads"], cache_tokens=8192, precision="auto") as engine:
        names = engine.load(job["adapters"])
        over = threading.Event()
        changing = threading.Thread(target=_replace, args=(engine, names[-1], job["adapters"], over))
        changing.start()
        try:
            asked = _ask_all(engine, names, job["count"])
        finally:
            over.set()
            changing.join()
        found = _reconcile(engine, asked)
        held = engine.model.cache.used + len(engine.model.adapters._users)
    return found | {"held": held, "ended": sum(each.over.is_set() for each in asked)}


def _ask_all(engine: OurEngine, names: list[str], count: int) -> list[Asked]:
    draw, grammars = random.Random(SEED), Grammars(engine.tokenizer)
    grammar = reply_grammar(grammars.single, SCHEMA, None)
    asked: list[Asked] = []
    cuts: list[tuple[float, Asked]] = []
    for number in range(count):
        while sum(not each.over.is_set() for each in asked[-2 * _AT_ONCE :]) >= _AT_ONCE:
            _cut(cuts)
            time.sleep(0.002)
        constraint = grammars.constraint(grammar) if draw.random() < 0.1 else None
        request = _submit(engine, draw, draw.choice([None, None, *names]), f"inside-{number}", constraint)
        asked.append(request)
        if draw.random() < 0.1:
            cuts.append((time.monotonic() + draw.uniform(0, 0.5), request))
    while not all(each.over.is_set() for each in asked):
        _cut(cuts)
        time.sleep(0.01)
    return asked


def _submit(
    engine: OurEngine, draw: random.Random, adapter: str | None, id: str, constraint: Constraint | None
) -> Asked:
    prompt = draw_ids(draw)
    rule = SamplingRule(temperature=draw.choice((0.0, 1.0)), top_p=draw.choice((1.0, 0.9)))
    deadline = time.monotonic() + draw.uniform(0, 1) if draw.random() < 0.05 else None
    return engine.ask(
        prompt, draw.randint(1, LONGEST_REPLY), rule, adapter, id=id, deadline=deadline,
        priority=draw.randint(0, 1), ignore_eos=constraint is None and draw.random() < 0.5,
        sampler=Sampler(rule, prompt, constraint),
    )  # fmt: skip


def _cut(cuts: list[tuple[float, Asked]]) -> None:
    now = time.monotonic()
    for when, request in list(cuts):
        if when < now:
            request.cancelled = True
            cuts.remove((when, request))


def _replace(engine: OurEngine, name: str, folders: list[str], over: threading.Event) -> None:
    """Give one name other weights, again and again, and load and unload a second one."""
    number = 0
    while not over.wait(0.1):
        engine.model.load_adapter(name, Path(folders[number % len(folders)]), replace=True)
        engine.model.load_adapter("passing", Path(folders[-1 - number % len(folders)]), replace=True)
        engine.model.unload_adapter("passing")
        number += 1


def _reconcile(engine: OurEngine, asked: list[Asked]) -> dict[str, Any]:
    counters, entries, last = engine.scheduler.counters, dict[str, Any](), 0
    while page := counters.served_after(last)["entries"]:
        entries |= {entry["request"]: entry for entry in page}
        last = page[-1]["number"]
    wrong = sum(_counts(each) != _counts_of(entries.get(each.id)) for each in asked)
    hows = Counter(_how(each) for each in asked)
    return {
        "wrong": wrong + len(entries) - len(asked),
        "hows": hows,
        "completion": sum(len(each.reply) for each in asked),
        "counted": sum(total.completion for total in counters.totals().values()),
    }


def _counts(asked: Asked) -> tuple[int, int, int, str | None]:
    prompt, cached = (len(asked.prompt), asked.cached) if asked.touched else (0, 0)
    return prompt, cached, len(asked.reply), asked.adapter


def _counts_of(entry: dict[str, Any] | None) -> tuple[int, int, int, str | None] | None:
    return None if entry is None else (entry["prompt"], entry["cached"], entry["completion"], entry["adapter"])


def _how(asked: Asked) -> str:
    assert asked.ended is not None
    if asked.ended.error is None:
        return str(asked.ended.finish_reason)
    return "late" if isinstance(asked.ended.error, DeadlineExceeded) else f"failed ({asked.ended.error})"
