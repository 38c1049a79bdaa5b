"""Keeps what a benchmark found: a table on the screen and a JSON file with the machine named."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from rich.console import Console
from rich.table import Table

from journeyman.machine import describe_machine
from journeyman.records import now

RESULTS = Path(__file__).parent / "results"


class Row(TypedDict):
    """One measured quantity; `interval` is (low, high) or None, `holds` whether it met `bar`
    (None without a bar, and where nothing could be measured)."""

    what: str
    value: float | str | None
    unit: str
    interval: tuple[float, float] | None
    bar: str | None
    holds: bool | None


def row(
    what: str,
    value: float | str | None,
    unit: str = "",
    *,
    interval: tuple[float, float] | None = None,
    bar: str | None = None,
    holds: bool | None = None,
) -> Row:
    """One row of results; a bar and whether it holds are given together."""
    if (bar is None) != (holds is None):
        raise ValueError(f"{what}: give the bar and whether it holds together, or neither")
    return Row(what=what, value=value, unit=unit, interval=interval, bar=bar, holds=holds)


def kept_rows(name: str) -> list[Row]:
    """The rows of a benchmark that are there already; none when it was never measured."""
    path = RESULTS / f"{name}.json"
    found: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return found


def write_results(
    name: str,
    rows: Sequence[Row],
    seed: int,
    extra: Mapping[str, Any] | None = None,
    folder: Path = RESULTS,
    *,
    quick: bool = False,
) -> Path:
    """Print the rows and write them to `folder`/NAME.json; `extra` adds fields of the benchmark's own.

    A `quick` look goes to NAME.quick.json, which git ignores.
    """
    machine = describe_machine()
    versions = machine.pop("versions")
    results = {
        "name": name,
        "when": now().isoformat(timespec="seconds"),
        "machine": machine,
        "versions": versions,
        "seed": seed,
        "rows": list(rows),
    }
    taken = results.keys() & (extra or {}).keys()
    if taken:
        raise ValueError(f"extra may not replace {', '.join(sorted(taken))}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f"{name}.quick.json" if quick else f"{name}.json")
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps({**results, **(extra or {})}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    Console().print(_table(name, rows))
    return path


def _table(name: str, rows: Sequence[Row]) -> Table:
    columns = {
        "what": [found["what"] for found in rows],
        "value": [f"{_number(found['value'])} {found['unit']}".strip() for found in rows],
        "95% interval": [_interval(found["interval"]) for found in rows],
        "bar": [found["bar"] or "" for found in rows],
        "holds": ["" if found["holds"] is None else "yes" if found["holds"] else "NO" for found in rows],
    }
    filled = {title: cells for title, cells in columns.items() if any(cells)}
    table = Table(title=name)
    for title in filled:
        table.add_column(title, justify="right" if title in ("value", "95% interval") else "left")
    for cells in zip(*filled.values(), strict=True):
        table.add_row(*cells)
    return table


def _interval(interval: tuple[float, float] | None) -> str:
    return f"{_number(interval[0])} to {_number(interval[1])}" if interval else ""


def _number(value: float | str | None) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
