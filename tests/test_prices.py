"""Money: known prices, dated names, and no price where none is known."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from journeyman.config import PriceRule, Settings
from journeyman.prices import MICRODOLLAR, PRICES, PriceList, add_up, cost_usd, dollars, price_of
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


def test_every_public_price_is_counted_exactly():
    for price in PRICES.values():
        for rate in price[:3]:
            assert Fraction(str(rate)) * MICRODOLLAR % 1 == 0


@given(
    rates=st.tuples(*[st.decimals(0, 10_000, places=6)] * 3),
    prompt=st.integers(0, 10**9),
    cached=st.integers(0, 10**9),
    completion=st.integers(0, 10**9),
)
def test_a_cost_is_exact_to_the_picodollar(rates, prompt, cached, completion):
    usage = Usage(prompt_tokens=prompt, cached_prompt_tokens=min(prompt, cached), completion_tokens=completion)
    price = PriceList({"m": PriceRule(input=rates[0], cached=rates[1], output=rates[2])}).find("m")
    parts = (prompt - usage.cached_prompt_tokens, usage.cached_prompt_tokens, completion)
    exact = sum(tokens * Fraction(rate) for tokens, rate in zip(parts, rates, strict=True)) * MICRODOLLAR
    assert price.picodollars(usage) == exact


def test_a_rule_of_the_installation_comes_before_the_table_and_the_closest_name_first():
    rule = {"gpt-4.1": PriceRule(input=1, output=2), "bank@7f": PriceRule(input=3, output=4)}
    prices = PriceList(rule)
    assert prices.find("gpt-4.1")[:3] == (1, 1, 2)
    assert prices.find("gpt-4.1", "bank@7f", "bank")[:3] == (3, 3, 4)
    assert prices.find("gpt-4.1", "other")[:3] == (1, 1, 2)
    assert prices.find("gpt-4o", "other") == PRICES["gpt-4o"]
    assert prices.find("my-model", "other") is None


def test_a_price_of_zero_is_a_price():
    price = PriceList({"mine": PriceRule(input=0, output=0)}).find("mine")
    assert price.picodollars(Usage(prompt_tokens=9)) == 0


@pytest.mark.parametrize("rate", ["-1", "0.0000001", "nan", "inf", "x"])
def test_a_price_that_cannot_be_counted_is_refused(rate):
    with pytest.raises(ValidationError):
        PriceRule(input=rate, output=1)


def test_price_rules_are_read_from_the_settings(home):
    home.mkdir()
    (home / "journeyman.toml").write_text('[prices."bank.v1"]\ninput = 0.025\noutput = 0.1\n')
    assert PriceList(Settings().prices).find("bank.v1")[:3] == (0.025, 0.025, 0.1)


@given(st.lists(st.integers(0, 10**15), max_size=50))
def test_shown_amounts_add_up_to_the_shown_total_and_none_is_off_by_a_microdollar(amounts):
    shown = add_up(amounts)
    assert dollars(sum(shown)) == dollars(sum(amounts))
    assert all(each % MICRODOLLAR == 0 for each in shown)
    assert all(abs(each - exact) < MICRODOLLAR for each, exact in zip(shown, amounts, strict=True))


def test_more_cached_tokens_than_prompt_tokens_never_make_a_cost_negative():
    assert cost_usd("gpt-4.1", Usage(prompt_tokens=1, cached_prompt_tokens=1000)) == 0.5 / 1e6
