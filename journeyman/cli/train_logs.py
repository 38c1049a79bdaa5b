"""`journeyman train logs`: learn from captured traffic and what was said of it, without any environment."""

from contextlib import closing
from typing import Annotated, Any

import typer
from pydantic import ValidationError

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
from journeyman.cli.train_rl import Changes, algorithm_of, step_lines
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.records import Run
from journeyman.records.algorithm import ALGORITHMS
from journeyman.records.reinforcement import LogsConfig
from journeyman.store.sql import open_store
from journeyman.store.store import Store
from journeyman.worker import find_run, last_event
from journeyman.worker.logged import attempts_of, create_logs_run, execute_logs, logs_config_of


@with_tuning(LogsConfig)
def train_logs(
    feedback: Annotated[
        str | None, typer.Argument(help="The feedback whose values are the rewards, such as success.")
    ] = None,
    base: Base = None,
    name: Annotated[str | None, typer.Option(help="What to call the adapter (logs).")] = None,
    algorithm: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(ALGORITHMS)} (ppo, ratios from the engine's probabilities).")
    ] = None,
    change: Changes = None,
    resume: Resume = None,
    threads: Threads = None,
    **tuning: Any,
) -> None:
    """Learn from captured conversations whose tokens and log-probabilities are known, and that got feedback."""
    wanted = {"feedback": feedback, "base": base, "name": name, "algorithm": algorithm, "set": change or None, **tuning}
    given = {option: value for option, value in wanted.items() if value is not None}
    settings = Settings().model_copy(update={} if threads is None else {"threads": threads})
    with closing(open_store(settings)) as store:
        if resume is None:
            run = create_logs_run(settings, store, _config(given))
        else:
            refuse_beside_resume(given if threads is None else given | {"threads": threads})
            run = find_run(store, resume)
        _carry_out(settings, store, run)


app.command("logs")(train_logs)


def _carry_out(settings: Settings, store: Store, run: Run) -> None:
    from journeyman.training.reinforcement.policy_loss import equation

    config = logs_config_of(run)
    found = attempts_of(settings, store, run)
    typer.echo(
        f"Run {short_id(run)}: {config.base} learns from {len(found.groups)} captured conversations as {config.name}"
    )
    for reason, count in found.left_out.most_common():
        typer.echo(f"  left out: {count}, {reason}")
    typer.echo(equation(config.algorithm))
    try:
        with step_lines() as show:
            execute_logs(settings, store, run, show)
    except KeyboardInterrupt:
        typer.echo(f"Stopped. To go on: journeyman train logs --resume {short_id(run)}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    outcome = last_event(store, run)
    typer.echo(f"Trained {outcome.detail if outcome else config.name}")


def _config(given: dict[str, Any]) -> LogsConfig:
    if "feedback" not in given:
        raise InvalidInput(
            "which feedback is the reward? Name it, or go on with a run that was cut short: --resume RUN"
        )
    chosen, changes = given.pop("algorithm", "ppo"), given.pop("set", [])
    try:
        algorithm = algorithm_of(chosen, ["old=engine", *changes])
        return LogsConfig.model_validate({"base": BASE, "name": "logs"} | given | {"algorithm": algorithm})
    except ValidationError as invalid:
        raise explain(invalid, LogsConfig) from invalid
