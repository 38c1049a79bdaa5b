"""Whether fine-tuning pays: against cases reckoned by hand, and laws that hold for any numbers."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from journeyman.errors import InvalidInput
from journeyman.evals.payback import (
    Efforts,
    Plan,
    Range,
    Traffic,
    assess,
    break_even_calls,
    fixed,
    lognormal,
    measure_traffic,
    measured,
    payback_months,
    read_range,
    simulate,
    to_json,
    to_markdown,
    tolerable_gap,
    tornado,
    triangular,
)
from journeyman.evals.payback.traffic import repeated_share
from journeyman.prices import Price
from journeyman.records import Exchange, Interval, Message, Usage, now
from journeyman.store.memory import MemoryStore

TRAFFIC = Traffic(None, 1800, 200)
GPT_41 = Price(2.0, 0.5, 8.0)
STUDENT = 900 * 0.18 / 1e6
"""700 tokens of prompt and 200 of reply at $0.18 per million: $0.000162."""

plans = st.builds(
    Plan,
    calls=st.floats(1e2, 1e7),
    teacher=st.floats(1e-5, 0.05),
    student=st.floats(0, 0.01),
    upfront=st.floats(1, 1e5),
    upkeep=st.floats(0, 1e4),
    gap=st.floats(-0.2, 0.2),
    loss=st.floats(0, 0.1),
    calls_per_conversation=st.floats(1, 20),
    fallback=st.floats(0, 0.9),
    price_fall=st.floats(0, 0.8),
    months=st.integers(1, 36),
)


def plan(teacher: float, **more: Any) -> Plan:
    return replace(Plan(calls=1e6, teacher=teacher, student=STUDENT, upfront=9060, upkeep=500, months=6), **more)


@pytest.mark.parametrize(
    ("price", "per_token", "on_a_gpu", "cached"),
    [
        (Price(3.0, 0.3, 15.0), 244_000, 413_000, 402_000),
        (GPT_41, 399_000, 667_000, 621_000),
        (Price(1.25, 0.125, 10.0), 492_000, 816_000, 734_000),
        (Price(0.3, 0.03, 2.5), 2_300_000, 3_300_000, 3_600_000),
        (Price(0.25, 0.025, 2.0), 2_900_000, 4_100_000, 4_800_000),
    ],
)
def test_the_worked_example(price: Price, per_token: float, on_a_gpu: float, cached: float) -> None:
    """1,800 tokens of prompt (1,200 of them static) and 200 of reply; $9,060 at first, $500 a month, six months.

    The last digits of the table are rounded.
    """
    cost = TRAFFIC.usd_per_call(price[:3])
    assert break_even_calls(plan(cost)) == pytest.approx(per_token, rel=0.025)
    rented = plan(cost, student=0.0, gpu_hour=2.0)
    assert break_even_calls(rented) == pytest.approx(on_a_gpu, rel=0.025)
    after = TRAFFIC.usd_per_call(price[:3], 1200 / 1800)
    assert break_even_calls(plan(after)) == pytest.approx(cached, rel=0.025)


def test_by_hand() -> None:
    """A call saves 0.0052 − 0.000162 = 0.005038; 2,010 / 0.005038 = 398,968; a million calls leave 4,538 a month."""
    here = plan(0.0052)
    assert break_even_calls(here) == pytest.approx(398_967.8, abs=0.1)
    assert here.net(0) == pytest.approx(4538)
    assert payback_months(here) == pytest.approx(9060 / 4538)
    assert here.gain() == pytest.approx(6 * 4538 - 9060)


def test_fallback_gap_and_latency_by_hand() -> None:
    """1 in 10 goes back: 0.9 · (0.010 − 0.002) = 0.0072; two points at $1, 5 calls a conversation: −0.004; +0.001."""
    here = Plan(
        calls=1000, teacher=0.010, student=0.002, upfront=10, upkeep=1, gap=0.02, loss=1.0, calls_per_conversation=5,
        fallback=0.1, latency_gain=0.001, months=10,
    )  # fmt: skip
    assert here.saving() == pytest.approx(0.0042)
    assert here.gain() == pytest.approx(10 * (4.2 - 1) - 10)
    assert tolerable_gap(here) == pytest.approx(0.02 + 22 / (1000 * 10 / 5))
    assert tolerable_gap(replace(here, loss=0.0)) is None


def test_one_point_of_quality_at_ten_cents_is_more_than_a_small_models_bill() -> None:
    """$1 for 1,000 calls, where all of gpt-5-mini costs $0.85."""
    cost = TRAFFIC.usd_per_call((0.25, 0.025, 2.0))
    assert 1000 * cost == pytest.approx(0.85)
    assert math.isinf(break_even_calls(plan(cost, gap=0.01, loss=0.1)))


def test_processors_are_rented_whole() -> None:
    """One answers 100 · 730 / 2 = 36,500 calls a month for $730: 100,000 calls take three, and 73,000 two."""
    here = Plan(
        calls=100_000, teacher=0.05, student=0, upfront=0, upkeep=0, gpu_hour=1.0, calls_per_gpu_hour=100, peak=2
    )
    assert here.hosting() == 3 * 730
    assert replace(here, calls=73_000).hosting() == 2 * 730
    assert break_even_calls(here) == pytest.approx(14_600)  # 730 / 0.05
    # 36,500 · 0.05 − 730 = 1,095 are left by each: 3,000 a month of upkeep take three.
    assert break_even_calls(replace(here, upkeep=3000)) == pytest.approx((3000 + 3 * 730) / 0.05)
    assert math.isinf(break_even_calls(replace(here, teacher=0.01)))  # each loses 365


def test_falling_prices_by_hand() -> None:
    """Half a year's fall: the middle of a single month is 1/24 of a year on."""
    here = Plan(calls=1000, teacher=1.0, student=0.0, upfront=500, upkeep=0, price_fall=0.5, months=1)
    assert here.gain() == pytest.approx(1000 * 0.5 ** (0.5 / 12) - 500)
    first, second = (1000 * 0.5 ** ((month + 0.5) / 12) for month in (0, 1))
    assert payback_months(replace(here, upfront=first + second / 4)) == pytest.approx(1.25)


def test_what_never_pays_back_is_never() -> None:
    assert math.isinf(payback_months(Plan(calls=1, teacher=1.0, student=0.0, upfront=121, upkeep=0)))
    assert math.isinf(payback_months(Plan(calls=1, teacher=1.0, student=2.0, upfront=1, upkeep=0)))
    assert payback_months(Plan(calls=1, teacher=1.0, student=0.0, upfront=0, upkeep=0)) == 0


@given(plans)
def test_at_the_break_even_volume_nothing_is_left(here: Plan) -> None:
    volume = break_even_calls(here)
    assume(math.isfinite(volume) and volume < 1e12)
    scale = here.upfront + here.upkeep * here.months
    assert replace(here, calls=volume).gain() == pytest.approx(0, abs=1e-6 * scale)
    assert replace(here, calls=2 * volume).gain() > 0 > replace(here, calls=volume / 2).gain()


@given(plans)
def test_the_gap_that_can_be_borne_leaves_nothing(here: Plan) -> None:
    bearable = tolerable_gap(here)
    assume(bearable is not None and abs(bearable) < 1e6)
    scale = here.upfront + here.months * (here.upkeep + here.calls * (here.teacher + here.student))
    assert replace(here, gap=float(bearable or 0)).gain() == pytest.approx(0, abs=1e-6 * scale)


@given(plans)
def test_months_add_up_to_the_gain_and_agree_with_the_payback(here: Plan) -> None:
    total = sum(here.net(month) for month in range(here.months)) - here.upfront
    scale = here.upfront + here.months * (here.upkeep + here.calls * (here.teacher + here.student + abs(here.gap)))
    assert here.gain() == pytest.approx(total, abs=1e-7 * scale)
    if here.gain() > 1e-6 * scale:
        assert payback_months(here) <= here.months


@given(plans, st.floats(1.01, 3))
def test_who_pays_more_for_the_teacher_breaks_even_sooner(here: Plan, more: float) -> None:
    assert break_even_calls(replace(here, teacher=here.teacher * more)) <= break_even_calls(here)
    assert payback_months(replace(here, teacher=here.teacher * more)) <= payback_months(here)


@given(
    st.floats(1, 1e6),
    st.floats(100, 1e7),
    st.floats(0, 1e4),
    st.floats(0.001, 0.1),
    st.floats(0.1, 1e4),
    st.floats(1, 10),
)
def test_no_smaller_number_of_processors_pays_for_itself(
    upfront: float, throughput: float, upkeep: float, teacher: float, rent: float, peak: float
) -> None:
    here = Plan(1.0, teacher, 0.0, upfront, upkeep, gpu_hour=rent, calls_per_gpu_hour=throughput, peak=peak)
    volume = break_even_calls(here)
    assume(math.isfinite(volume) and volume < 1e13)
    scale = upfront + here.months * (upkeep + replace(here, calls=volume).hosting())
    assert replace(here, calls=volume * (1 - 1e-9)).gain() == pytest.approx(0, abs=1e-5 * scale)
    for share in (0.2, 0.5, 0.9, 0.99):
        assert replace(here, calls=volume * share).gain() < 1e-9 * scale


def test_quantiles_of_ranges_by_hand() -> None:
    """A symmetric triangle from 0 to 2 has a quarter of its area below √0.5; a lognormal its 5% at LOW."""
    triangle = triangular(0, 1, 2)
    assert triangle.quantile(0.25) == pytest.approx(math.sqrt(0.5))
    assert [triangle.quantile(share) for share in (0, 0.5, 1)] == [0, 1, 2]
    skewed = lognormal(100, 400)
    assert [skewed.quantile(share) for share in (0.05, 0.5, 0.95)] == pytest.approx([100, 200, 400])
    lopsided = measured(Interval(estimate=0.1, low=0.0, high=0.4))
    assert [lopsided.quantile(share) for share in (0.025, 0.5, 0.975)] == pytest.approx([0.0, 0.1, 0.4])


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), st.floats(0.01, 0.98), st.floats(0.001, 0.01))
def test_quantiles_rise_and_stay_inside(ends: list[float], share: float, step: float) -> None:
    low, likely, high = sorted(ends)
    drawn = triangular(low, likely, high)
    tolerance = 1e-9 * (abs(low) + abs(high))
    assert low - tolerance <= drawn.quantile(share) <= drawn.quantile(share + step) + tolerance <= high + 2 * tolerance


@pytest.mark.parametrize(
    ("text", "range"),
    [
        ("500", fixed(500)),
        ("300:500:900", triangular(300, 500, 900)),
        ("5:5:5", fixed(5)),
        ("100~400", lognormal(100, 400)),
        ("-0.02:0:0.05", triangular(-0.02, 0, 0.05)),
    ],
)
def test_ranges_as_people_write_them(text: str, range: Range) -> None:
    assert read_range(text, "--calls") == range


@pytest.mark.parametrize("text", ["", "many", "1:2", "3:2:1", "0~5", "5~1", "1~2~3", "nan", "inf", "1:2:inf", "nan~2"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_range(text, "--calls")


def ranges(**more: Range) -> dict[str, Range]:
    return {
        "calls": triangular(200_000, 1_000_000, 2_000_000), "teacher": fixed(0.0052), "student": fixed(STUDENT),
        "upfront": triangular(4000, 9060, 20000), "upkeep": fixed(500), "gap": fixed(0), "loss": fixed(0),
    } | more  # fmt: skip


def test_chances_by_hand() -> None:
    """A triangle of calls from 0 to 2,000,000, everything else fixed: it pays when calls > 398,968.

    Below the peak the triangle's share under x is x² / (2 · 10¹²): 7.96%.
    """
    numbers = ranges(calls=triangular(1, 1_000_000, 2_000_000), upfront=fixed(9060))
    found = simulate(numbers, 6, draws=20_000, seed=1)
    assert found.pays == pytest.approx(1 - 398_968**2 / 2e12, abs=0.008)
    assert found.break_even.low == found.break_even.high == pytest.approx(398_967.8, abs=0.1)
    assert found.gain.middle == pytest.approx(6 * 4538 - 9060, rel=0.03)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    assert simulate(ranges(), 6, 200, 7) == simulate(ranges(), 6, 200, 7)
    assert simulate(ranges(), 6, 200, 7).gain != simulate(ranges(), 6, 200, 8).gain


def test_certain_numbers_leave_nothing_to_chance() -> None:
    numbers = ranges(calls=fixed(1e6), upfront=fixed(9060))
    found = simulate(numbers, 6)
    assert found.pays == 1
    assert found.gain.low == found.gain.high == pytest.approx(6 * 4538 - 9060)
    assert tornado(numbers, 6) == []


def test_the_number_that_matters_most_comes_first() -> None:
    """The calls' gain moves by the width of their triangle, times 0.005038, times 6; upfront by about 11,000."""
    first, second = tornado(ranges(), 6)
    assert (first.name, second.name) == ("calls", "upfront")
    low, high = (triangular(200_000, 1_000_000, 2_000_000).quantile(share) for share in (0.05, 0.95))
    assert first.swing == pytest.approx((high - low) * 0.005038 * 6)
    assert second.at_low > second.at_high


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("calls", fixed(0)),
        ("gap", fixed(1.5)),
        ("gap", triangular(-2, 0, 1)),
        ("fallback", fixed(-0.1)),
        ("price_fall", fixed(1)),
        ("upfront", triangular(-5, 0, 5)),
        ("speed", fixed(1)),
    ],
)
def test_a_number_that_cannot_be_is_refused(name: str, value: Range) -> None:
    with pytest.raises(InvalidInput, match=name.replace("_", " ")):
        simulate(ranges(**{name: value}), 6)


def test_a_measured_gap_may_be_uncertain_beyond_what_can_be() -> None:
    """Its interval is the statistics' business; what is drawn stays possible."""
    wide = measured(Interval(estimate=0.5, low=-1.0, high=2.0))
    assert 0 < simulate(ranges(gap=wide, loss=fixed(0.001)), 6, 300).pays <= 1


def verdict(price: Price = GPT_41, traffic: Traffic = TRAFFIC, known: bool = True, **more: Range) -> str:
    numbers = ranges(teacher=fixed(traffic.usd_per_call(price[:3])), **more)
    return assess("gpt-4.1", "ours", price, traffic, numbers, months=12, gap_known=known, others={}, draws=500).verdict


def test_it_says_fine_tune_only_when_it_pays_for_sure() -> None:
    assert verdict(calls=fixed(5e6)) == "fine-tune"
    assert verdict(calls=fixed(5e6), known=False) == "not clear yet"
    assert verdict(calls=triangular(2e4, 4e5, 6e5)) == "not clear yet"


def test_it_says_do_not_fine_tune() -> None:
    assert verdict(calls=fixed(1e4)) == "do not fine-tune"
    assert verdict(calls=fixed(5e6), gap=fixed(0.1), loss=fixed(1)) == "do not fine-tune"
    assert verdict(price=Price(0.05, 0.005, 0.4), student=fixed(1)) == "do not fine-tune"


def test_caching_that_gains_more_comes_first() -> None:
    """Two thirds of the prompt from the cache save $1.80 for 1,000 calls; at 500,000 a month that beats $13,056 only
    where little is left after the first spending."""
    numbers = ranges(teacher=fixed(0.0052), calls=fixed(5e5), upfront=fixed(20_000))
    found = assess("gpt-4.1", "ours", GPT_41, TRAFFIC, numbers, efforts=Efforts(cacheable=2 / 3), others={}, draws=500)
    (caching,) = [each for each in found.alternatives if each.name == "prompt caching"]
    assert caching.saves == pytest.approx(5e5 * 0.0018)
    assert caching.gain == pytest.approx(12 * 900 - 500)
    assert found.gain == pytest.approx(12 * (5e5 * 0.005038 - 500) - 20_000)
    assert found.verdict == "do not fine-tune"
    assert "Prompt caching gains $10,300" in " ".join(found.reasons)
    assert found.if_cached == pytest.approx((20_000 / 12 + 500) / (0.0034 - STUDENT))


def test_a_smaller_model_counts_with_its_measured_gap_and_not_without_one() -> None:
    mini = Price(0.4, 0.1, 1.6)
    numbers = ranges(teacher=fixed(0.0052), calls=fixed(5e6), loss=fixed(0.1))
    known = assess("gpt-4.1", "ours", GPT_41, TRAFFIC, numbers, others={"mini": (mini, 0.03)}, draws=500)
    unknown = assess("gpt-4.1", "ours", GPT_41, TRAFFIC, numbers, others={"mini": (mini, None)}, draws=500)
    saved = 0.0052 - 0.00104
    (measured_one,) = [each for each in known.alternatives if "mini" in each.name]
    assert measured_one.gain == pytest.approx(12 * 5e6 * (saved - 0.003) - 1000)
    (open_one,) = [each for each in unknown.alternatives if "mini" in each.name]
    assert open_one.gain == pytest.approx(12 * 5e6 * saved - 1000)
    assert open_one.tolerable == pytest.approx(open_one.gain / (12 * 5e6 * 0.1))
    assert known.verdict == "fine-tune"


def test_the_page_and_the_json_say_the_same() -> None:
    found = assess("gpt-5-mini", "ours", Price(0.25, 0.025, 2.0), TRAFFIC, ranges(calls=fixed(100)), draws=200)
    page, data = to_markdown(found), json.loads(to_json(found))
    assert page.startswith("# ours in place of gpt-5-mini: do not fine-tune")
    assert data["verdict"] == "do not fine-tune"
    assert data["months"] is None
    assert "| never |" in page
    assert data["prices_as_of"] in page


def call(number: int, *texts: str, session: str | None = None, model: str = "support", cached: int = 0) -> Exchange:
    messages = tuple(
        Message(role="system" if not place else "user" if place % 2 else "assistant", content=text)
        for place, text in enumerate(texts)
    )
    return Exchange(
        at=now() - timedelta(days=10) + timedelta(days=number),
        model=model,
        served="gpt-4.1",
        upstream="openai",
        state="complete",
        messages=messages,
        session=session,
        usage=Usage(prompt_tokens=100, completion_tokens=10 * number, cached_prompt_tokens=cached),
    )


def test_traffic_by_hand() -> None:
    """Five calls over four days: four of them in that time, so 30.4375 a month."""
    store = MemoryStore()
    store.put(*(call(number, "hello", session=f"s{number // 2}", cached=25) for number in range(5)))
    store.put(call(3, "hello", model="other").model_copy(update={"served": "other", "upstream": "engine"}))
    store.put(call(9, "hello").model_copy(update={"state": "failed"}))
    for name in ("support", "gpt-4.1", "openai/gpt-4.1"):
        found = measure_traffic(store, name)
        assert (found.calls, found.prompt_tokens, found.completion_tokens, found.cached) == (5, 100, 20, 0.25)
        assert found.calls_per_month == pytest.approx(365.25 / 12, rel=1e-6)
        assert found.calls_per_conversation == pytest.approx(5 / 3)
    with pytest.raises(InvalidInput, match="no complete call of gpt-9"):
        measure_traffic(store, "gpt-9")


def test_less_than_a_day_says_nothing_of_a_month() -> None:
    store = MemoryStore()
    store.put(call(1, "hello"))
    assert measure_traffic(store, "support").calls_per_month is None


def test_what_a_cache_could_hold() -> None:
    """The system message comes again in the second and third call, the first question in the third alone."""
    length = len(Message(role="system", content="x" * 100).model_dump_json(exclude_none=True))
    first = call(1, "x" * 100, "a" * 100)
    second = call(2, "x" * 100, "b" * 100)
    third = call(3, "x" * 100, "a" * 100, "c" * 100)
    whole = sum(
        len(message.model_dump_json(exclude_none=True)) for each in (first, second, third) for message in each.messages
    )
    question = len(first.messages[1].model_dump_json(exclude_none=True))
    assert repeated_share([first, second, third]) == pytest.approx((2 * length + question) / whole)
    assert repeated_share([first]) == 0
    assert repeated_share([]) is None


@settings(max_examples=20, deadline=None)
@given(st.lists(plans, min_size=1, max_size=1), st.integers(0, 1000))
def test_any_plan_gets_an_answer(made: list[Plan], seed: int) -> None:
    here = made[0]
    numbers = {
        "calls": triangular(here.calls / 2, here.calls, here.calls * 2), "teacher": fixed(here.teacher),
        "student": fixed(here.student), "upfront": fixed(here.upfront), "upkeep": fixed(here.upkeep),
        "gap": fixed(here.gap), "loss": fixed(here.loss), "price_fall": fixed(here.price_fall),
    }  # fmt: skip
    found = assess("a", "b", GPT_41, TRAFFIC, numbers, months=here.months, draws=100, seed=seed)
    assert 0 <= found.chances.pays <= 1
    assert found.chances.gain.low <= found.chances.gain.middle <= found.chances.gain.high
    assert found.verdict in to_markdown(found)
    json.loads(to_json(found), parse_constant=pytest.fail)
