"""`journeyman world`: build a simulated system from captured calls, and see how true it is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.capture.redact import Redactor
from journeyman.capture.redact_patterns import BUILT_IN
from journeyman.capture.trajectories import join
from journeyman.cli.captured import open_captured
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Exchange, Filter, Trajectory, WireExchange
from journeyman.store.store import Store
from journeyman.worlds.card import SPLITS, FidelityCard
from journeyman.worlds.making import make_world
from journeyman.worlds.programs import isolation
from journeyman.worlds.texts.episodes import read_episodes
from journeyman.worlds.texts.making import make_text_world
from journeyman.worlds.transitions import from_exchanges
from journeyman.worlds.world import Condition, World, load_world, trust

app = typer.Typer(help="Build a simulated system from captured calls, and see how true it is.", no_args_is_help=True)

_PAGE = 1000
_NAME = typer.Argument(help="The world's name.")


@app.command("build")
def build_command(
    name: Annotated[str, _NAME],
    where: Annotated[str, typer.Option(help="Which calls to take, such as 'tags.stage = production'.")] = "",
    twins: Annotated[
        Path | None, typer.Option(help="A Python file with hand-written twins, one function a tool. It will be run.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed holds out other sessions.")] = 0,
    attempts: Annotated[
        str | None, typer.Option(metavar="SUITE", help="Take stored attempts at that suite instead of captured calls.")
    ] = None,
    success: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="What an agent that succeeds is told; may be repeated.")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Read replies as actions in words, and what follows as their answers.")
    ] = False,
) -> None:
    """Build a world from the captured calls that match, and measure it on sessions held out."""
    settings = Settings()
    conditions = tuple(map(_condition, success or ()))
    if attempts is not None:
        if where or twins is not None:
            raise InvalidInput("--attempts takes stored attempts, and --where and --twins speak of captured calls")
        _keep(settings, _of_attempts(settings, name, attempts, conditions, seed, words))
        return
    asked = Filter.parse(where)
    source = twins.read_text(encoding="utf-8") if twins is not None else ""
    with open_captured(settings) as store:
        exchanges = _all(store, asked)
    if not exchanges:
        raise InvalidInput("no captured call matches; nothing was built. See journeyman traces list")
    redactor = Redactor(BUILT_IN)
    cleaned = [redactor.wire(wire).exchange() for wire in map(WireExchange.of, exchanges)]
    trajectories = [branch.trajectory() for found in join(cleaned) for branch in found.branches]
    if words:
        _keep(settings, make_text_world(name, read_episodes(trajectories, redactor), success=conditions, seed=seed))
        return
    traces = from_exchanges(cleaned, redactor)
    traces.redacted = redactor.counts
    if not traces.transitions:
        told = ", ".join(f"{count} {reason}" for reason, count in traces.left_out.items()) or "no tool was called"
        raise InvalidInput(f"{len(exchanges)} calls hold no tool call with its result ({told}); nothing was built")
    folder = settings.home / "worlds"
    world = make_world(name, trajectories, traces=traces, source=source, success=conditions, seed=seed)
    world.save(folder)
    if source:
        trust(source, folder)
    _print(world)


@app.command("show")
def show_command(
    name: Annotated[str, _NAME],
    programs: Annotated[bool, typer.Option("--programs", help="Print its hand-written twins.")] = False,
) -> None:
    """Show a world: its tools and what answers for them, its faults and bugs, its fidelity card."""
    world = load_world(name, Settings().home / "worlds")
    if programs:
        typer.echo(world.source or "it has no hand-written twins")
        return
    _print(world)


@app.command("trust")
def trust_command(name: Annotated[str, _NAME]) -> None:
    """Agree that the hand-written twins of a world that came from elsewhere may run on this machine."""
    folder = Settings().home / "worlds"
    world = load_world(name, folder)
    if not world.source:
        raise NotFound("hand-written twin", name, [], "This world runs no code")
    typer.echo(f"trusted: {trust(world.source, folder)}, run in {isolation()}")


def _keep(settings: Settings, world: World) -> None:
    world.save(settings.home / "worlds")
    _print(world)


def _of_attempts(
    settings: Settings, name: str, suite: str, success: tuple[Condition, ...], seed: int, words: bool
) -> World:
    """A world of the attempts at a suite that were stored: their last answers are known, too."""
    with open_captured(settings) as store:
        stored = [each for each in _stored(store) if each.scenario is not None and each.scenario.environment == suite]
    if not stored:
        raise InvalidInput(f"no attempt at {suite} is stored with its scenario; nothing was built")
    if words:
        return make_text_world(name, read_episodes(stored), success=success, seed=seed)
    return make_world(name, stored, success=success, seed=seed)


def _stored(store: Store) -> Iterator[Trajectory]:
    after: str | None = None
    while found := store.find(Trajectory, after=after, limit=_PAGE):
        yield from found
        after = found[-1].id


def _condition(told: str) -> Condition:
    try:
        re.compile(told)
    except re.error as error:
        raise InvalidInput(f"--success {told!r} is no regular expression ({error}); nothing was built") from error
    return {"told": told}


def _all(store: Store, where: Filter) -> list[Exchange]:
    found: list[Exchange] = []
    while page := store.find(Exchange, where, after=found[-1].id if found else None, limit=_PAGE):
        found += page
    return found


def _print(world: World) -> None:
    console = Console()
    built = world.built
    tools = Table(title=f"world {world.name}", box=None, header_style="dim")
    for title in ("tool", "calls", "twin", "held-out calls replayed", "transient faults", "changed at"):
        tools.add_column(title)
    for tool, shape in built.shapes.items():
        found, faults = built.admissions.get(tool), built.faults.get(tool)
        rate = sum(faults.rates.values()) if faults else 0.0
        twin = "none" if found is None else "admitted" if found.admitted else "refused"
        replayed = "" if found is None else f"{found.right} of {found.answered} answered, {found.held_out} tried"
        tools.add_row(tool, str(shape.calls), twin, replayed, f"{rate:.1%}" if rate else "", shape.changed_at or "")
    console.print(tools)
    for bug in built.bugs:
        console.print(Text(f"bug: {bug.kind} in {bug.tool}: {bug.seen} of {bug.chances}, such as {bug.examples[0]}"))
    for name, value in world.notes.items():
        if value and name != "named":
            console.print(Text(f"{name}: {value}", style="dim"))
    for reason, names in world.notes.get("named", {}).items():
        console.print(Text(f"{reason}: {', '.join(names[:5])}", style="dim"))
    if world.source and not world.trusted:
        console.print(Text(
            f"its hand-written twins are not run: read them (journeyman world show {world.name} --programs), then "
            f"journeyman world trust {world.name}", style="red",
        ))  # fmt: skip
    if world.card is not None:
        _print_card(console, world.card)


def _print_card(console: Console, card: FidelityCard) -> None:
    table = Table(title="fidelity", box=None, header_style="dim")
    for title in ("measure", "split", "by", "value", "95% interval", "calls"):
        table.add_column(title)
    for each in card.measures:
        if each.value is not None and not each.slice.startswith("answered by"):
            low, high = f"{each.value.low:.3f}", f"{each.value.high:.3f}"
            interval = "" if low == high and "no interval" in each.slice else f"{low} to {high}"
            table.add_row(each.measure, each.split, each.by, f"{each.value.estimate:.3f}", interval, str(each.calls))
    console.print(table)
    console.print(Text("; ".join(f"{split}: {words}" for split, words in SPLITS.items()), style="dim"))
    for name, why in card.not_measured.items():
        console.print(Text(f"not measured: {name}: {why}", style="dim"))
    for problem in card.problems:
        console.print(Text(f"may not be trained in: {problem}", style="red"))
