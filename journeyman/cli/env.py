"""`journeyman env`: whether an environment may be trained in, and what its verifier says today of stored attempts."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from starlette.applications import Starlette

from journeyman.config import Settings
from journeyman.environments.admission import Admission, check_suite, keep
from journeyman.environments.admission.admit import CLOSELY
from journeyman.environments.planes.server import control_token_in, planes, serving
from journeyman.environments.suites import load_suite
from journeyman.environments.verifying import names_of, scored_again
from journeyman.records import Interval, Trajectory
from journeyman.store.sql import open_store
from journeyman.store.store import Store

app = typer.Typer(no_args_is_help=True, help="Check environments, and score stored attempts again.")
SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="As `train rl` names it: bank, bfcl/base, module:attribute …")
]
_MARKS = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("not checked", "yellow")}
_SHOWN = 10


@app.callback()
def _env() -> None:
    """Check environments, and score stored attempts again."""


@app.command("check")
def check_command(
    name: SuiteName,
    count: Annotated[int, typer.Option(min=2, help="Scenarios that six reference players attempt.")] = 20,
    closely: Annotated[int, typer.Option(min=1, help="Of these, played again, forked and made wrong.")] = CLOSELY,
    split: Annotated[str, typer.Option(help="train or held-out.")] = "train",
    seed: Annotated[int, typer.Option(help="Which scenarios, and how the random player plays.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of a table.")] = False,
) -> None:
    """Say whether an environment may be trained in; exit code 1 when it may not.

    Gold must win everything; doing nothing, spam, praise and forged results nothing; the same seed must go the same
    byte for byte, in a fresh process too; forks share nothing and nothing stays after a reset; wrong ends are refused,
    other right paths accepted. What was found is kept in the home folder, where `train rl` reads it.
    """
    settings = Settings()
    suite = load_suite(name)
    admission = asyncio.run(check_suite(
        suite, name, split=split, count=count, closely=min(closely, count), seed=seed,
        say=lambda line: typer.echo(f"  … {line}", err=True),
    ))  # fmt: skip
    path = keep(settings.home, admission)
    if as_json:
        typer.echo(admission.model_dump_json(indent=2))
    else:
        show(admission, Console(highlight=False))
        typer.echo(f"Kept in {path}.")
    if not admission.is_admitted:
        raise typer.Exit(1)


@app.command("rescore")
def rescore_command(
    name: SuiteName,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the attempts with their new scores there, as JSON lines.")
    ] = None,
) -> None:
    """Score the stored attempts of a suite again by its verifier of today, and say what changes; nothing is edited."""
    suite, lines = load_suite(name), list[str]()
    counts, changed = {"the same": 0, "changed": 0, "without an outcome": 0}, list[str]()
    with closing(open_store(Settings())) as store:
        for trajectory in _stored(store):
            if trajectory.scenario is None or trajectory.outcome is None:
                counts["without an outcome"] += 1
                continue
            if trajectory.scenario.environment not in names_of(suite):
                continue
            scores = scored_again(suite, trajectory)
            fresh = trajectory.model_copy(update={"scores": scores})
            lines.append(fresh.model_dump_json())
            before = {score.name: score.value for score in trajectory.scores}
            after = {score.name: score.value for score in scores}
            counts["the same" if before == after else "changed"] += 1
            if before != after:
                changed.append(f"{trajectory.id}: {_told(before)} → {_told(after)}")
    if write is not None:
        write.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for each in changed[:_SHOWN]:
        typer.echo(each)
    if len(changed) > _SHOWN:
        typer.echo(f"… and {len(changed) - _SHOWN} more")
    typer.echo("; ".join(f"{count} {what}" for what, count in counts.items()))


@app.command("serve")
def serve_command(
    name: SuiteName,
    token_file: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The control token; made when absent, and refused when others may read it."),
    ],
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 0,
) -> None:
    """Serve a suite on two planes until Ctrl-C: tools (MCP) and messages for agents, control for the trainer.

    The control token opens start, step, fork, score and close. Each episode has a token for its agent, which opens
    the tools and messages of that episode and nothing else.
    """
    app = planes(load_suite(name), control_token_in(token_file))
    told = f"the control token is in {token_file}. Ctrl-C ends it."
    _until_stopped(app, host, port, lambda url: f"{name} is served at {url}; {told}")


@app.command("openenv")
def openenv_command(
    name: SuiteName,
    count: Annotated[int, typer.Option(min=1, help="Scenarios of each split that are offered as tasks.")] = 100,
    seed: Annotated[int, typer.Option(help="Which scenarios.")] = 0,
    most: Annotated[int, typer.Option(min=1, help="Episodes at a time.")] = 64,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 0,
) -> None:
    """Serve a suite as an OpenEnv environment until Ctrl-C, for trainers that speak OpenEnv.

    OpenEnv has one plane and no tokens: whoever reaches the address may reset and score. For agents in processes of
    their own there is `env serve`.
    """
    from journeyman.environments.adapters.openenv_server import openenv_app

    app = openenv_app(load_suite(name), count=count, seed=seed, most=most)
    _until_stopped(app, host, port, lambda url: f"{name} is served to OpenEnv clients at {url}. Ctrl-C ends it.")


def show(admission: Admission, console: Console) -> None:
    """Print two tables, of players and of checks, and the verdict."""
    players = Table("player", "scenarios", "success", "mean reward", "errors", title=_title(admission))
    for each in admission.players:
        reward = "" if each.reward is None else _interval(each.reward, "{:.2f}")
        players.add_row(
            each.player, str(each.scenarios), _interval(each.success, "{:.0%}"), reward, str(each.errors or "")
        )
    console.print(players)
    checks = Table("check", "", "")
    for finding in admission.findings:
        word, style = _MARKS[finding.passed]
        checks.add_row(finding.check, Text(word, style=style), Text(finding.detail))
    console.print(checks)
    verdict = "admitted" if admission.is_admitted else f"NOT admitted: {len(admission.failures)} checks failed"
    console.print(Text(f"{admission.suite}: {verdict}", style="bold"))


def _until_stopped(app: Starlette, host: str, port: int, told: Callable[[str], str]) -> None:
    async def serve() -> None:
        async with serving(app, host, port) as url:
            typer.echo(told(url))
            await asyncio.Event().wait()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)


def _title(admission: Admission) -> str:
    verifier = f", {admission.verifier}" if admission.verifier else ""
    return f"{admission.suite}, {admission.split}, seed {admission.seed}{verifier}"


def _interval(interval: Interval, form: str) -> str:
    shown = [form.format(value) for value in (interval.estimate, interval.low, interval.high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _told(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in scores.items())


def _stored(store: Store) -> Iterator[Trajectory]:
    after: str | None = None
    while found := store.find(Trajectory, after=after, limit=200):
        yield from found
        after = found[-1].id
