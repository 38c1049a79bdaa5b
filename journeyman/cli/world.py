"""`journeyman world`: build a simulated system from captured calls, and see how true it is."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.capture.redact import Redactor, strict_redactor
from journeyman.capture.trajectories import join
from journeyman.cli.captured import open_captured
from journeyman.config import Settings
from journeyman.datasets.duplicates import without_duplicates
from journeyman.datasets.versions import Made, check_name, keep_dataset
from journeyman.environments.sandbox import isolation_here
from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Exchange, Filter, Trajectory, WireExchange
from journeyman.store.sql import open_store
from journeyman.store.store import Store
from journeyman.worlds.card import SPLITS, FidelityCard
from journeyman.worlds.consent import agree, is_agreed
from journeyman.worlds.ensemble import forget_members, member_names, save_members
from journeyman.worlds.learned.earning import said_of
from journeyman.worlds.learned.model import Answers
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.learned.rows import rows_of
from journeyman.worlds.making import Model, make_world
from journeyman.worlds.real import Allowed, allow, allowed_for, forbid
from journeyman.worlds.resolver import LEAST
from journeyman.worlds.texts.episodes import read_episodes
from journeyman.worlds.texts.making import make_text_world
from journeyman.worlds.traces import Traces, attempts_of, from_exchanges
from journeyman.worlds.world import Condition, World, load_world

app = typer.Typer(help="Build a simulated system from captured calls, and see how true it is.", no_args_is_help=True)

_PAGE = 1000
_NAME = typer.Argument(help="The world's name.")

_Least = Annotated[
    float | None, typer.Option(min=0, max=1, help=f"How often a guess must have been right when held out ({LEAST}).")
]
_Model = Annotated[
    str | None, typer.Option(help="A model that proposes what nothing better knows: an alias, provider/model, …")
]
_ModelUrl = Annotated[str | None, typer.Option(help="Where it is asked; the gateway, or its provider if absent.")]
_ModelKeyEnv = Annotated[str | None, typer.Option(help="Environment variable with the key of --model-url.")]


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
    members: Annotated[
        int, typer.Option(min=1, help="Build so many, each without other sessions: an ensemble to train in.")
    ] = 1,
    least: _Least = None,
    model: _Model = None,
    model_url: _ModelUrl = None,
    model_key_env: _ModelKeyEnv = None,
) -> None:
    """Build a world from the captured calls that match, and measure it on sessions held out.

    Several are called NAME-1, NAME-2 ..., and NAME stands for all of them: what trains in it draws one for each group.
    """
    settings = Settings()
    redactor = strict_redactor(settings.redaction, settings.home)
    conditions = tuple(map(_condition, success or ()))
    asks = _model(settings, name, model, model_url, model_key_env)
    _refuse_beside_tools(attempts is not None or words, asks, least, members)
    if attempts is not None:
        if where or twins is not None:
            raise InvalidInput("--attempts takes stored attempts, and --where and --twins speak of captured calls")
        stored = _attempts(settings, attempts)
        make = partial(make_world, trajectories=stored, redactor=redactor, success=conditions)
        if words:
            make = partial(make_text_world, traces=read_episodes(stored, redactor), success=conditions)
        _build(settings, name, members, seed, make)
        return
    asked = Filter.parse(where)
    source = twins.read_text(encoding="utf-8") if twins is not None else ""
    cleaned = _captured(settings, asked, redactor)
    if words:
        trajectories = [branch.trajectory() for found in join(cleaned) for branch in found.branches]
        episodes = read_episodes(trajectories, redactor)
        _build(settings, name, members, seed, partial(make_text_world, traces=episodes, success=conditions))
        return
    traces = _traces(cleaned, redactor)
    trusted = LEAST if least is None else least
    _build(settings, name, members, seed, partial(
        make_world, trajectories=attempts_of(cleaned), traces=traces, source=source, success=conditions, least=trusted,
        model=asks,
    ))  # fmt: skip
    for said in (source, asks.proposer.asked_of if asks else ""):
        if said:
            agree(said, settings.home / "worlds")


def _refuse_beside_tools(of_words: bool, asks: Model | None, least: float | None, members: int) -> None:
    if of_words and (asks is not None or least is not None):
        raise InvalidInput("--model and --least are about tools; a world of words or attempts has none. Leave them out")
    if asks is not None and members > 1:
        raise InvalidInput("--model earns its place in one world; leave out --members. Nothing was built")


def _captured(settings: Settings, asked: Filter, redactor: Redactor) -> list[Exchange]:
    with open_captured(settings) as store:
        exchanges = _all(store, asked)
    if not exchanges:
        raise InvalidInput("no captured call matches; nothing was built. See journeyman traces list")
    return [redactor.wire(wire).exchange() for wire in map(WireExchange.of, exchanges)]


def _traces(cleaned: list[Exchange], redactor: Redactor) -> Traces:
    traces = from_exchanges(cleaned, redactor)
    # The calls were cleaned before, so that nothing was left to be taken out of their traces.
    traces.redacted = Counter(redactor.counts)
    if not traces.transitions:
        told = ", ".join(f"{count} {reason}" for reason, count in traces.left_out.items()) or "no tool was called"
        raise InvalidInput(f"{len(cleaned)} calls hold no tool call with its result ({told}); nothing was built")
    return traces


def _model(settings: Settings, name: str, model: str | None, url: str | None, key_env: str | None) -> Model | None:
    if model is None:
        if url is not None or key_env is not None:
            raise InvalidInput("--model-url and --model-key-env say where --model is asked; name it. Nothing was built")
        return None
    proposer = Proposer(model, url, key_env)
    return Model(proposer, Answers(proposer, settings.home / "worlds" / name, settings))


@app.command("show")
def show_command(
    name: Annotated[str, _NAME],
    programs: Annotated[bool, typer.Option("--programs", help="Print its hand-written twins.")] = False,
) -> None:
    """Show a world: its tools and what answers for them, its faults and bugs, its fidelity card."""
    folder = Settings().home / "worlds"
    for world in [load_world(each, folder) for each in member_names(name, folder)]:
        if programs:
            typer.echo(world.source or "it has no hand-written twins")
        else:
            _print(world)
            model = world.built.proposer
            if model is not None and not is_agreed(model.asked_of, folder):
                typer.echo(f"it asks {model.asked_of}; agree: journeyman world trust {world.name} --model")
            try:
                found = allowed_for(world, folder)
            except Refused as stale:
                typer.echo(str(stale))
                continue
            if found is not None:
                typer.echo(f"asked for real: {', '.join(found.tools)} of {shlex.join(found.command)}")


@app.command("rows")
def rows_command(
    name: Annotated[str, _NAME],
    dataset: Annotated[str, typer.Argument(help="What to call the dataset.")],
    most: Annotated[
        int | None, typer.Option(min=1, help="Rows of each split, drawn by the world's seed; all if absent.")
    ] = None,
) -> None:
    """Write the world's calls as a dataset on which a model learns to be its learned layer (journeyman train sft)."""
    settings = Settings()
    world = load_world(name, settings.home / "worlds")
    rows = rows_of(world.built, world.card.seed if world.card else 0, most)
    check_name(dataset)
    kept, duplicates = without_duplicates(rows)
    with closing(open_store(settings)) as store:
        made = keep_dataset(store, settings.home / "datasets", dataset, kept, Made(duplicates=duplicates))
    typer.echo(f"{made.name}@{made.version}: {made.train_rows} rows to train on, {made.validation_rows} held out")


@app.command("trust")
def trust_command(
    name: Annotated[str, _NAME],
    twins: Annotated[bool, typer.Option("--twins", help="Its hand-written twins may run here.")] = False,
    model: Annotated[bool, typer.Option("--model", help="Its model may be told what is called in it.")] = False,
) -> None:
    """Agree to what a world that came from elsewhere would do: run its hand-written twins, or ask its model."""
    folder = Settings().home / "worlds"
    # Members of an ensemble are built with the same hand-written twins.
    world = load_world(member_names(name, folder)[0], folder)
    asked_of = world.built.proposer.asked_of if world.built.proposer else ""
    if not (twins or model):
        if world.source and asked_of:
            raise InvalidInput(
                f"world {name} has hand-written twins (read them: journeyman world show {name} --programs) and asks "
                f"{asked_of}; nothing was agreed to. Say --twins, --model or both"
            )
        twins, model = bool(world.source), bool(asked_of)
    if (twins and not world.source) or (model and not asked_of) or not (twins or model):
        raise NotFound("hand-written twin" if not world.source else "model", name, [], "Nothing was agreed to")
    if twins:
        typer.echo(f"trusted: {agree(world.source, folder)}, run in {isolation_here()}")
    if model:
        agree(asked_of, folder)
        typer.echo(f"trusted: {asked_of} is told what is called in this world")


@app.command("allow")
def allow_command(
    name: Annotated[str, _NAME],
    tool: Annotated[list[str], typer.Option("--tool", help="A tool that only reads; may be given several times.")],
    server: Annotated[str, typer.Option(help="The command of the MCP server that has them, such as 'uvx rates'.")],
    variable: Annotated[
        list[str] | None, typer.Option("--variable", help="A variable of the environment that the server is given.")
    ] = None,
    reads_only: Annotated[
        bool, typer.Option("--reads-only", help="You know that these tools change nothing; traces often cannot tell.")
    ] = False,
) -> None:
    """Let the real system answer some tools of a world, in every attempt on this machine."""
    folder, found = Settings().home / "worlds", Allowed(tuple(tool), tuple(shlex.split(server)), tuple(variable or ()))
    for each in member_names(name, folder):
        allow(load_world(each, folder), folder, found, reads_only_for_sure=reads_only)
    typer.echo(f"asked for real: {', '.join(tool)} of {server}; journeyman world forbid {name} takes it back")


@app.command("forbid")
def forbid_command(name: Annotated[str, _NAME]) -> None:
    """Let a world answer all its tools itself again."""
    folder = Settings().home / "worlds"
    was_allowed = [forbid(each, folder) for each in member_names(name, folder)]
    typer.echo("nothing is asked for real any more" if any(was_allowed) else "nothing was asked for real")


def _build(settings: Settings, name: str, members: int, seed: int, make: Callable[..., World]) -> None:
    """Build, keep and print a world of that name, or the members of an ensemble, each under another seed."""
    folder = settings.home / "worlds"
    names = (name,) if members == 1 else tuple(f"{name}-{number}" for number in range(1, members + 1))
    for number, each in enumerate(names):
        world = make(each, seed=seed + number)
        world.save(folder)
        _print(world)
    if members > 1:
        save_members(name, names, folder)
    else:
        forget_members(name, folder)


def _attempts(settings: Settings, suite: str) -> list[Trajectory]:
    """The attempts at a suite that were stored: their last answers are known, too."""
    with open_captured(settings) as store:
        stored = [each for each in _stored(store) if each.scenario is not None and each.scenario.environment == suite]
    if not stored:
        raise InvalidInput(f"no attempt at {suite} is stored with its scenario; nothing was built")
    return stored


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
        found, faults = built.trials.get(tool), built.faults.get(tool)
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
            f"journeyman world trust {world.name} --twins", style="red",
        ))  # fmt: skip
    if built.proposer is not None:
        for line in said_of(built.proposer, built.neighbours, built.least):
            console.print(line, style="dim", markup=False)
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
    for violation in card.violations:
        console.print(Text(f"breaks a law: {violation}", style="red"))
    for problem in card.problems:
        console.print(Text(f"may not be trained in: {problem}", style="red"))
