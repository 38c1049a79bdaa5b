"""`journeyman promote`, `rollback` and `aliases`: which model answers to a name, since when, and why."""

from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.errors import NotFound
from journeyman.records import Adapter, EvalReport, Promotion
from journeyman.registry.promote import aliases, history, promote, rollback
from journeyman.store.sql import open_store
from journeyman.store.store import Store

Alias = Annotated[str, typer.Argument(help="The name that clients call.", show_default=False)]


def promote_command(
    alias: Alias,
    target: Annotated[str, typer.Argument(help="An adapter's name or id, or a model's name.", show_default=False)],
    report: Annotated[str | None, typer.Option(help="Id of the evaluation to judge by; the newest if absent.")] = None,
    force: Annotated[str | None, typer.Option(metavar="REASON", help="Overrule the gate; recorded for good.")] = None,
) -> None:
    """Let ALIAS answer with TARGET, when an evaluation shows it to be better than what answers now."""
    with closing(open_store(Settings())) as store:
        made = promote(store, alias, target, report=_find_report(store, report), force_reason=force)
        typer.echo(f"{alias} now answers with {_shown(store, made.target)}. {_why(made)}")
    typer.echo(f"To take it back: journeyman rollback {alias}")


def rollback_command(
    alias: Alias,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Let ALIAS answer with what it answered before."""
    with closing(open_store(Settings())) as store:
        made = rollback(store, alias, reason=reason)
        typer.echo(f"{alias} answers with {_shown(store, made.target)} again. {_why(made)}")


def aliases_command(
    alias: Annotated[str | None, typer.Argument(help="Show the whole history of this one.")] = None,
) -> None:
    """List what each alias answers with, or everything that one alias ever answered with."""
    with closing(open_store(Settings())) as store:
        known = aliases(store)
        if alias is not None and alias not in known:
            raise NotFound("alias", alias, known)
        promotions = history(store, alias) if alias else [history(store, name)[0] for name in known]
        answering = [_shown(store, made.target) for made in promotions]
    if not promotions:
        typer.echo("No alias yet. `journeyman promote ALIAS ADAPTER` makes one.")
        return
    table = Table("alias", "answers with", "since (UTC)", "why", "by", box=None, header_style="dim", pad_edge=False)
    for made, target in zip(promotions, answering, strict=True):
        cells = (made.alias, target, f"{made.at:%Y-%m-%d %H:%M}", _why(made), made.by)
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    Console().print(table)


def _find_report(store: Store, id: str | None) -> EvalReport | None:
    if id is None:
        return None
    report = store.get(EvalReport, id)
    if report is None:
        raise NotFound("report", id, (known.id for known in store.find(EvalReport, limit=20)))
    return report


def _shown(store: Store, target: str) -> str:
    adapter = store.get(Adapter, target)
    return f"{adapter.name} ({adapter.id})" if adapter else target


def _why(made: Promotion) -> str:
    if made.undoes:
        return f"Rollback: {made.forced}"
    return f"Forced: {made.forced}" if made.forced else f"Better in report {made.report_id}"
