"""`journeyman usage`: what was served, to whom, and what it cost."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.errors import InvalidInput, Refused
from journeyman.evals.costs import FEWEST_CONVERSATIONS, CallCosts, compare_costs
from journeyman.gateway.reconcile import read_totals, reconcile
from journeyman.gateway.statement import costs_of, statement, total_cost
from journeyman.prices import PriceList
from journeyman.records import Adapter, Filter, Interval
from journeyman.registry.adapters import find_adapter
from journeyman.store.sql import open_store
from journeyman.store.store import Store
from journeyman.store.usage import UsageSum, add_up_usage, booked_between, gaps, usage_entries

app = typer.Typer(help="See what was served, to whom, and what it cost.", invoke_without_command=True)


class Format(StrEnum):
    """How a statement is written."""

    CSV = "csv"
    JSON = "json"


@app.callback()
def usage(
    context: typer.Context,
    by: Annotated[str, typer.Option(help="key, alias, adapter, model, upstream or day; several joined by commas.")] = (
        "alias"
    ),
    since: Annotated[str, typer.Option(help="From this time on, such as 2026-11-01 (UTC).")] = "",
    until: Annotated[str, typer.Option(help="Before this time.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Add up the tokens that were served, and their cost."""
    if context.invoked_subcommand is not None:
        if by != "alias" or since or until or as_json:
            raise InvalidInput(f"options of `usage` itself do not go with `usage {context.invoked_subcommand}`")
        return
    fields = tuple(dict.fromkeys(name.strip() for name in by.split(",")))
    period = booked_between(_time("since", since), _time("until", until))
    with closing(open_store(Settings())) as store:
        notes = gaps(store, period)
        sums = add_up_usage(usage_entries(store, period), fields)
        names = [tuple(_shown(store, *pair) for pair in zip(fields, group, strict=True)) for group in sums]
    costs = costs_of(sums.values())
    if as_json:
        for group, each, cost in zip(sums, sums.values(), costs, strict=True):
            typer.echo(json.dumps({**dict(zip(fields, group, strict=True)), **_numbers(each), "cost_usd": cost}))
        return
    if not sums:
        typer.echo("Nothing was served in that time.")
        return
    Console().print(_table(fields, names, list(sums.values()), costs))
    _say_what_is_missing(list(sums.values()), notes)


@app.command("statement")
def statement_command(
    month: Annotated[str, typer.Option(help="Year and month, such as 2026-11 (UTC).")],
    format: Annotated[Format, typer.Option(help="csv or json.")] = Format.CSV,
    out: Annotated[Path | None, typer.Option(help="File to write it to; printed if absent.")] = None,
) -> None:
    """Write the statement of a month: a line for each key, alias, adapter and model, and their total."""
    with closing(open_store(Settings())) as store:
        made = statement(store, month)
    text = made.to_csv() if format is Format.CSV else made.to_json() + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)
        typer.echo(f"{len(made.lines)} lines in {out}; total {_money(made.total.cost_usd)}")
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)
    if not made.over:
        typer.echo(f"note: {month} is not over yet; this statement will still grow", err=True)


@app.command("reconcile")
def reconcile_command(
    url: Annotated[str | None, typer.Option(help="Where the gateway listens, if not where the settings say.")] = None,
) -> None:
    """Compare the ledger with the running engine's own counters, to the token."""
    settings = Settings()
    epoch, totals = asyncio.run(read_totals(url or f"http://{settings.host}:{settings.port}"))
    with closing(open_store(settings)) as store:
        result = reconcile(store, epoch, totals)
    counted = f"{result.tokens:,} tokens in {result.last:,} choices since the engine was started"
    if result.answered:
        shown = ", ".join(result.answered[:5]) + (", …" if len(result.answered) > 5 else "")
        typer.echo(
            f"Calls of the engine's list that are booked from their answers: {len(result.answered):,} ({shown})."
        )
    if not result.differences:
        typer.echo(f"Equal: the ledger holds what the engine counted, {counted}.")
        return
    typer.echo(f"Not equal. By the engine: {counted}.")
    for each in result.differences:
        typer.echo(
            f"  {each.adapter or 'base model'}: {each.what}: engine {each.engine:,}, ledger {each.ledger:,} "
            f"({each.ledger - each.engine:+,})"
        )
    raise Refused("the ledger and the engine differ; both are as they were. The gateway's log says what was not read")


@app.command("compare")
def compare_command(
    adapter: Annotated[str, typer.Argument(help="The adapter's name or id.", show_default=False)],
    teacher: Annotated[str, typer.Option(help="The model that it learned from, as it was asked for.")],
    where: Annotated[str, typer.Option(help="A filter that calls of both must match, such as tags.stage = eval.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Newest calls to take of each.")] = 5000,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Compare what 1,000 calls of an adapter cost with its teacher's, from the captured calls of both."""
    settings = Settings()
    asked = Filter.parse(where)
    with closing(open_store(settings)) as store:
        found = find_adapter(store, adapter)
        result = compare_costs(store, PriceList(settings.prices), found, teacher, asked, limit)
    if as_json:
        plain = {
            "adapter": _plain(result.adapter), "teacher": _plain(result.teacher), "share": result.share,
            "interval": result.interval.model_dump() if result.interval else None,
        }  # fmt: skip
        typer.echo(json.dumps(plain))
        return
    Console().print(_costs_table((result.adapter, result.teacher)))
    if result.share is None:
        unpriced = [each.model for each in (result.adapter, result.teacher) if each.usd_per_thousand is None]
        typer.echo(f"No price for {' and '.join(unpriced) or 'the teacher'}: add [prices.NAME] to the settings.")
        return
    sure = (
        _interval(result.interval, percent=True) or f" (fewer than {FEWEST_CONVERSATIONS} conversations: no interval)"
    )
    typer.echo(f"A call of {result.adapter.model} costs {result.share:.2%}{sure} of one of {result.teacher.model}.")


def _time(option: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--{option} {text!r} is not a time such as 2026-11-01 or 2026-11-01T12:00+01:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _shown(store: Store, field: str, value: str | None) -> str:
    adapter = store.get(Adapter, value) if field == "adapter" and value else None
    return f"{adapter.name} ({adapter.id})" if adapter else value or "-"


def _numbers(sums: UsageSum) -> dict[str, int]:
    return {
        "calls": sums.calls,
        **sums.tokens.model_dump(),
        "unpriced_calls": sums.unpriced,
        "untold_calls": sums.untold,
    }


def _table(
    fields: Sequence[str], names: Sequence[tuple[str, ...]], sums: Sequence[UsageSum], costs: Sequence[str | None]
) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in fields:
        table.add_column("day (UTC)" if name == "day" else name, overflow="fold")
    for name in ("calls", "prompt", "cached", "completion", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for group, each, cost in zip(names, sums, costs, strict=True):
        table.add_row(*(Text(harmless(name)) for name in group), *_cells(each), _money(cost))
    if len(sums) > 1:
        rows = [_numbers(each) for each in sums]
        keys = ("calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")
        totals = (f"{sum(row[key] for row in rows):,}" for key in keys)
        table.add_row("total", *("" for _ in fields[1:]), *totals, _money(total_cost(costs)), style="bold")
    return table


def _cells(sums: UsageSum) -> tuple[str, ...]:
    numbers = (sums.calls, sums.prompt_tokens, sums.cached_prompt_tokens, sums.completion_tokens)
    return tuple(f"{number:,}" for number in numbers)


def _money(cost: str | None) -> str:
    return "no price" if cost is None else f"${cost}"


def _say_what_is_missing(sums: Sequence[UsageSum], notes: Sequence[str]) -> None:
    unpriced, untold = sum(each.unpriced for each in sums), sum(each.untold for each in sums)
    if unpriced:
        typer.echo(f"Calls without a price, and not in the cost: {unpriced:,}. Add [prices.NAME] to the settings.")
    if untold:
        typer.echo(f"Calls that ended before their provider said how many tokens they took: {untold:,}.")
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise InvalidInput(f"cannot write {path} ({error.strerror}); choose another file with --out") from error


def _costs_table(both: Sequence[CallCosts]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("model", overflow="fold")
    for name in ("calls", "conversations", "prompt", "cached", "completion", "$/1,000 calls"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in both:
        cost = "no price" if each.usd_per_thousand is None else f"{each.usd_per_thousand:.4f}{_interval(each.interval)}"
        tokens = (each.prompt_tokens, each.cached_prompt_tokens, each.completion_tokens)
        counts = (f"{each.calls:,}", f"{each.conversations:,}", *(f"{mean:,.1f}" for mean in tokens))
        table.add_row(Text(harmless(each.model)), *counts, Text(cost))
    return table


def _interval(interval: Interval | None, percent: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (f"{value:.2%}" if percent else f"{value:.4f}" for value in (interval.low, interval.high))
    return f" [{low}, {high}]"


def _plain(costs: CallCosts) -> dict[str, object]:
    return {**asdict(costs), "interval": costs.interval.model_dump() if costs.interval else None}
