"""`journeyman promote`, `rollback` and `aliases`: which model answers to a name, since when, and why."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Adapter, EvalReport, Promotion, Share
from journeyman.registry.gates import FILE, Gates, find_gates, read_gates
from journeyman.registry.promote import aliases, history, promote, promote_split, rollback, shares_text
from journeyman.store.sql import open_store
from journeyman.store.store import Store

Alias = Annotated[str, typer.Argument(help="The name that clients call.", show_default=False)]


def promote_command(
    alias: Alias,
    target: Annotated[str, typer.Argument(help="An adapter's name or id, or a model's name.")] = "",
    split: Annotated[
        str, typer.Option(metavar="A=90,B=10", help="Let several answer, each its share of the conversations.")
    ] = "",
    report: Annotated[str | None, typer.Option(help="Id of the evaluation to judge by; the newest if absent.")] = None,
    gates: Annotated[
        Path | None, typer.Option(help=f"The file of the gates; {FILE} of this repository if absent.")
    ] = None,
    force: Annotated[str | None, typer.Option(metavar="REASON", help="Overrule the gates; recorded for good.")] = None,
) -> None:
    """Let ALIAS answer with TARGET, when an evaluation shows it to be better than what answers now."""
    if bool(target) == bool(split):
        raise InvalidInput("say who is to answer: one TARGET, or --split A=90,B=10")
    file = gates or find_gates(Path.cwd())
    asked = read_gates(file) if file else Gates()
    with closing(open_store(Settings())) as store:
        evidence = _find_report(store, report)
        if split:
            made = promote_split(store, alias, read_split(split), gates=asked, report=evidence, force_reason=force)
        else:
            made = promote(store, alias, target, gates=asked, report=evidence, force_reason=force)
        typer.echo(f"{alias} now answers with {_answer(store, made)}. {_why(made)}")
    for verdict in made.verdicts:
        typer.echo(f"  {'passed' if verdict.passed else 'FAILED'} {verdict.gate}: {harmless(verdict.reason)}")
    typer.echo(f"Gates: {file}" if file else f"Gates: a gain on held-out cases alone; there is no {FILE} here")
    typer.echo(f"To take it back: journeyman rollback {alias}")


def read_split(text: str) -> tuple[Share, ...]:
    """Shares as people write them, `A=90,B=10`; InvalidInput names the part that is none."""
    shares = []
    for part in text.split(","):
        target, sign, weight = part.strip().rpartition("=")
        try:
            if not sign or not target.strip():
                raise ValueError(part)
            shares.append(Share(target=target.strip(), weight=float(weight.rstrip(" %"))))
        except ValueError:  # pydantic's errors are such, too
            raise InvalidInput(
                f"--split: {part.strip()!r} is no share; write TARGET=WEIGHT with a weight above 0, such as A=90,B=10. "
                "Nothing was changed"
            ) from None
    return tuple(shares)


def rollback_command(
    alias: Alias,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Let ALIAS answer with what it answered before."""
    with closing(open_store(Settings())) as store:
        made = rollback(store, alias, reason=reason)
        typer.echo(f"{alias} answers with {_answer(store, made)} again. {_why(made)}")


def aliases_command(
    alias: Annotated[str | None, typer.Argument(help="Show the whole history of this one.")] = None,
) -> None:
    """List what each alias answers with, or everything that one alias ever answered with."""
    with closing(open_store(Settings())) as store:
        known = aliases(store)
        if alias is not None and alias not in known:
            raise NotFound("alias", alias, known)
        promotions = history(store, alias) if alias else [history(store, name)[0] for name in known]
        answering = [_answer(store, made) for made in promotions]
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


def _answer(store: Store, made: Promotion) -> str:
    return shares_text(made, lambda target: _shown(store, target))


def _shown(store: Store, target: str) -> str:
    adapter = store.get(Adapter, target)
    return f"{adapter.name} ({adapter.id})" if adapter else target


def _why(made: Promotion) -> str:
    if made.undoes:
        return f"Rollback: {made.forced}"
    if made.forced:
        failed = ", ".join(verdict.gate for verdict in made.verdicts if not verdict.passed)
        return f"Forced: {made.forced}" + (f" (against the gates: {failed})" if failed else "")
    return f"Better in report {made.report_id}" if made.report_id else "No share of a newcomer grew"
