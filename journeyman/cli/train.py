"""`journeyman train`: train in any of the methods, go on with a run that was cut short, and list the runs."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from journeyman.cli.dry_run import show_plan
from journeyman.cli.thread import one_line
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.records import Run
from journeyman.records.run import CONFIGS, PolicyConfig, RunKind, TrainingConfig
from journeyman.store.sql import open_store
from journeyman.store.store import Store
from journeyman.worker import (
    config_of,
    create_run,
    execute,
    find_run,
    find_unfinished,
    last_event,
    last_point,
    plan_run,
    standing,
)

if TYPE_CHECKING:
    from journeyman.training.loop import StepReport


class _SftByDefault(TyperGroup):
    """`journeyman train DATASET` means `journeyman train sft DATASET`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the words name."""
        known = not args or args[0].startswith("-") or args[0] in self.commands
        return super().resolve_command(ctx, args if known else ["sft", *args])


app = typer.Typer(cls=_SftByDefault, help="Train adapters, and look at the runs.", no_args_is_help=True)

BASE = "smollm2-135m"
Base = Annotated[str | None, typer.Option(help=f"Base model: a pulled model's name, or a folder ({BASE}).")]
Resume = Annotated[
    str | None, typer.Option(metavar="RUN", help="Go on with a run that was cut short: its id, a part of it, or last.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads to compute on; PyTorch's choice if absent.")]
INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells count it."""
SHORT_ID = 8
"""How much of an id's end is shown; `--resume` takes any start or end that only one run has."""
PLAIN_LINES = 20
"""About how many progress lines a whole run prints where there is no terminal."""


def _flag(option: str) -> str:
    return "--from" if option == "from_adapter" else f"--{option.replace('_', '-')}"


def with_tuning(config: type[PolicyConfig]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a config that is not its own parameter.

    An option that was not given is None: defaults have one home, the config, and `--resume` can tell what was given.
    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [parameter for parameter in signature.parameters.values() if parameter.kind != parameter.VAR_KEYWORD]
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field))
            for name, field in config.model_fields.items()
            if name not in signature.parameters
        ]
        command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return command

    return with_options


def _option(name: str, field: FieldInfo) -> Any:
    shown = "" if field.is_required() or field.default in (None, False) else f" ({field.default})"
    option = typer.Option(_flag(name), help=f"{str(field.description).rstrip('.')}{shown}.")
    kind: Any = field.annotation
    return Annotated[kind | None, option]


def _command(kind: RunKind, summary: str) -> None:
    """Add the command of one method."""

    @with_tuning(CONFIGS[kind])
    def train(
        dataset: Annotated[
            str | None, typer.Argument(help="A dataset's name (its newest version), or name@version.")
        ] = None,
        base: Base = None,
        name: Annotated[str | None, typer.Option(help="What to call the adapter (the dataset's name).")] = None,
        resume: Resume = None,
        threads: Threads = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Show what would be trained, with the mask coloured; start nothing.")
        ] = False,
        **tuning: Any,
    ) -> None:
        wanted = {"dataset": dataset, "base": base, "name": name, **tuning}
        given = {option: value for option, value in wanted.items() if value is not None}
        settings = Settings().model_copy(update={} if threads is None else {"threads": threads})
        with closing(open_store(settings)) as store:
            if dry_run:
                show_plan(settings, store, plan_run(settings, store, _config(kind, given)))
                return
            if resume is None:
                run = create_run(settings, store, _config(kind, given))
                _hint_at_unfinished(store, run)
            else:
                refuse_beside_resume(given if threads is None else given | {"threads": threads})
                run = find_run(store, resume)
            _carry_out(settings, store, run)

    app.command(kind, help=summary)(train)


_command("sft", "Fine-tune on what the assistant said; the loss is on its messages only. Ctrl-C stops at a checkpoint.")
_command("dpo", "Learn from pairs: rows whose `rejected` is a worse conversation. Direct preference optimisation.")
_command("kto", "Learn from replies that were good or bad by themselves: rows with a `label`.")
_command("orpo", "Learn from pairs, fine-tuning and preference in one loss, without a reference.")
_command("reward", "Fit a reward model to pairs, or to the `score`s of a judge; it is calibrated on held-out rows.")
_command("distill", "Answer the dataset's questions, and learn token by token what a larger model says to that.")


@app.command("list")
def list_runs(limit: Annotated[int, typer.Option(min=1, help="How many to show, newest first.")] = 20) -> None:
    """List the runs, newest first: how each stands, and what it came to."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("run", "started (UTC)", "status"):
        table.add_column(heading, no_wrap=True)
    table.add_column("learns from")
    for heading in ("step", "loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("outcome")
    with closing(open_store(Settings())) as store:
        runs = store.find(Run, limit=limit)
        for run in runs:
            table.add_row(*_cells(store, run))
    if not runs:
        typer.echo("No run yet. Start one: journeyman train sft DATASET")
        return
    Console().print(table)


def _carry_out(settings: Settings, store: Store, run: Run) -> None:
    """Execute a run under a live progress line, then say what came of it and what to do next."""
    config = config_of(run)
    typer.echo(f"Run {short_id(run)}: {config.base} learns {config.dataset} as {config.name}")
    try:
        with _progress() as show:
            made = execute(settings, store, run, show)
    except KeyboardInterrupt:
        typer.echo(f"Stopped. To go on: journeyman train {run.kind} --resume {short_id(run)}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    outcome = last_event(store, run)
    typer.echo(f"Trained {outcome.detail if outcome else made.name}")
    if made.name != config.name:
        typer.echo(f"These very weights were registered before, so the adapter keeps its name: {made.name}")
    typer.echo(f"The report is {run.path}/report.md.")
    if run.kind == "reward":
        typer.echo(f"How good it is on held-out rows, and its calibration: {made.path}/reward.json")
        return
    typer.echo("Measure it, with `journeyman up` in another terminal:")
    typer.echo(f"  journeyman eval --environment ENVIRONMENT --models {made.base},{made.name}")


def _config(kind: RunKind, given: dict[str, Any]) -> TrainingConfig:
    """The config of a new run; InvalidInput names the option that cannot be used."""
    if "dataset" not in given:
        raise InvalidInput("which dataset? Name one, or go on with a run that was cut short: --resume RUN")
    named = {"base": BASE, "name": given["dataset"].partition("@")[0]}
    try:
        return CONFIGS[kind].model_validate(named | given)
    except ValidationError as invalid:
        raise explain(invalid, CONFIGS[kind]) from invalid


def explain(invalid: ValidationError, config: type[PolicyConfig]) -> InvalidInput:
    """What is wrong with a config, by option."""
    problems = "; ".join(_problem(error, config) for error in invalid.errors())
    return InvalidInput(f"{problems}. Nothing was started")


def _problem(error: Any, config: type[PolicyConfig]) -> str:
    option = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "missing":
        wanted = str(config.model_fields[option].description).rstrip(".")
        return f"{_flag(option)} is needed: {wanted[:1].lower()}{wanted[1:]}"
    named = f"{_flag(option)}: " if option else ""
    return f"{named}{error['msg'].removeprefix('Value error, ')}"


def refuse_beside_resume(given: dict[str, Any]) -> None:
    """InvalidInput for options that a run which goes on cannot take."""
    if given:
        listed = ", ".join("DATASET" if option == "dataset" else _flag(option) for option in given)
        raise InvalidInput(f"--resume goes on exactly as the run began; leave out {listed}, or start a new run")


def _hint_at_unfinished(store: Store, run: Run) -> None:
    unfinished = find_unfinished(store, run)
    if unfinished:
        typer.echo(
            f"A run of this very config was cut short; to go on with it, stop this one (Ctrl-C) and use: "
            f"journeyman train {run.kind} --resume {short_id(unfinished)}",
            err=True,
        )


@contextmanager
def _progress() -> Iterator[Callable[["StepReport"], None]]:
    """One live line on a terminal; elsewhere a plain line every few steps."""
    console = Console(stderr=True)
    validation = ""

    def said(report: "StepReport") -> str:
        nonlocal validation
        if report.validation_loss is not None:
            validation = f"validation {report.validation_loss:.4f}  "
        left = f"{int(report.seconds_left) // 60}:{int(report.seconds_left) % 60:02}"
        return f"loss {report.loss:.4f}  {validation}{report.tokens_per_second:,.0f} tokens/s  {left} left"

    if not console.is_terminal:

        def print_some(report: "StepReport") -> None:
            line = f"step {report.step}/{report.steps}  {said(report)}"
            every = max(1, report.steps // PLAIN_LINES)
            if report.step in (1, report.steps) or report.step % every == 0:
                typer.echo(line, err=True)

        yield print_some
        return
    columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("loading the model", total=None)
        yield lambda report: bar.update(task, completed=report.step, total=report.steps, description=said(report))


def _cells(store: Store, run: Run) -> tuple[str | Text, ...]:
    event, point = last_event(store, run), last_point(store, run)
    return (
        short_id(run),
        f"{run.at:%Y-%m-%d %H:%M:%S}",
        standing(store, run),
        one_line(str(run.config.get("dataset") or run.config.get("suite") or run.config["feedback"])),
        str(point.step) if point else "-",
        f"{point.values['loss']:.4f}" if point and "loss" in point.values else "-",
        one_line(event.detail if event else ""),
    )


def short_id(run: Run) -> str:
    """The end of a run's id: it tells runs apart, where the beginning is the time."""
    return run.id[-SHORT_ID:]
