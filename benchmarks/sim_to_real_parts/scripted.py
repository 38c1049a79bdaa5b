"""Scripted policies in a world and in the real system: consistency, replays and ranking, beside a naive world."""

from collections.abc import Callable, Mapping, Sequence

from record import Row, row

from journeyman.engines.scripted import Script
from journeyman.environments.environment import Environment
from journeyman.records import Scenario
from journeyman.worlds.environment import WorldSuite
from journeyman.worlds.texts.episodes import read_episodes
from journeyman.worlds.world import World
from sim_to_real_parts import bank
from sim_to_real_parts.consistency import Pair, pairs, ranking, rows_of
from sim_to_real_parts.games import SIZES, Game, explored, games, world_from, world_of
from sim_to_real_parts.naive import NaiveEnvironment, Recordings
from sim_to_real_parts.players import PLAYERS, player

BY_TRACES = "coin by traces"
PARTS = ("coin", BY_TRACES, "coin of 5 rooms", "bank")
JUDGED = {"coin": ("gold", "noisy-30", "weak", "random"), "bank": ("gold", "noisy", "weak", "random")}
"""The policies that bars are for: perfect, noisy, weak and random ones."""
_OTHER_SEEDS = 100
"""Policies are played under other random numbers than those that were captured."""
Simulated = Callable[[Scenario], tuple[Scenario, Environment]]


def measure(part: str, seed: int, *, quick: bool) -> list[Row]:
    """The rows of a part."""
    if part == "bank":
        return _bank(seed, quick=quick)
    known = {each.name: each for each in games(quick=quick)}
    return _by_traces(known["coin"], seed) if part == BY_TRACES else _coin(known[part], seed)


def _coin(game: Game, seed: int) -> list[Row]:
    world, attempts, by_session = world_of(game, seed)
    recordings = Recordings(read_episodes(attempts).episodes)
    starts = {by_session[start.id].id: start for start in world.starts}

    def naive(within: Scenario, scenario: Scenario) -> Environment:
        return NaiveEnvironment(within, starts[scenario.id], recordings)

    found = _about(game.name, world)
    for by, other in ((f"{game.name}, world", None), (f"{game.name}, naive baseline", naive)):
        of_policy = _in_both(game, world, by_session, seed, PLAYERS, other)
        found += _rows(by, of_policy, JUDGED["coin"] if other is None else ())
    return found


def _in_both(
    game: Game,
    world: World,
    by_session: Mapping[str, Scenario],
    seed: int,
    players: Sequence[str],
    other: Callable[[Scenario, Scenario], Environment] | None = None,
) -> dict[str, list[Pair]]:
    """Each player from every start of the world, there (or in something else of those starts) and in the real game."""
    sessions = {by_session[start.id].id: start.id for start in world.starts}
    suite = WorldSuite(world)

    def simulated(scenario: Scenario) -> tuple[Scenario, Environment]:
        data = {"start": sessions[scenario.id], "seed": seed, "expect": list(world.success)}
        within = Scenario(id=scenario.id, environment=suite.name, kind="world", data=data)
        return within, suite.environment(within) if other is None else other(within, scenario)

    def script(name: str) -> Callable[[Scenario, int], Script | None]:
        return lambda scenario, number: player(name, game.suite, scenario, _OTHER_SEEDS + number)

    scenarios = {name: by_session[name] for name in sessions.values()}
    return {name: pairs(scenarios, simulated, game.suite.environment, script(name), game.seeds) for name in players}


def _by_traces(game: Game, seed: int) -> list[Row]:
    """How much of a world fewer and fewer captured attempts make."""
    whole, found = list(explored(game.suite, seed, SIZES[-1])), list[Row]()
    by_session = {each.session: each.scenario for each in whole if each.scenario is not None}
    for size in SIZES:
        attempts = whole[:size]
        world, problem = world_from(attempts, seed)
        what = f"{BY_TRACES}, {size} attempts"
        found += [
            row(f"{what}: captured calls", sum(each.turns for each in attempts), "calls"),
            row(f"{what}: may be trained in", f"no: {problem}" if problem else "yes"),
        ]
        if world is not None:
            of_policy = _in_both(game, world, by_session, seed, JUDGED["coin"])
            found += [each for name, of in of_policy.items() for each in rows_of(what, name, of, judged=False)]
    return found


def _bank(seed: int, *, quick: bool) -> list[Row]:
    world, of_start, _ = bank.world_of(20 if quick else 40, seed)
    resolver = world.built.resolver()
    starts = {of_start[start.id].id: start for start in world.starts}
    scenarios = {each.id: each for each in of_start.values()}

    def simulated(scenario: Scenario) -> tuple[Scenario, Environment]:
        return scenario, bank.DeskInWorld(scenario, world, starts[scenario.id], resolver)

    def script(name: str) -> Callable[[Scenario, int], Script | None]:
        return lambda scenario, number: bank.script(name, scenario, _OTHER_SEEDS + number)

    of_policy = {name: pairs(scenarios, simulated, bank.REAL.environment, script(name), 1) for name in bank.POLICIES}
    return _about("bank", world) + _rows("bank, world", of_policy, JUDGED["bank"])


def _about(name: str, world: World) -> list[Row]:
    card = world.card
    assert card is not None
    rows = [
        row(f"{name}, captured calls", world.notes["calls"], "calls"),
        row(f"{name}, starts", len(world.starts)),
        row(f"{name}, may be trained in", "no: " + "; ".join(card.problems) if card.problems else "yes"),
    ]
    for split in ("S1", "S2", "S4"):
        for by in ("world", "nearest neighbour"):
            value = card.value("F3", split, by)
            if value is not None:
                rows.append(row(f"{name}, {split} F3 answers equal: {by}", value.estimate,
                                interval=(value.low, value.high)))  # fmt: skip
        risk = card.value("F12 risk", split)
        if risk is not None:
            rows.append(row(f"{name}, {split} wrong among answered calls", risk.estimate))
    return rows


def _rows(by: str, of_policy: Mapping[str, list[Pair]], judged: tuple[str, ...]) -> list[Row]:
    rows = [each for name, found in of_policy.items() for each in rows_of(by, name, found, judged=name in judged)]
    return rows + ranking(by, of_policy, judged=bool(judged))
