"""`journeyman train rl`: learn by doing a suite's tasks, rewarded attempt by attempt."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from journeyman.cli.dry_run import decoded_pieces
from journeyman.cli.train import (
    BASE,
    INTERRUPTED,
    Base,
    Resume,
    Threads,
    app,
    explain,
    refuse_beside_resume,
    short_id,
    with_tuning,
)
from journeyman.config import Settings
from journeyman.engines.models import find_model
from journeyman.environments.admission import standing_of
from journeyman.environments.counterparts import counterparts_of
from journeyman.environments.suites import load_suite
from journeyman.errors import InvalidInput
from journeyman.records import Run
from journeyman.records.algorithm import ALGORITHMS, Algorithm
from journeyman.records.reinforcement import RLConfig
from journeyman.store.sql import open_store
from journeyman.store.store import Store
from journeyman.worker import find_run, last_event
from journeyman.worker.reinforcement import create_rl_run, execute_rl, look_before, plan_rl_run, rl_config_of

if TYPE_CHECKING:
    from journeyman.training.reinforcement.step_report import RLStepReport


Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a term of the algorithm.")
]


@with_tuning(RLConfig)
def train_rl(
    suite: Annotated[
        str | None, typer.Argument(help="What to attempt: a suite's name, or module:attribute of your own.")
    ] = None,
    base: Base = None,
    name: Annotated[str | None, typer.Option(help="What to call the adapter (the suite's name).")] = None,
    algorithm: Annotated[str | None, typer.Option(help=f"One of {', '.join(ALGORITHMS)} (cispo).")] = None,
    change: Changes = None,
    resume: Resume = None,
    threads: Threads = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Sample a first batch, say whether it would teach; train nothing.")
    ] = False,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked", help="Train although the suite failed `journeyman env check`, or was built again since."
        ),
    ] = False,
    **tuning: Any,
) -> None:
    """Attempt a suite's scenarios again and again, and learn from how the attempts compare."""
    wanted = {"suite": suite, "base": base, "name": name, "algorithm": algorithm, "set": change or None, **tuning}
    given = {option: value for option, value in wanted.items() if value is not None}
    settings = Settings().model_copy(update={} if threads is None else {"threads": threads})
    with closing(open_store(settings)) as store:
        if dry_run:
            show_preflight(settings, store, plan_rl_run(settings, store, _config(given), unchecked=unchecked))
            return
        if resume is None:
            run = create_rl_run(settings, store, _config(given), unchecked=unchecked)
            _tell_standing(settings, given["suite"])
            _tell_audit(rl_config_of(run))
        else:
            refuse_beside_resume(given if threads is None else given | {"threads": threads})
            run = find_run(store, resume)
        carry_out(settings, store, run)


app.command("rl")(train_rl)


def _tell_standing(settings: Settings, name: str) -> None:
    """A line where the suite, as it is now, was not admitted."""
    standing = standing_of(settings.home, load_suite(name), name)
    if standing.state != "admitted":
        typer.echo(f"  look  {standing.said}", err=True)


def _tell_audit(config: RLConfig) -> None:
    """A line where wins were to be replayed in the real system, and cannot be."""
    if config.anchor is not None and config.audited and counterparts_of(load_suite(config.anchor)) is None:
        typer.echo(
            f"  look  {config.anchor} has no `counterpart(scenario)`, so no win is replayed there", err=True
        )  # fmt: skip


_TELLING = 0.99
"""Below this share of effective samples, what is learned from was sampled by another policy."""
_MARKS = {"fine": "  fine ", "look": "  look ", "stop": "  STOP "}


def show_preflight(settings: Settings, store: Store, run: Run) -> None:
    """Print what a first batch shows, and one attempt with the mask; exit code 1 when that forbids the run."""
    from journeyman.rendering.chat import ChatTokenizer
    from journeyman.training.reinforcement.policy_loss import equation

    config = rl_config_of(run)
    typer.echo(equation(config.algorithm))
    found = look_before(settings, store, run)
    for finding in found.findings:
        typer.echo(f"{_MARKS[finding.level]} {finding.what}")
    if found.shown is not None:
        console = Console(highlight=False)
        tokenizer = ChatTokenizer(find_model(settings, config.base))
        console.print(Text("── an attempt; what was sampled is learned", style="bold"))
        console.print(Text().join(decoded_pieces(tokenizer, found.shown, coloured=console.is_terminal)))
    typer.echo("Nothing was trained.")
    if not found.is_clear:
        raise typer.Exit(1)


def carry_out(settings: Settings, store: Store, run: Run) -> None:
    """Execute a run with a line for each step, then say what came of it."""
    from journeyman.training.reinforcement.policy_loss import equation

    config = rl_config_of(run)
    typer.echo(f"Run {short_id(run)}: {config.base} attempts {config.suite} as {config.name}")
    typer.echo(equation(config.algorithm))
    try:
        with step_lines() as show:
            execute_rl(settings, store, run, show, lambda line: typer.echo(f"  … {line}", err=True))
    except KeyboardInterrupt:
        typer.echo(f"Stopped. To go on: journeyman train rl --resume {short_id(run)}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    outcome = last_event(store, run)
    typer.echo(f"Trained {outcome.detail if outcome else config.name}")
    typer.echo(f"The report is {run.path}/report.md.")


def algorithm_of(name: str, changes: list[str]) -> Algorithm:
    """A preset with some of its fields set otherwise; InvalidInput names what cannot be."""
    if name not in ALGORITHMS:
        raise InvalidInput(f"there is no algorithm {name}; there are: {', '.join(ALGORITHMS)}. Nothing was started")
    fields: dict[str, Any] = ALGORITHMS[name].model_dump()
    for change in changes:
        field, sign, value = change.partition("=")
        place, _, inner = field.partition(".")
        known = fields if not inner else fields.get(place) or {}
        if not sign or (inner or place) not in known:
            raise InvalidInput(
                f"--set {change}: it is written field=value, with a field of the algorithm: "
                f"{', '.join(fields)}, or critic.FIELD for ppo. Nothing was started"
            )
        known[inner or place] = None if value == "none" and field != "estimator" else value
    return Algorithm.model_validate(fields)


def _config(given: dict[str, Any]) -> RLConfig:
    if "suite" not in given:
        raise InvalidInput("what to attempt? Name a suite, or go on with a run that was cut short: --resume RUN")
    named = {"base": BASE, "name": (given["suite"].partition(":")[2] or given["suite"]).replace("/", "-")}
    chosen, changes = given.pop("algorithm", "cispo"), given.pop("set", [])
    try:
        return RLConfig.model_validate(named | given | {"algorithm": algorithm_of(chosen, changes)})
    except ValidationError as invalid:
        raise explain(invalid, RLConfig) from invalid


@contextmanager
def step_lines() -> Iterator[Callable[["RLStepReport"], None]]:
    """A line for each step, on the error stream."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)

    def show(report: "RLStepReport") -> None:
        console.print(line_of(report))
        if report.advice is not None:
            console.print(f"  nothing differs within any group: {report.advice}")
        for alarm in report.alarms:
            console.print(f"  ALARM {alarm}")
        for reason, count in report.dropped.items():
            console.print(f"  not learned from: {count} {reason}")

    yield show


def line_of(report: "RLStepReport") -> str:
    """A step in one line: reward with its interval, signal, agreement of engine and trainer, and where time went."""
    values = report.values
    parts = [
        f"step {report.step}/{report.steps}",
        f"reward {report.reward:.2f} [{report.reward_low:.2f}, {report.reward_high:.2f}]",
        f"{report.silent_groups} of {report.groups} groups silent",
    ]
    if "entropy" in values:
        parts.append(f"entropy {values['entropy']:.2f}")
        parts.append(f"sampler gap {values['sampler gap']:.1e}")
        if values["effective samples"] < _TELLING:
            parts.append(f"effective samples {values['effective samples']:.0%}")
    if "anchor reward" in values:
        parts.append(f"anchor {values['anchor reward']:.2f}")
    if "gap" in values:
        bounds = f" [{values['gap low']:+.2f}, {values['gap high']:+.2f}]" if "gap low" in values else ""
        parts.append(f"gap {values['gap']:+.2f}{bounds}")
    if values.get("audited"):
        parts.append(f"{values['held']:.0f} of {values['audited']:.0f} wins replay")
    if "unknown" in values:
        parts.append(f"{values['unknown']:.0f} abstained from, counted as worst")
    if "forged delimiters" in values:
        parts.append(f"{values['forged delimiters']:.0f} forged delimiters stripped")
    parts.append(" ".join(f"{name} {seconds:.0f}s" for name, seconds in report.phases.items() if seconds >= 0.5))
    if report.held_out is not None:
        held = report.held_out
        parts.append(f"held out {held.mean:.2f} [{held.low:.2f}, {held.high:.2f}], greedy {held.greedy:.2f}")
    return "  ".join(part for part in parts if part)
