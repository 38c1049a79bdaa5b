"""Decode throughput of the base model against transformers' `generate`: alternately, each in a fresh process."""

from statistics import median

from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure, of_case, ratios, rounds_of, speed_rows
from serving_parts.sides import run_side

BARS = {1: 1.5, 8: 2.5, 32: 2.0}


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for batches of 1, 8 and 32."""
    cases = [{"batch": batch, "adapters": 0} for batch in BARS]
    ours, theirs = [], []
    for number in range(plan.rounds):
        job = plan.job(cases=cases, seed=f"decode/{number}")
        ours += run_side("ours", job)
        theirs += run_side("theirs", job)
    rows: list[ServingRow] = []
    for batch, bar in BARS.items():
        own, generate = of_case(ours, batch=batch), of_case(theirs, batch=batch)
        rows += speed_rows(f"ours, base model, batch {batch}", own)
        rows += speed_rows(f"transformers generate, batch {batch}", generate)
        found = ratios(own, generate)
        rows.append(
            figure(
                f"ours against transformers generate, batch {batch}", median(found), "times", at_least=bar,
                note=rounds_of(found, 3),
            )
        )  # fmt: skip
    return rows
