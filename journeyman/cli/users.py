"""`journeyman users`: simulated users, fitted to captured conversations, played against an agent, and compared."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.capture.redact import strict_redactor
from journeyman.cli.captured import open_captured
from journeyman.cli.eval import ApiKey, BaseUrl, Concurrency, MaxTokens, open_engine
from journeyman.config import Settings
from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.environment import Suite
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.suites import load_attribute
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Exchange, Filter, Sampling, Trajectory, WireExchange
from journeyman.statistics import proportion
from journeyman.worlds.environment import WorldSuite
from journeyman.worlds.users.card import Talk
from journeyman.worlds.users.in_world import WorldUserSuite
from journeyman.worlds.users.likeness import Distances, compare_users
from journeyman.worlds.users.phrasing import ModelPhraser
from journeyman.worlds.users.population import (
    Domain,
    Users,
    fit_users,
    held_out_dialogues,
    load_users,
    read_domain,
)
from journeyman.worlds.world import load_world

TALKS = {"bank": "journeyman.demos.bank.users:TALK"}
PLACES = {"bank": "journeyman.demos.bank.users:BankUserSuite"}
"""Where the suites lie that are made of a style, and have a name."""
_PAGE = 1000
_NAME = typer.Argument(help="The users' name.")

app = typer.Typer(no_args_is_help=True, help="Fit simulated users to captured conversations, and play them.")


@app.callback()
def _users() -> None:
    """Fit simulated users to captured conversations, and play them."""


@app.command("fit")
def fit_command(
    name: Annotated[str, _NAME],
    talk: Annotated[str, typer.Option(help="How talk is understood: bank, a .yaml file, or module:attribute.")],
    where: Annotated[str, typer.Option(help="Which calls to take, such as 'tags.stage = production'.")] = "",
    world: Annotated[str | None, typer.Option(help="A world of their system: each session becomes a card.")] = None,
) -> None:
    """Fit users to captured conversations, one session in four held out; what is redacted in a store stays so."""
    settings, domain = Settings(), find_talk(talk)
    exchanges = _captured(settings, where)
    if not exchanges:
        raise InvalidInput("no captured call matches; nothing was fitted. See journeyman traces list")
    system = None if world is None else load_world(world, settings.home / "worlds")
    users = asyncio.run(fit_users(name, exchanges, domain, where=where, world=system))
    path = users.save(settings.home / "users")
    show(users, Console(highlight=False))
    typer.echo(f"Kept in {path}.")


@app.command("show")
def show_command(name: Annotated[str, _NAME]) -> None:
    """Show users: their style, their cards, and how like the real ones they were found to be."""
    show(load_users(name, Settings().home / "users"), Console(highlight=False))


@app.command("play")
def play_command(
    name: Annotated[str, _NAME],
    place: Annotated[
        str | None, typer.Option(help="bank, or module:attribute that makes a suite of a style; their world if absent.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The agent: a model, or your program behind a URL.")] = None,
    player: Annotated[str | None, typer.Option(help="module:attribute of a script, in place of --model.")] = None,
    words: Annotated[str | None, typer.Option(help="A model that words what they say; templates if absent.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Conversations.")] = 40,
    seed: Annotated[int, typer.Option(help="Which ones, and how each goes.")] = 0,
    concurrency: Concurrency = 8,
    max_tokens: MaxTokens = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    out: Annotated[Path | None, typer.Option(help="Write the attempts there, as JSON lines.")] = None,
) -> None:
    """Let users talk to an agent, compare them with the held-out real conversations, and keep what was found."""
    settings = Settings()
    if (model is None) == (player is None):
        raise InvalidInput("say who is played against: either --model, or --player with a script of your own")
    users = load_users(name, settings.home / "users")
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)

    async def converse() -> list[Trajectory]:
        async with AsyncExitStack() as stack:
            engine: Any = (
                ScriptedEngine(load_attribute(player, "player", player))
                if player is not None
                else await stack.enter_async_context(open_engine(settings, base_url, api_key))
            )
            wording = None
            if words is not None:
                wording = ModelPhraser(await stack.enter_async_context(open_engine(settings, base_url, api_key)), words)
            suite = find_suite(users, place, settings, wording)
            scenarios = suite.scenarios("held-out", count, seed)
            agent = model or str(player).rpartition(":")[2]
            return await roll_out_many(suite, scenarios, engine, agent, sampling=sampling, concurrency=concurrency)

    attempts = asyncio.run(converse())
    if out is not None:
        out.write_text("".join(f"{each.model_dump_json()}\n" for each in attempts), encoding="utf-8")
    _told(attempts)
    found = compared(users, attempts, _captured(settings, users.where), attempts[0].model or "")
    if found is not users:
        found.save(settings.home / "users")
    typer.echo(f"These users are {found.statement}.")


def find_talk(name: str) -> Domain:
    """A domain by its name, its file, or `module:attribute` of a `Talk` or a `Domain`."""
    if name.endswith((".yaml", ".yml", ".json")):
        return read_domain(Path(name))
    address = TALKS.get(name, name)
    if ":" not in address:
        raise NotFound("talk", name, TALKS, "A talk of your own is a .yaml file, or module:attribute")
    found = load_attribute(address, "talk", name, own=address == name)
    if isinstance(found, Domain):
        return found
    if not isinstance(found, Talk):
        raise InvalidInput(f"{name} is a {type(found).__name__}, and no Talk; docs/guides/users.md says what one holds")
    return Domain(talk=found)


def find_suite(users: Users, place: str | None, settings: Settings, wording: ModelPhraser | None) -> Suite:
    """Where these users live: their world, or a place that takes their style."""
    if place is None:
        if users.world is None:
            raise InvalidInput(f"the users {users.name} live in no world: give a --place, or fit them with --world")
        return WorldUserSuite(users, WorldSuite(load_world(users.world, settings.home / "worlds")), wording)
    address = PLACES.get(place, place)
    if ":" not in address:
        raise NotFound("place", place, PLACES, "A place of your own is written module:attribute")
    if wording is not None:
        raise InvalidInput("--words is for users in their world; a --place words its users itself")
    found = load_attribute(address, "place", place, own=address == place)
    makes = type(found) if hasattr(found, "scenarios") else found
    if not callable(makes):
        raise InvalidInput(f"{place} makes no suite: it must be called with a style")
    suite: Suite = makes(users.style)
    return suite


def compared(users: Users, attempts: Sequence[Trajectory], captured: Sequence[Exchange], agent: str) -> Users:
    """The users with what these attempts tell of their likeness; the same ones where there is too little to compare."""
    real = held_out_dialogues(users, captured)
    sound = [each.messages for each in attempts if each.error is None and not each.score("user_faults")]
    if min(len(real), len(sound)) < 4:
        typer.echo(f"Not compared: {len(real)} real conversations are held out and {len(sound)} were played without a "
                   "fault, and it takes four of each", err=True)  # fmt: skip
        return users
    found = compare_users(real, sound, users.domain.talk, fitted_to=users.style.conversations)
    return users.model_copy(update={"likeness": found, "agent": agent})


def show(users: Users, console: Console) -> None:
    """Print who they are and how like the real ones."""
    style = users.style
    console.print(Text(f"users {users.name}", style="bold"))
    console.print(
        f"style: of {style.conversations} conversations; greets {style.greets:.0%}, one fact at a time "
        f"{style.one_by_one:.0%}, patience {style.patience}; wordings of "
        + (", ".join(f"{act} {len(set(each))}" for act, each in style.templates.items()) or "no act")
    )
    tools = sorted({tool.name for card in users.cards.values() for tool in card.tools})
    goals = sum(len(card.goals) for card in users.cards.values())
    lives = (
        f"cards in world {users.world}: {len(users.cards)}, with {goals} wishes"
        if users.world
        else "no cards: no world"
    )
    console.print(
        f"{lives}{'; own tools ' + ', '.join(tools) if tools else ''}; held out: {len(users.held_out)} sessions"
    )
    for why, count in users.left_out.items():
        console.print(Text(f"no card for {count} sessions: {why}", style="dim"))
    if users.likeness is not None:
        console.print(_distances(users.likeness.distances, users.likeness.floor))
    console.print(Text(users.statement, style="green" if users.statement.startswith("calibrated") else "red"))


def _distances(found: Distances, floor: Distances) -> Table:
    table = Table("between simulated and real turns", "simulated", "real from real")
    for label, name in (
        ("words per turn (KS)", "length_ks"), ("facts per turn (KS)", "facts_ks"), ("acts (TV)", "acts_tv"),
        ("entropy of acts (ratio)", "entropy_ratio"), ("pairs of words (ratio)", "distinct_ratio"),
        ("words (AUC)", "auc"),
    ):  # fmt: skip
        table.add_row(label, f"{getattr(found, name):.2f}", f"{getattr(floor, name):.2f}")
    return table


def _told(attempts: Sequence[Trajectory]) -> None:
    errors = [each.error for each in attempts if each.error is not None]
    faulty = sum(bool(each.score("user_faults")) for each in attempts if each.error is None)
    sound = [each for each in attempts if each.error is None and not each.score("user_faults")]
    known = [each for each in sound if each.score("success") is not None]
    if known:
        served = proportion(sum(each.score("success") == 1 for each in known), len(known))
        typer.echo(
            f"served: {served.estimate:.1%} ({served.low:.1%} to {served.high:.1%}) of {len(known)} conversations"
        )
    for count, what in (
        (len(sound) - len(known), "ended where the world did not know"),
        (faulty, "left out: the simulated user made a fault"),
        (len(errors), f"ended in an error, the first: {errors[0] if errors else ''}"),
    ):
        if count:
            typer.echo(f"{count} {what}")


def _captured(settings: Settings, where: str) -> list[Exchange]:
    """Captured calls without secrets, as a world is built of them."""
    found: list[Exchange] = []
    asked, redactor = Filter.parse(where), strict_redactor(settings.redaction, settings.home)
    with open_captured(settings) as store:
        while page := store.find(Exchange, asked, after=found[-1].id if found else None, limit=_PAGE):
            found += page
    return [redactor.wire(wire).exchange() for wire in map(WireExchange.of, found)]
