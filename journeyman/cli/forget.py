"""`journeyman forget`: erase a person, a session or what a filter finds, or what the retention rules no longer keep."""

import getpass
import time
from contextlib import closing
from pathlib import Path

import typer

from journeyman.capture.erasure import FRESH_SECONDS, Erasures, Reach, Target, erase, reach_of
from journeyman.capture.purging import purge_archive
from journeyman.capture.redact import redactor_of
from journeyman.capture.retention import apply_retention, would_remove
from journeyman.capture.segments import ASIDE, list_segments
from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.datasets.erasure import Holding, Said, datasets_holding, purge_nodes, rewrite_without
from journeyman.errors import InvalidInput
from journeyman.evals.erasure import erase_from_evaluations
from journeyman.records import Filter
from journeyman.store.fields import refuse_everything
from journeyman.store.sql import open_store
from journeyman.store.store import Store


def forget_command(
    where: str = typer.Option("", help="Erase the calls that this filter finds."),
    session: str = typer.Option("", help="Erase this session, and all that was said of it."),
    person: str = typer.Option("", help="Erase all calls made for this person."),
    retention: bool = typer.Option(False, "--retention", help="Remove what the settings' retention rules do not keep."),
    datasets: bool = typer.Option(False, "--datasets", help="Also rewrite the datasets that hold what is erased."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Remove captured calls for good, with their feedback, taggings and trajectories."""
    asked = (Target("filter", where), Target("session", session), Target("person", person))
    targets = [target for target in asked if target.name]
    if len(targets) + retention != 1:
        raise InvalidInput("give exactly one of --where, --session, --person and --retention; nothing was removed")
    settings = Settings()
    with closing(open_store(settings)) as store:
        if retention:
            if datasets:
                raise InvalidInput("--datasets goes with an erasure, not with --retention; nothing was removed")
            _retain(store, settings, yes)
        else:
            _forget(store, settings, targets[0], datasets, yes)


def _retain(store: Store, settings: Settings, yes: bool) -> None:
    if not settings.retention:
        raise InvalidInput("the settings hold no retention rule; add one, such as: retention = [{keep_days = 90}]")
    for rule, number in would_remove(store, settings.retention):
        typer.echo(f"{number} calls are older than {rule.keep_days:g} days" + (f": {rule.where}" if rule.where else ""))
    _ask(yes)
    removed = sum(each.exchanges for each in apply_retention(store, settings.retention))
    typer.echo(f"{removed} calls removed")


def _forget(store: Store, settings: Settings, target: Target, rewrite: bool, yes: bool) -> None:
    if target.what == "filter":
        refuse_everything(Filter.parse(target.name))
    targets = [target, *_redacted(settings, target)]
    reach = sum((reach_of(store, each) for each in targets), Reach())
    typer.echo(f"to be erased: {_counted(reach)}")
    if reach.nothing and target.what == "filter":
        typer.echo("nothing matches; nothing was erased")
        return
    _ask(yes)
    erasures = Erasures(store)
    erasures.refresh()
    said = Said(store, erasures.ids)
    gone = _erase(store, targets, said)
    if target.what != "filter" and list_segments(settings.spool):
        # The ingester may have stored a call that was under way before it knew of the erasure.
        time.sleep(FRESH_SECONDS + 0.5)
        gone += _erase(store, targets, said)
    typer.echo(f"erased: {_counted(gone)}")
    purged = purge_archive(settings.spool, erasures)
    typer.echo(f"raw bytes: {purged} calls taken out of the archive")
    _tell_of_the_rest(settings.spool)
    if purged := purge_nodes(settings.home / "datasets", said):
        typer.echo(f"kept steps of datasets: {purged} removed; the next build makes them again")
    _evaluations(store, settings.home / "evals", said)
    for holding in datasets_holding(store, said):
        _dataset(store, holding, said, rewrite)


def _erase(store: Store, targets: list[Target], said: Said) -> Reach:
    by = f"cli:{getpass.getuser()}"
    return sum((erase(store, each, by, witness=said.add) for each in targets), Reach())


def _redacted(settings: Settings, target: Target) -> list[Target]:
    """The name under which the store knows them, where persons and sessions are redacted too."""
    redactor = redactor_of(settings.redaction, settings.home) if settings.redaction.identifiers else None
    if redactor is None or target.what == "filter":
        return []
    name = redactor.text(target.name)
    return [Target(target.what, name)] if name != target.name else []


def _evaluations(store: Store, folder: Path, said: Said) -> None:
    """Take what was erased out of evaluations: transcripts, what reports quote, and the calls that they made."""
    found = erase_from_evaluations(folder, store, said.begins)
    if found.conversations:
        gone = _erase(store, [Target("session", name) for name in found.sessions], said)
        typer.echo(
            f"evaluations: {found.conversations} conversations removed, and {gone.exchanges} calls that made them; "
            f"{found.reports} reports written again without their words"
        )
    for each in found.unreached:
        typer.echo(
            f"evaluations: {harmless(each)} could not be looked into, and what was erased is not known any more; "
            "look at it yourself once its evaluation is over, and delete it if it holds the words"
        )


def _dataset(store: Store, holding: Holding, said: Said, rewrite: bool) -> None:
    dataset = holding.dataset
    title = f"dataset {dataset.name}@{dataset.version}"
    if holding.unreadable:
        typer.echo(f"{title} could not be looked into: {harmless(holding.unreadable)}")
    elif not rewrite:
        typer.echo(f"{title} still holds {holding.rows} rows of it, in {dataset.path}; rewrite it with --datasets")
    else:
        kept = rewrite_without(store, dataset, said)
        now = "no row was left" if kept is None else f"it is {kept.name}@{kept.version} now"
        typer.echo(f"{title}: {holding.rows} rows removed, and the old file with them; {now}")


def _tell_of_the_rest(spool: Path) -> None:
    """Say which raw bytes an erasure cannot reach, rather than let a person believe that it did."""
    waiting = len(list_segments(spool))
    aside = [each for each in (spool / ASIDE).glob("*") if each.suffix != ".why"] if (spool / ASIDE).is_dir() else []
    if waiting:
        typer.echo(
            f"raw bytes: {waiting} segments are not archived yet; none of the erased calls will be stored from them, "
            "and the ingester takes them out when it archives"
        )
    if aside:
        typer.echo(f"raw bytes: {len(aside)} files in {spool / ASIDE} could not be read; look at them, and delete them")


def _counted(reach: Reach) -> str:
    return (
        f"{reach.exchanges} calls, {reach.sessions} whole sessions, {reach.feedback} pieces of feedback, "
        f"{reach.taggings} taggings, {reach.trajectories} trajectories"
    )


def _ask(yes: bool) -> None:
    if not yes and not typer.confirm("This cannot be undone. Go on?"):
        typer.echo("nothing was removed")
        raise typer.Exit(1)
