"""`journeyman payback`: whether fine-tuning pays, before the first hour is spent on it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from journeyman.cli.captured import open_captured
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.evals.payback import (
    Efforts,
    Payback,
    Range,
    Traffic,
    assess,
    fixed,
    lognormal,
    measure_traffic,
    measured,
    to_json,
    to_markdown,
    triangular,
)
from journeyman.evals.payback import read_range as read
from journeyman.prices import Price, PriceList
from journeyman.records import Adapter, EvalReport, Filter, Interval, ModelReport
from journeyman.registry.adapters import lookup
from journeyman.statistics import compare
from journeyman.store.store import Store

DEFAULT_UPFRONT = triangular(4_000, 9_000, 18_000, "assumed")
DEFAULT_UPKEEP = triangular(200, 500, 1_000, "assumed")
VOLUME_SPREAD = 1.5
"""The months to come are taken to have from 1/1.5 to 1.5 times the calls of the time that was measured."""


class Format(StrEnum):
    """How the answer is written."""

    MARKDOWN = "markdown"
    JSON = "json"


def payback_command(
    teacher: Annotated[str, typer.Argument(help="The model that answers now: an alias, a name, provider/model.")],
    student: Annotated[str, typer.Option(help="The adapter or model that would answer.")] = "smollm2-135m",
    report: Annotated[str, typer.Option(help="Id of an evaluation of both: the measured gap in quality.")] = "",
    gap: Annotated[str, typer.Option(help="The gap without one: 0.02 is two points lost. A number or a range.")] = "",
    loss_per_error: Annotated[str, typer.Option(help="US dollars that a failed conversation costs.")] = "",
    priced_as: Annotated[str, typer.Option(help="The model whose price is taken for the teacher's.")] = "",
    calls: Annotated[str, typer.Option(help="Calls a month; from the captured traffic if absent.")] = "",
    prompt_tokens: Annotated[float | None, typer.Option(min=0, help="Of a call; from the traffic if absent.")] = None,
    completion_tokens: Annotated[
        float | None, typer.Option(min=0, help="Of a call; from the traffic if absent.")
    ] = None,
    static_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of a prompt that a cache can hold.")
    ] = None,
    pruned_tokens: Annotated[float, typer.Option(min=0, help="Prompt tokens that the student needs no more.")] = 0.0,
    gpu_hour: Annotated[str, typer.Option(help="US dollars for an hour of a processor; else priced by tokens.")] = "",
    calls_per_gpu_hour: Annotated[str, typer.Option(help="What one processor answers.")] = "",
    peak: Annotated[str, typer.Option(help="The busiest hour's calls over the mean hour's.")] = "",
    fallback: Annotated[str, typer.Option(help="Share of calls that still go to the teacher.")] = "",
    upfront: Annotated[str, typer.Option(help="US dollars at first: work, labels, training runs.")] = "",
    upkeep: Annotated[str, typer.Option(help="US dollars a month: training again, judging, care.")] = "",
    latency_gain: Annotated[str, typer.Option(help="US dollars that a faster call is worth.")] = "",
    price_fall: Annotated[str, typer.Option(help="Share by which the teacher's price falls a year.")] = "",
    smaller: Annotated[list[str] | None, typer.Option(help="A stock model to compare with; may be repeated.")] = None,
    batch_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the calls that may wait a day.")] = 0.0,
    months: Annotated[int, typer.Option(min=1, max=120, help="Within how many months it must pay.")] = 12,
    where: Annotated[str, typer.Option(help="A filter that the captured calls must match.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Newest calls to measure.")] = 5000,
    draws: Annotated[int, typer.Option(min=100, help="Draws from the ranges.")] = 5000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    format: Annotated[Format | None, typer.Option(help="On a terminal, a page laid out for it if absent.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write into this file.")] = None,
) -> None:
    """Reckon whether a fine-tuned model in TEACHER's place pays: a number is 500, 300:500:900 or 300~900."""
    ranges = _given(
        calls=calls, gap=gap, loss=loss_per_error, gpu_hour=gpu_hour, calls_per_gpu_hour=calls_per_gpu_hour, peak=peak,
        fallback=fallback, upfront=upfront, upkeep=upkeep, latency_gain=latency_gain, price_fall=price_fall,
    )  # fmt: skip
    settings = Settings()
    prices = PriceList(settings.prices)
    with open_captured(settings) as store:
        traffic = _traffic(store, teacher, Filter.parse(where), limit, prompt_tokens, completion_tokens)
        adapter = lookup(store, student)
        evidence = _report(store, report)
    price = _price(prices, priced_as or teacher, "--priced-as")
    ours = None if "gpu_hour" in ranges else _student_price(prices, student, adapter)
    _fill(ranges, traffic, price, ours, pruned_tokens)
    gaps = _gaps(evidence, teacher, student, adapter)
    _weigh(ranges, gaps.get(student))
    others = _others(prices, smaller or [], {name: each.likely for name, each in gaps.items() if name != student})
    efforts = Efforts(batch=batch_share, cacheable=static_share)
    gap_known = ranges["gap"].source != "assumed"
    result = assess(
        teacher, student, price, traffic, ranges, months=months, gap_known=gap_known, efforts=efforts, others=others,
        draws=draws, seed=seed,
    )  # fmt: skip
    _tell(result, format, out)


def _tell(result: Payback, format: Format | None, out: Path | None) -> None:
    text = to_json(result) + "\n" if format is Format.JSON else to_markdown(result)
    if out:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"{result.verdict}. {' '.join(result.reasons)} Written to {out}")
    elif format is None and (console := Console()).is_terminal:
        console.print(Markdown(text))
    else:
        typer.echo(text, nl=False)


def _given(**texts: str) -> dict[str, Range]:
    return {name: read(text, f"--{name.replace('_', '-')}") for name, text in texts.items() if text}


def _traffic(
    store: Store, teacher: str, where: Filter, limit: int, prompt_tokens: float | None, completion_tokens: float | None
) -> Traffic:
    """As captured; what was given comes first, and with both given nothing needs to have been captured."""
    if prompt_tokens is not None and completion_tokens is not None:
        return Traffic(None, prompt_tokens, completion_tokens)
    found = measure_traffic(store, teacher, where, limit)
    if prompt_tokens is not None:
        found = replace(found, prompt_tokens=prompt_tokens)
    return found if completion_tokens is None else replace(found, completion_tokens=completion_tokens)


def _fill(ranges: dict[str, Range], traffic: Traffic, price: Price, ours: Price | None, pruned: float) -> None:
    """What was not given: measured in the traffic where it can be, else assumed, and said so."""
    if "calls" not in ranges:
        measured_calls = traffic.calls_per_month
        if not measured_calls:
            raise InvalidInput("no day and more of calls was measured, so nobody knows a month's: give --calls")
        ranges["calls"] = lognormal(measured_calls / VOLUME_SPREAD, measured_calls * VOLUME_SPREAD, "measured ×÷ 1.5")
    source = "measured" if traffic.calls else "given"
    ranges["calls_per_conversation"] = fixed(traffic.calls_per_conversation, source)
    ranges["teacher"] = fixed(traffic.usd_per_call(price[:3]), f"{source} tokens")
    shorter = replace(traffic, prompt_tokens=max(0.0, traffic.prompt_tokens - pruned))
    cost = shorter.usd_per_call(ours[:3], cached=0.0) if ours else 0.0
    ranges["student"] = fixed(cost, f"{source} tokens" if ours else "its processors are paid by the hour")
    ranges.setdefault("upfront", DEFAULT_UPFRONT)
    ranges.setdefault("upkeep", DEFAULT_UPKEEP)
    if "gpu_hour" in ranges:
        ranges.setdefault("calls_per_gpu_hour", fixed(math.inf, "assumed"))
    elif ranges.keys() & {"calls_per_gpu_hour", "peak"}:
        raise InvalidInput("--calls-per-gpu-hour and --peak mean something only with --gpu-hour")


def _weigh(ranges: dict[str, Range], found: Range | None) -> None:
    """The gap in quality and what it costs; a gap without a price would be left out of the sum unseen."""
    if found is not None and "gap" in ranges:
        raise InvalidInput("the report has measured the gap; give --gap or --report, not both")
    known = found or ranges.get("gap")
    if known is not None and "loss" not in ranges and (known.shape != "fixed" or known.likely):
        raise InvalidInput("a gap in quality costs something: give --loss-per-error in US dollars (0 if it does not)")
    ranges["gap"] = known or fixed(0.0, "assumed")
    ranges.setdefault("loss", fixed(0.0, "assumed"))


def _gaps(report: EvalReport | None, teacher: str, student: str, adapter: Adapter | None) -> dict[str, Range]:
    """By how much each model of the report is worse than the teacher; the student under the name that was asked."""
    if report is None:
        return {}
    names = {adapter.id: student, adapter.name: student} if adapter else {}
    models = {names.get(model.model, model.model): model for model in report.models}
    for needed in (teacher, student):
        if needed not in models:
            raise NotFound("model in this report", needed, models)
    return {name: measured(_gap(models[teacher], model)) for name, model in models.items() if name != teacher}


def _gap(teacher: ModelReport, model: ModelReport) -> Interval:
    return compare(teacher, model).difference


def _others(
    prices: PriceList, asked: list[str], gaps: Mapping[str, float]
) -> dict[str, tuple[Price, float | None]] | None:
    """Stock models by name: those that were asked for, and those of the report that have a price."""
    found = {name: (_price(prices, name, "--smaller"), gaps.get(name)) for name in asked}
    for name, each in gaps.items():
        price = prices.find(name.partition("/")[2] or name, name)
        if price is not None:
            found[name] = (price, each)
    return found or None


def _report(store: Store, id: str) -> EvalReport | None:
    if not id:
        return None
    report = store.get(EvalReport, id)
    if report is None:
        raise NotFound("report", id, (known.id for known in store.find(EvalReport, limit=20)))
    return report


def _price(prices: PriceList, name: str, option: str) -> Price:
    price = prices.find(name.partition("/")[2] or name, name)
    if price is None:
        raise InvalidInput(f"{name} has no price: add [prices.{name}] to the settings, or name a priced one: {option}")
    return price


def _student_price(prices: PriceList, student: str, adapter: Adapter | None) -> Price:
    if adapter is None:
        return _price(prices, student, "--student")
    price = prices.find(adapter.base, adapter.id, adapter.name)
    if price is None:
        raise InvalidInput(f"{adapter.base} has no price: add [prices.{adapter.base}] to the settings, or --gpu-hour")
    return price
