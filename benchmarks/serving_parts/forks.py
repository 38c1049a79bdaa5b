"""Eight replies to one long prompt against eight long prompts: the time until each has its first token."""

from statistics import median
from typing import Any

from serving_parts.our_engine import OurEngine
from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure, rounds_of
from serving_parts.sides import run_side
from serving_parts.speeds import random_prompts
from serving_parts.windows import Window

GROUP, PROMPT = 8, 400


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for both, and their ratio."""
    found = run_side("forks", plan.job(repeats=plan.count(7, 1)))
    rows = [
        figure(f"{what}: time until all have their first token", median(firsts), "s", note=rounds_of(firsts),
               spent=[each[kind] for each in found])
        for kind, what in (
            ("forked", f"{GROUP} replies to one prompt of {PROMPT} tokens"),
            ("apart", f"{GROUP} separate prompts of {PROMPT} tokens"),
        )
        if (firsts := [each[kind]["first"] for each in found])
    ]  # fmt: skip
    ratios = [each["forked"]["first"] / each["apart"]["first"] for each in found]
    what = f"group of {GROUP} on one prompt against {GROUP} prompts, time to the first tokens"
    return [*rows, figure(what, median(ratios), "of it", at_most=0.25, note=rounds_of(ratios, 3))]


def side(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Both, alternately, with prompts that the engine has never seen."""
    found = []
    with OurEngine(job["model"], job["threads"], precision=job["precision"]) as engine:
        _first_tokens(engine, random_prompts(GROUP, 64, "warm"))
        for repeat in range(job["repeats"]):
            shared = random_prompts(1, PROMPT, f"shared/{repeat}") * GROUP
            apart = random_prompts(GROUP, PROMPT, f"apart/{repeat}")
            found.append({"forked": _first_tokens(engine, shared), "apart": _first_tokens(engine, apart)})
    return found


def _first_tokens(engine: OurEngine, prompts: list[list[int]]) -> dict[str, Any]:
    window = Window()
    asked = engine.run(prompts, 2)
    return {**window.close(), "first": max(each.times[0] for each in asked) - window.begun}
