"""Money: known prices, dated names, and no price where none is known."""

import pytest

from journeyman.prices import PRICES, cost_usd, price_of
from journeyman.records import Usage


def test_cached_prompt_tokens_cost_less_and_are_not_counted_twice():
    usage = Usage(prompt_tokens=1_000_000, cached_prompt_tokens=400_000, completion_tokens=100_000)
    assert cost_usd("gpt-4.1", usage) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.1 * 8)


@pytest.mark.parametrize("name", ["gpt-4.1-2025-04-14", "claude-haiku-4-5-20251001", "claude-haiku-4-5@20251001"])
def test_a_dated_name_has_the_price_of_its_model(name):
    assert price_of(name) is not None


@pytest.mark.parametrize("name", ["gpt-4.1-turbo", "my-model", "", "gpt-4.1/../x"])
def test_an_unknown_model_has_no_price(name):
    assert price_of(name) is None
    assert cost_usd(name, Usage(prompt_tokens=10)) is None


def test_the_scripted_expert_costs_what_its_traffic_would_on_gpt_4_1():
    assert PRICES["scripted-expert"][:3] == PRICES["gpt-4.1"][:3]
    assert "gpt-4.1" in PRICES["scripted-expert"].note


def test_every_price_is_plausible():
    for price in PRICES.values():
        assert 0 < price.cached <= price.input <= price.output < 100
        assert price.note
