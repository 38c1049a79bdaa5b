"""What tokens cost, so that models can be compared in money.

A small table, dated and with its sources; a model that is not in it has no price (None), never a price of 0.
Public prices were read from genai-prices 0.2.3 (MIT, https://github.com/pydantic/genai-prices). Models whose price
changes with the prompt's length or with the hour are left out, because one number would be wrong for them.
An installation's own rules (`[prices.NAME]` in its settings) come before the table.

Money is counted in whole picodollars, 10⁻¹² US dollars: what one token costs at a price of 0.000001 per million.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from journeyman.records import Usage

AS_OF = "2026-11-22"
PICODOLLARS = 10**12
"""In a US dollar."""
MICRODOLLAR = 10**6
"""In picodollars: the smallest amount that is shown."""

_DATED = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2})$")


class Price(NamedTuple):
    """US dollars for a million tokens: of prompt, of prompt read from the provider's cache, and of reply."""

    input: float
    cached: float
    output: float
    note: str = "genai-prices 0.2.3"

    def picodollars(self, usage: Usage) -> int:
        """What these tokens cost; exact, because a price has at most six decimals."""
        cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
        fresh = usage.prompt_tokens - cached
        parts = ((fresh, self.input), (cached, self.cached), (usage.completion_tokens, self.output))
        return sum(tokens * int(Decimal(str(rate)) * MICRODOLLAR) for tokens, rate in parts)

    def usd(self, usage: Usage) -> float:
        """What these tokens cost, in US dollars."""
        return self.picodollars(usage) / PICODOLLARS


class Rule(Protocol):
    """An installation's own price, in US dollars for a million tokens; without `cached`, it is that of `input`."""

    input: Decimal
    cached: Decimal | None
    output: Decimal


PRICES: dict[str, Price] = {
    "gpt-4.1": Price(2.0, 0.5, 8.0),
    "gpt-4.1-mini": Price(0.4, 0.1, 1.6),
    "gpt-4.1-nano": Price(0.1, 0.025, 0.4),
    "gpt-4o": Price(2.5, 1.25, 10.0),
    "gpt-4o-mini": Price(0.15, 0.075, 0.6),
    "gpt-5": Price(1.25, 0.125, 10.0),
    "gpt-5-mini": Price(0.25, 0.025, 2.0),
    "gpt-5-nano": Price(0.05, 0.005, 0.4),
    "gpt-5.4-mini": Price(0.75, 0.075, 4.5),
    "o3": Price(2.0, 0.5, 8.0),
    "o4-mini": Price(1.1, 0.275, 4.4),
    "claude-haiku-4-5": Price(1.0, 0.1, 5.0),
    "claude-sonnet-5": Price(2.0, 0.2, 10.0),
    "claude-sonnet-5-5": Price(2.0, 0.1, 10.0),
    "claude-opus-5-5": Price(4.0, 0.2, 20.0),
    "gemini-2.5-flash": Price(0.3, 0.03, 2.5),
    "gemini-2.5-flash-lite": Price(0.1, 0.01, 0.4),
    "gemini-3.1-flash-lite": Price(0.25, 0.025, 1.5),
    "gemini-3.5-flash": Price(1.5, 0.15, 9.0),
    "mistral-medium-3-5": Price(1.5, 0.15, 7.5),
    "smollm2-135m": Price(
        0.02, 0.02, 0.06, "the nearest hosted size: Qwen3.5-0.8B at Prime Intellect, 2026-09; no cache discount"
    ),
    "scripted-expert": Price(2.0, 0.5, 8.0, "what the same traffic would cost on gpt-4.1"),
}


def price_of(model: str) -> Price | None:
    """The price of a model by its provider's name for it, with or without a date at its end; None when unknown.

    An adapter costs what its base costs: ask for the base.
    """
    return PRICES.get(model) or PRICES.get(_DATED.sub("", model))


def cost_usd(model: str, usage: Usage) -> float | None:
    """US dollars for one call by the public table; None when the model's price is unknown."""
    price = price_of(model)
    return None if price is None else price.usd(usage)


class PriceList:
    """The public table under an installation's own rules."""

    def __init__(self, rules: Mapping[str, Rule] | None = None) -> None:
        self._rules = {name: _from_rule(rule) for name, rule in (rules or {}).items()}

    def find(self, model: str, *closer: str) -> Price | None:
        """The price of a model; a rule for one of the `closer` names (an adapter's id, its name) comes first."""
        rule = next((self._rules[name] for name in (*closer, model) if name in self._rules), None)
        return rule or price_of(model)


def dollars(picodollars: int) -> str:
    """An amount as it is shown: US dollars with six decimals, half a micro-dollar to the even one."""
    return f"{Decimal(picodollars) / PICODOLLARS:.6f}"


def add_up(amounts: Sequence[int]) -> list[int]:
    """Amounts in whole micro-dollars (as picodollars) whose sum is the rounded sum of the exact ones.

    Each is rounded down, and the micro-dollars that are then missing go to those that lost most (largest remainders):
    no line is off by a micro-dollar or more, and a statement's total is what its lines add up to.
    """
    whole = [amount // MICRODOLLAR for amount in amounts]
    missing = round(Decimal(sum(amounts)) / MICRODOLLAR) - sum(whole)
    by_loss = sorted(range(len(amounts)), key=lambda place: amounts[place] % MICRODOLLAR, reverse=True)
    for place in by_loss[:missing]:
        whole[place] += 1
    return [each * MICRODOLLAR for each in whole]


def _from_rule(rule: Rule) -> Price:
    cached = rule.input if rule.cached is None else rule.cached
    return Price(float(rule.input), float(cached), float(rule.output), "the settings of this installation")
