"""The answer as a page that people read, and as JSON that programs read."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from journeyman.evals.payback.advice import Payback
from journeyman.evals.payback.chances import Spread

UNITS = {
    "calls": "calls a month",
    "teacher": "$ for 1,000 calls of the teacher",
    "student": "$ for 1,000 calls of the student",
    "upfront": "$ at first",
    "upkeep": "$ a month of upkeep",
    "gap": "points of quality lost",
    "loss": "$ for a failed conversation",
    "calls_per_conversation": "calls of a conversation",
    "latency_gain": "$ for 1,000 faster calls",
    "fallback": "% of calls that go back to the teacher",
    "price_fall": "% by which the teacher's price falls a year",
    "gpu_hour": "$ for an hour of a processor",
    "calls_per_gpu_hour": "calls an hour that a processor answers",
    "peak": "busiest hour over the mean one",
}
_SCALE = {"teacher": 1000, "student": 1000, "latency_gain": 1000, "gap": 100, "fallback": 100, "price_fall": 100}


def to_json(result: Payback) -> str:
    """Everything, in the units of `Payback`; what never comes is null."""
    return json.dumps(_plain(asdict(result)), indent=2, ensure_ascii=False)


def to_markdown(result: Payback) -> str:
    """The verdict first, then the numbers, what decides them, and what could be done instead."""
    plan, chances = result.plan, result.chances
    horizon = f"{plan.months} months"
    parts = [
        f"# {result.student} in place of {result.teacher}: {result.verdict}",
        " ".join(result.reasons),
        _table(
            "what | likely | 5% to 95% of the draws",
            [
                ("break-even volume, calls a month", _count(result.break_even), _spread(chances.break_even, _count)),
                ("months to pay back", _months(result.months), _spread(chances.months, _months)),
                (f"gain in {horizon}", _money(result.gain), _spread(chances.gain, _money)),
                (f"pays back within {horizon}", f"{chances.pays:.0%} of the draws", ""),
                ("break-even with the teacher's prompt cached", _count(result.if_cached), ""),
                ("gap in quality that it can bear", _points(result.tolerable), ""),
            ],
        ),
        "## What went in",
        _table("number | likely | range | from", _inputs(result)),
    ]
    if result.influences:
        parts += [
            "## What decides it",
            f"The gain in {horizon} when one number goes from its 5% to its 95% quantile, the others as likely.",
            _table(
                "number | gain at its 5% | at its 95% | difference",
                (
                    (UNITS[each.name], _money(each.at_low), _money(each.at_high), _money(each.swing))
                    for each in result.influences
                ),
            ),
        ]
    if result.alternatives:
        parts += [
            "## Cheaper ways",
            _table("what | saves a month | costs at first | gain | pays back | note", _ways(result)),
        ]
    return "\n\n".join([*parts, "## How it was reckoned", _provenance(result)]) + "\n"


def _inputs(result: Payback) -> Iterable[tuple[str, ...]]:
    for name, each in result.ranges.items():
        scale = _SCALE.get(name, 1)
        if not math.isfinite(each.likely):
            continue
        spread = (
            ""
            if each.shape == "fixed"
            else f"{_number(each.low * scale)} to {_number(each.high * scale)} ({each.shape})"
        )
        yield UNITS[name], _number(each.likely * scale), spread, each.source


def _ways(result: Payback) -> Iterable[tuple[str, ...]]:
    for each in result.alternatives:
        upto = "" if each.certain else "up to "
        bears = f"; may lose {_points(each.tolerable)}" if each.tolerable is not None else ""
        yield (
            each.name, f"{upto}{_money(each.saves)}", _money(each.upfront), f"{upto}{_money(each.gain)}",
            _months(each.months), each.note + bears,
        )  # fmt: skip


def _provenance(result: Payback) -> str:
    traffic = result.traffic
    tokens = f"{traffic.prompt_tokens:,.0f} of prompt ({traffic.cached:.0%} cached)"
    tokens += f", {traffic.completion_tokens:,.0f} of reply"
    calls = f"{traffic.calls:,} captured calls over {traffic.days:.1f} days" if traffic.calls else "no captured calls"
    facts = [
        f"traffic: {calls}; tokens of a call: {tokens}",
        f"prices: US dollars, as of {result.prices_as_of}",
        f"draws: {result.chances.draws:,}, seed {result.chances.seed}; each number is drawn on its own",
    ]
    if not result.gap_known:
        facts.append("gap in quality: not measured, and taken as 0")
    return "\n".join(f"- {fact}" for fact in facts)


def _spread(spread: Spread, shown: Any) -> str:
    return f"{shown(spread.low)} to {shown(spread.high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _money(amount: float) -> str:
    sign = "−" if amount < 0 else ""
    return f"{sign}${abs(amount):,.0f}"


def _count(calls: float) -> str:
    return f"{math.ceil(calls):,}" if math.isfinite(calls) else "none is enough"


def _months(months: float) -> str:
    return f"{months:.1f}" if math.isfinite(months) else "never"


def _points(gap: float | None) -> str:
    return "not known: a failure has no price here" if gap is None else f"{100 * gap:.2f} points"


def _table(header: str, rows: Iterable[tuple[str, ...]]) -> str:
    rule = "|".join(" --- " for _ in header.split(" | "))
    return "\n".join([f"| {header} |", f"|{rule}|", *(f"| {' | '.join(map(_cell, row))} |" for row in rows)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(value: Any) -> Any:
    """JSON has no infinity: what never comes is null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
