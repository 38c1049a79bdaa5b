"""What tokens cost, so that models can be compared in money.

A small table, dated and with its sources; a model that is not in it has no price (None), never a price of 0.
Public prices were read from genai-prices 0.2.3 (MIT, https://github.com/pydantic/genai-prices). Models whose price
changes with the prompt's length or with the hour are left out, because one number would be wrong for them.
"""

import re
from typing import NamedTuple

from journeyman.records import Usage

AS_OF = "2026-11-22"

_DATED = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2})$")


class Price(NamedTuple):
    """US dollars for a million tokens: of prompt, of prompt read from the provider's cache, and of reply."""

    input: float
    cached: float
    output: float
    note: str = "genai-prices 0.2.3"


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
    """US dollars for one call; None when the model's price is unknown."""
    price = price_of(model)
    if price is None:
        return None
    fresh = usage.prompt_tokens - usage.cached_prompt_tokens
    total = fresh * price.input + usage.cached_prompt_tokens * price.cached + usage.completion_tokens * price.output
    return total / 1_000_000
