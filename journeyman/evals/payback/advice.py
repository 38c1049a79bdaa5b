"""Puts the numbers together and says what they mean: fine-tune, do not, or find something out first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from journeyman.evals.payback.alternatives import (
    Alternative,
    Efforts,
    alternatives,
    best_certain,
    cached_share,
    smaller_models,
)
from journeyman.evals.payback.chances import Chances, Influence, likely_plan, simulate, tornado
from journeyman.evals.payback.model import Plan, break_even_calls, payback_months, tolerable_gap
from journeyman.evals.payback.ranges import Range
from journeyman.evals.payback.traffic import Traffic
from journeyman.prices import AS_OF, Price, price_of

SURE = 0.8
"""Fine-tuning is advised only when at least this share of the draws pays back in time."""
EVEN = 0.5

Verdict = Literal["fine-tune", "do not fine-tune", "not clear yet"]


@dataclass(frozen=True, slots=True)
class Payback:
    """The whole answer. Calls are per month, money is in US dollars, `gap` in shares of conversations.

    `break_even`, `months` and `gain` are those of the likely values; `if_cached` is the break-even volume when the
    teacher's prompt cache is used as far as it goes. `gap_known` is false when nobody measured or gave the gap.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    teacher: str
    student: str
    ranges: Mapping[str, Range]
    plan: Plan
    break_even: float
    if_cached: float
    months: float
    gain: float
    tolerable: float | None
    chances: Chances
    influences: tuple[Influence, ...]
    alternatives: tuple[Alternative, ...]
    traffic: Traffic
    gap_known: bool
    prices_as_of: str = AS_OF


def assess(
    teacher: str,
    student: str,
    price: Price,
    traffic: Traffic,
    ranges: Mapping[str, Range],
    *,
    months: int = 12,
    gap_known: bool = True,
    efforts: Efforts = Efforts(),
    others: Mapping[str, tuple[Price, float | None]] | None = None,
    draws: int = 5000,
    seed: int = 0,
) -> Payback:
    """Weigh a fine-tuned student against its teacher. `ranges` are a plan's numbers by name (`model.Plan`).

    `others` are stock models to compare with, each with its price and its measured gap (None: not measured); without
    it, the nearest smaller one of the public table. InvalidInput names a number that cannot be.
    """
    plan = likely_plan(ranges, months)
    if others is None:
        named = {name: price_of(name) for name in smaller_models(price, traffic)}
        others = {name: (each, None) for name, each in named.items() if each is not None}
    found = alternatives(plan, traffic, price, efforts, others)
    cached = traffic.usd_per_call(price[:3], cached_share(traffic, efforts))
    today = traffic.usd_per_call(price[:3])
    after_caching = replace(plan, teacher=plan.teacher * (cached / today if today else 1.0))
    chances, influences = simulate(ranges, months, draws, seed), tornado(ranges, months)
    verdict, reasons = _decide(plan, chances, influences, found, gap_known)
    return Payback(
        verdict=verdict,
        reasons=tuple(reasons),
        teacher=teacher,
        student=student,
        ranges=ranges,
        plan=plan,
        break_even=break_even_calls(plan),
        if_cached=break_even_calls(after_caching),
        months=payback_months(plan),
        gain=plan.gain(),
        tolerable=tolerable_gap(plan),
        chances=chances,
        influences=tuple(influences),
        alternatives=tuple(found),
        traffic=traffic,
        gap_known=gap_known,
    )


def _decide(
    plan: Plan, chances: Chances, influences: list[Influence], found: list[Alternative], gap_known: bool
) -> tuple[Verdict, list[str]]:
    saving, best = plan.saving(plan.price_factor), best_certain(found)
    often = f"pays back within {plan.months} months in {chances.pays:.0%} of the draws"
    if saving <= 0:
        return "do not fine-tune", [
            f"A call would save {_dollars(saving)}: no volume pays that back.",
            *_instead(best),
        ]
    if chances.pays < EVEN:
        volume = break_even_calls(plan)
        needed = "No volume is enough." if math.isinf(volume) else f"It takes {math.ceil(volume):,} a month."
        return "do not fine-tune", [
            f"It {often} only, at {plan.calls:,.0f} calls a month. {needed}",
            *_instead(best),
        ]
    if best and best.gain >= plan.gain():
        return "do not fine-tune", [
            f"Fine-tuning would gain {_dollars(plan.gain())} in {plan.months} months.",
            *_instead(best),
        ]
    first = influences[0].name.replace("_", " ") if influences else None
    learn = [f"What decides it is the {first}: find that out more exactly."] if first else []
    if not gap_known:
        return "not clear yet", [
            f"At equal quality it {often}, but nobody has measured what the student loses: evaluate both on the same "
            "cases, and give the report."
        ]
    if chances.pays < SURE:
        return "not clear yet", [
            f"It pays back within {plan.months} months in {chances.pays:.0%} of the draws.",
            *learn,
        ]
    open_ones = [each for each in found if not each.certain and each.gain > plan.gain()]
    if open_ones:
        return "not clear yet", [
            f"It {often}.",
            f"But {open_ones[0].name} would gain up to {_dollars(open_ones[0].gain)}: measure what it loses first.",
        ]
    return "fine-tune", [f"It {often}."]


def _instead(best: Alternative | None) -> list[str]:
    if best is None or best.gain <= 0:
        return ["None of the cheaper ways is known to pay either: leave it as it is."]
    return [f"{best.name[0].upper()}{best.name[1:]} gains {_dollars(best.gain)} in that time: do that first."]


def _dollars(amount: float) -> str:
    sign = "−" if amount < 0 else ""
    return f"{sign}${abs(amount):,.0f}" if abs(amount) >= 10 else f"{sign}${abs(amount):.3g}"
