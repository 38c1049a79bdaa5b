"""What a call costs beside the teacher's, from captured calls."""

import pytest

from journeyman.config import PriceRule
from journeyman.errors import InvalidInput
from journeyman.evals.costs import compare_costs
from journeyman.prices import PriceList
from journeyman.records import Adapter, Exchange, Filter, Usage
from journeyman.store.memory import MemoryStore

BANK = Adapter(id="7f", name="bank", base="tiny", rank=2, path="p", template="t")
PRICES = PriceList({"tiny": PriceRule(input="0.02", output="0.06")})


def calls(count, conversations, prompt, completion, **fields):
    return [
        Exchange(state="complete", session=f"{fields['model']}-{number % conversations}", **fields,
                 usage=Usage(prompt_tokens=prompt + number % 7, completion_tokens=completion))
        for number in range(count)
    ]  # fmt: skip


@pytest.fixture
def store():
    kept = MemoryStore()
    kept.put(BANK)
    kept.put(*calls(60, 20, 600, 20, model="support", served="tiny", upstream="engine", adapter="7f"))
    kept.put(*calls(40, 20, 1000, 50, model="acme/gpt-4.1", served="gpt-4.1", upstream="acme"))
    kept.put(*calls(5, 5, 9, 9, model="tiny", served="tiny", upstream="engine", tags={"stage": "eval"}))
    return kept


def test_both_are_counted_priced_and_compared_with_intervals(store):
    result = compare_costs(store, PRICES, BANK, "acme/gpt-4.1")
    assert (result.adapter.calls, result.adapter.conversations, result.teacher.calls) == (60, 20, 40)
    assert result.adapter.usd_per_thousand == pytest.approx((603 * 0.02 + 20 * 0.06) / 1000, rel=0.01)
    assert result.teacher.usd_per_thousand == pytest.approx((1003 * 2 + 50 * 8) / 1000, rel=0.01)
    for interval, estimate in (
        (result.adapter.interval, result.adapter.usd_per_thousand),
        (result.teacher.interval, result.teacher.usd_per_thousand),
        (result.interval, result.share),
    ):
        assert interval.low < estimate < interval.high
        assert interval.estimate == pytest.approx(estimate)


def test_calls_that_failed_or_do_not_match_are_left_out(store):
    store.put(*calls(9, 3, 10**6, 1, model="acme/gpt-4.1", served="gpt-4.1", upstream="acme", error="x"))
    store.put(Exchange(model="acme/gpt-4.1", served="gpt-4.1", upstream="acme", state="failed"))
    assert compare_costs(store, PRICES, BANK, "acme/gpt-4.1", Filter.parse("error = null")).teacher.calls == 40


def test_the_base_as_a_teacher_is_not_mixed_with_its_adapter_and_few_conversations_have_no_interval(store):
    result = compare_costs(store, PRICES, BANK, "tiny")
    assert result.teacher.calls == 5
    assert result.share > 1
    assert (result.teacher.interval, result.interval) == (None, None)


def test_without_a_price_there_is_no_share_but_there_are_tokens(store):
    result = compare_costs(store, PriceList(), BANK, "acme/gpt-4.1")
    assert (result.share, result.adapter.usd_per_thousand, result.adapter.interval) == (None, None, None)
    assert result.adapter.prompt_tokens > 600
    assert result.teacher.usd_per_thousand is not None


@pytest.mark.parametrize(("teacher", "where"), [("nobody", ""), ("acme/gpt-4.1", "tags.stage = eval")])
def test_nothing_to_compare_is_said(store, teacher, where):
    with pytest.raises(InvalidInput, match="nothing to compare"):
        compare_costs(store, PRICES, BANK, teacher, Filter.parse(where))


def test_calls_of_an_adapter_as_a_teacher_are_priced_by_its_name_as_the_ledger_does(store):
    store.put(Adapter(id="9c", name="old-bank", base="tiny", rank=2, path="p", template="t"))
    store.put(*calls(5, 5, 600, 20, model="old-support", served="tiny", upstream="engine", adapter="9c"))
    prices = PriceList({"old-bank": PriceRule(input="1", output="1"), "tiny": PriceRule(input="0.02", output="0.06")})
    result = compare_costs(store, prices, BANK, "old-support")
    assert result.teacher.usd_per_thousand == pytest.approx((602 + 20) / 1000, rel=0.01)
