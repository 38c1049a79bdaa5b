"""What different adapters in one batch cost, against our own base model; and PEFT doing the same."""

from statistics import mean, median
from typing import Any

from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure, of_case, ratios, rounds_of, speed_rows, speeds
from serving_parts.sides import run_side

LOSSES = {(8, 8): 35, (32, 8): 25, (32, 32): 40}
"""Most percent of the speed that may be lost, by (batch, different adapters)."""
AGAINST_PEFT = {8: 8.0, 32: 6.0}
UNCHANGED = 5
"""Percent: rounds of one and the same thing differ by as much."""


def measure(plan: Plan) -> list[ServingRow]:
    """Rows for batches of 8 and 32."""
    # Side by side in time with the base model that they are compared with.
    cases: list[dict[str, Any]] = [
        {"batch": batch, "adapters": adapters, "crowded": False, "again": False}
        for batch in (8, 32) for adapters in (0, 8, *([32] if batch == 32 else []))
    ]  # fmt: skip
    crowded = [{"batch": batch, "adapters": 8, "crowded": True} for batch in (8, 32)]
    # Before the crowd, among it, and after it: a process that grows slower is not blamed on the crowd.
    again = [{"batch": batch, "adapters": 8, "crowded": False, "again": True} for batch in (8, 32)]
    registered = plan.count(1000, 40)
    folders = plan.adapters(32)
    ours, theirs = [], []
    for number in range(plan.rounds):
        job = plan.job(cases=[*cases, *crowded, *again], seed=f"adapters/{number}", adapters=folders)
        ours += run_side("ours", job | {"crowd": plan.crowd(registered - len(folders))})
        mixed = [{"batch": batch, "adapters": 8} for batch in ((8,) if plan.quick else (8, 32))]
        theirs += run_side("theirs", job | {"cases": mixed, "adapters": folders[:8]})
    return [*_own_rows(ours), *_crowd_rows(ours, registered), *_peft_rows(ours, theirs)]


def _own_rows(ours: list[dict[str, Any]]) -> list[ServingRow]:
    rows: list[ServingRow] = []
    for batch in (8, 32):
        rows += speed_rows(f"ours, base model (for the adapters), batch {batch}", _case(ours, batch, 0))
    for (batch, adapters), most in LOSSES.items():
        mixed = _case(ours, batch, adapters)
        rows += speed_rows(f"ours, {adapters} adapters mixed, batch {batch}", mixed)
        lost = [100 * (1 - ratio) for ratio in ratios(mixed, _case(ours, batch, 0))]
        rows.append(
            figure(
                f"speed lost to {adapters} adapters, batch {batch}, against our own base model", median(lost), "%",
                at_most=most, note=rounds_of(lost, 3),
            )
        )  # fmt: skip
    return rows


def _crowd_rows(ours: list[dict[str, Any]], registered: int) -> list[ServingRow]:
    rows: list[ServingRow] = []
    for batch in (8, 32):
        crowded = of_case(ours, batch=batch, adapters=8, crowded=True)
        assert all(each["registered"] == registered for each in crowded)
        rows += speed_rows(f"ours, 8 adapters of {registered:,} registered, batch {batch}", crowded)
        before, after = _case(ours, batch, 8), of_case(ours, batch=batch, adapters=8, again=True)
        rows += speed_rows(f"ours, 8 adapters, the others unloaded again, batch {batch}", after)
        lost = [
            100 * (1 - middle / mean([one, other]))
            for one, middle, other in zip(speeds(before), speeds(crowded), speeds(after), strict=True)
        ]
        rows.append(
            figure(
                f"speed lost while {registered:,} adapters are registered, batch {batch}, against before and after",
                median(lost), "%", at_most=UNCHANGED,
                note=f"{rounds_of(lost, 2)}; the others have weights of 32 and settings of their own, so that the "
                "engine tells them apart; they do not fit into its memory together",
            )
        )  # fmt: skip
        cost = [
            100 * (middle["cpu"] / mean([one["cpu"], other["cpu"]]) - 1)
            for one, middle, other in zip(before, crowded, after, strict=True)
        ]
        rows.append(
            figure(
                f"CPU-seconds more while {registered:,} adapters are registered, batch {batch}, against before and "
                "after", median(cost), "%", at_most=UNCHANGED, note=rounds_of(cost, 2),
            )
        )  # fmt: skip
    return rows


def _peft_rows(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[ServingRow]:
    rows: list[ServingRow] = []
    for batch, bar in AGAINST_PEFT.items():
        peft = of_case(theirs, batch=batch)
        if not peft:
            continue
        rows += speed_rows(f"PEFT adapter_names, 8 adapters, batch {batch}", peft)
        found = ratios(_case(ours, batch, 8), peft)
        rows.append(
            figure(
                f"ours against PEFT, 8 adapters, batch {batch}", median(found), "times", at_least=bar,
                note=rounds_of(found, 3),
            )
        )  # fmt: skip
    return rows


def _case(ours: list[dict[str, Any]], batch: int, adapters: int) -> list[dict[str, Any]]:
    return of_case(ours, batch=batch, adapters=adapters, crowded=False, again=False)
