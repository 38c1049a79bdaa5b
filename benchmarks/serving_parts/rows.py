"""From measurements to rows of results: medians, ratios, and what they cost."""

import os
from collections.abc import Sequence
from statistics import median
from typing import Any, cast

from record import Row, row

from journeyman.records import now


class ServingRow(Row, total=False):
    """A row that says which part measured it, when, on which processor, and what else was going on."""

    part: str
    dtype: str
    threads: int
    when: str
    cpu: str
    note: str
    wall_seconds: float
    cpu_seconds: float


def figure(
    what: str,
    value: float | str | None,
    unit: str = "",
    *,
    note: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    spent: Sequence[dict[str, Any]] = (),
    interval: tuple[float, float] | None = None,
) -> ServingRow:
    """One row; with a bar where one is given. `spent` are closed windows, whose cost goes into the row and its note."""
    bar, holds = None, None
    if at_least is not None or at_most is not None:
        bar = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}"
        if isinstance(value, int | float):
            holds = value >= at_least if at_least is not None else value <= (at_most or 0)
    made = row(what, value, unit, interval=interval)
    made["bar"], made["holds"] = bar, holds
    found = cast(ServingRow, {**made, "when": now().isoformat(timespec="seconds")})
    if spent:
        found["wall_seconds"] = round(median(each["wall"] for each in spent), 3)
        found["cpu_seconds"] = round(median(each["cpu"] for each in spent), 3)
    found["note"] = "; ".join(part for part in (note, _surroundings(spent)) if part)
    return found


def speed_rows(name: str, results: Sequence[dict[str, Any]]) -> list[ServingRow]:
    """The median speed of one case over its rounds, with the prompts' time and without."""
    rows = [
        figure(
            f"{name}, prompts included", median(speeds(results)), "tok/s", note=rounds_of(speeds(results)),
            spent=results,
        )
    ]  # fmt: skip
    decoding = [each["decoding"] for each in results if each["decoding"] is not None]
    if decoding:
        rows.append(figure(f"{name}, decoding alone", median(decoding), "tok/s", note=rounds_of(decoding)))
    return rows


def speeds(results: Sequence[dict[str, Any]]) -> list[float]:
    """Tokens per second with the prompts' time, one for each round."""
    return [each["tokens_per_second"] for each in results]


def ratios(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[float]:
    """Our speed over theirs, round by round."""
    return [one / other for one, other in zip(speeds(ours), speeds(theirs), strict=True)]


def of_case(results: Sequence[dict[str, Any]], **case: Any) -> list[dict[str, Any]]:
    """The results of one case, in the order in which they were measured."""
    return [each for each in results if all(each.get(name) == value for name, value in case.items())]


def rounds_of(values: Sequence[float], digits: int = 4) -> str:
    """Every round's figure, for the note of their median."""
    return "rounds: " + ", ".join(f"{value:.{digits}g}" for value in values)


def _surroundings(spent: Sequence[dict[str, Any]]) -> str:
    shares = [each["others"] for each in spent if each.get("others") is not None]
    others = f"others used {max(shares):.0%} of the processor at most; " if shares else ""
    load = f"load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return others + load
