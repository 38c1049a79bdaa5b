"""What could be done in place of fine-tuning, cheapest effort first: estimates from the same traffic and prices."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from journeyman.evals.payback.model import Plan, payback_months
from journeyman.evals.payback.traffic import Traffic
from journeyman.prices import PRICES, Price

PUBLIC = "genai-prices"
BATCH_DISCOUNT = 0.5
"""What OpenAI, Anthropic and Google take off for answers within a day."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """`saves` is US dollars a month at today's prices, `gain` over all months less `upfront`.

    `gap` is the measured one; None where nobody measured it: then `gain` is what there is to win if nothing is lost,
    and `tolerable` the gap that would eat it up.
    """

    name: str
    saves: float
    upfront: float
    gain: float
    months: float
    gap: float | None
    tolerable: float | None
    note: str

    @property
    def certain(self) -> bool:
        """Whether what it does to the quality is known."""
        return self.gap is not None


@dataclass(frozen=True, slots=True)
class Efforts:
    """What is assumed of the alternatives: US dollars that each takes at first, and how far it goes.

    `cacheable` is the share of a prompt that can be served from a cache (None: as measured in the traffic), `cut` the
    share of a prompt that a better one does without, `batch` the share of calls that may wait for a day.
    """

    caching: float = 500.0
    prompt: float = 2000.0
    model: float = 1000.0
    cacheable: float | None = None
    cut: float = 0.2
    batch: float = 0.0


def cached_share(traffic: Traffic, efforts: Efforts) -> float:
    """The share of the prompt that could come from a cache; never less than what does already."""
    possible = efforts.cacheable if efforts.cacheable is not None else traffic.repeated
    return max(traffic.cached, possible or 0.0)


def smaller_models(price: Price, traffic: Traffic) -> list[str]:
    """The dearest model of the public table that costs at most half of the teacher for the same tokens, if any."""
    most = traffic.usd_per_call(price[:3]) / 2
    costs = {name: traffic.usd_per_call(each[:3]) for name, each in PRICES.items() if each.note.startswith(PUBLIC)}
    fitting = [name for name, cost in costs.items() if cost <= most]
    return [max(fitting, key=lambda name: costs[name])] if fitting else []


def alternatives(
    plan: Plan,
    traffic: Traffic,
    price: Price,
    efforts: Efforts,
    models: Mapping[str, tuple[Price, float | None]],
) -> list[Alternative]:
    """Every alternative that saves anything, the one with the greatest gain first.

    `models` are stock models by name, each with its price and its measured gap to the teacher (None: not measured).
    """
    found = [_caching(plan, traffic, price, efforts), _shorter(plan, traffic, price, efforts)]
    if efforts.batch:
        saved = efforts.batch * BATCH_DISCOUNT * plan.teacher
        note = f"{efforts.batch:.0%} of the calls wait up to a day, at half the price"
        found.append(_alternative(plan, "batch interface", saved, efforts.caching, 0.0, note))
    for name, (other, gap) in models.items():
        saved = plan.teacher - traffic.usd_per_call(other[:3])
        note = "as measured in the report" if gap is not None else "not measured yet: evaluate it on your own cases"
        found.append(_alternative(plan, f"smaller stock model {name}", saved, efforts.model, gap, note))
    return sorted((each for each in found if each.saves > 0), key=lambda each: each.gain, reverse=True)


def _caching(plan: Plan, traffic: Traffic, price: Price, efforts: Efforts) -> Alternative:
    share = cached_share(traffic, efforts)
    saved = traffic.usd_per_call(price[:3]) - traffic.usd_per_call(price[:3], share)
    source = "given" if efforts.cacheable is not None else "measured over messages: the most that a cache could hold"
    note = (
        f"{share:.0%} of the prompt from the cache in place of {traffic.cached:.0%} ({source}); writing is not priced"
    )
    return _alternative(plan, "prompt caching", saved, efforts.caching, 0.0, note)


def _shorter(plan: Plan, traffic: Traffic, price: Price, efforts: Efforts) -> Alternative:
    shorter = replace(traffic, prompt_tokens=traffic.prompt_tokens * (1 - efforts.cut))
    saved = traffic.usd_per_call(price[:3]) - shorter.usd_per_call(price[:3])
    note = f"a prompt that is {efforts.cut:.0%} shorter (assumed); evaluate it, it may be better or worse"
    return _alternative(plan, "better prompt", saved, efforts.prompt, None, note)


def _alternative(plan: Plan, name: str, saved: float, upfront: float, gap: float | None, note: str) -> Alternative:
    """As a plan of its own: the teacher stays where it was, and the alternative is the student."""
    other = Plan(
        calls=plan.calls,
        teacher=plan.teacher,
        student=plan.teacher - saved,
        upfront=upfront,
        upkeep=0.0,
        gap=gap or 0.0,
        loss=plan.loss,
        calls_per_conversation=plan.calls_per_conversation,
        months=plan.months,
    )
    # What is saved falls with the teacher's price, because all of it is a part of that price.
    factor = plan.price_factor
    other = replace(other, teacher=other.teacher * factor, student=other.student * factor)
    weight = plan.calls * plan.months * plan.loss / plan.calls_per_conversation
    gain = other.gain()
    tolerable = None if gap is not None or not weight else gain / weight
    months = payback_months(other)
    return Alternative(name, plan.calls * saved, upfront, gain, months, gap, tolerable, note)


def best_certain(found: list[Alternative]) -> Alternative | None:
    """The alternative with the greatest gain among those whose effect on quality is known."""
    certain = [each for each in found if each.certain]
    return max(certain, key=lambda each: each.gain if math.isfinite(each.gain) else -math.inf, default=None)
