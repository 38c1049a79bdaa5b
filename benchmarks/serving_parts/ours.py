"""The speed of our engine: batches under any number of adapters, through the scheduler."""

from typing import Any

from serving_parts.our_engine import OurEngine
from serving_parts.speeds import decoding_speed, random_prompts, speed
from serving_parts.windows import Window


def side(job: dict[str, Any]) -> list[dict[str, Any]]:
    """One result for each of `job["cases"]`, `job["repeats"]` times.

    In a `crowded` case the adapters of `job["crowd"]` are registered, too; they come when the first such case does, and
    go when the next case is none.
    """
    results, crowd = [], list[str]()
    with OurEngine(job["model"], job["threads"], precision=job["precision"]) as engine:
        adapters = engine.load(job.get("adapters", ()))
        for repeat in range(job.get("repeats", 1)):
            for case in job["cases"]:
                if case.get("crowded") and not crowd:
                    crowd = engine.load(job["crowd"])
                while crowd and not case.get("crowded"):
                    engine.model.unload_adapter(crowd.pop())
                results.append(_measure(engine, case, adapters, job, f"{job['seed']}/{repeat}/{case}"))
    return results


def _measure(
    engine: OurEngine, case: dict[str, Any], adapters: list[str], job: dict[str, Any], seed: str
) -> dict[str, Any]:
    named = adapters[: case["adapters"]]
    # A first batch brings the adapters into memory.
    engine.run(random_prompts(case["batch"], 8, f"warm/{seed}"), 2, named)
    prompts = random_prompts(case["batch"], job["prompt_tokens"], seed)
    window = Window()
    asked = engine.run(prompts, job["new_tokens"], named)
    spent = window.close()
    result = speed(case, spent, sum(len(each.reply) for each in asked), decoding_speed([each.times for each in asked]))
    return result | {"registered": len(engine.model.adapters)}
