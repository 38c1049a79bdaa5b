"""Scripted policies in a world and in the real system: consistency, replays and ranking, beside a naive world."""

from collections.abc import Callable, Mapping

from record import Row, row

from journeyman.engines.scripted import Script
from journeyman.environments.environment import Environment
from journeyman.records import Scenario
from journeyman.worlds.environment import WorldSuite
from journeyman.worlds.texts.episodes import read_episodes
from journeyman.worlds.world import World
from sim_to_real_parts import bank
from sim_to_real_parts.consistency import Pair, pairs, ranking, rows_of
from sim_to_real_parts.games import Game, games, world_of
from sim_to_real_parts.naive import NaiveEnvironment, Recordings
from sim_to_real_parts.players import PLAYERS, player

PARTS = ("coin", "coin of 5 rooms", "bank")
JUDGED = {"coin": ("gold", "noisy-30", "weak", "random"), "bank": ("gold", "noisy", "weak", "random")}
"""The policies that bars are for: perfect, noisy, weak and random ones."""
_OTHER_SEEDS = 100
"""Policies are played under other random numbers than those that were captured."""
Simulated = Callable[[Scenario], tuple[Scenario, Environment]]


def measure(part: str, seed: int, *, quick: bool) -> list[Row]:
    """The rows of a part."""
    if part == "bank":
        return _bank(seed, quick=quick)
    game = next(each for each in games(quick=quick) if each.name == part)
    return _coin(game, seed)


def _coin(game: Game, seed: int) -> list[Row]:
    world, attempts, by_session = world_of(game, seed)
    starts = {start.id: start for start in world.starts}
    sessions = {by_session[name].id: name for name in starts}
    suite, recordings = WorldSuite(world), Recordings(read_episodes(attempts).episodes)

    def within(scenario: Scenario) -> Scenario:
        data = {"start": sessions[scenario.id], "seed": seed, "expect": list(world.success)}
        return Scenario(id=scenario.id, environment=suite.name, kind="world", data=data)

    def simulated(scenario: Scenario) -> tuple[Scenario, Environment]:
        return within(scenario), suite.environment(within(scenario))

    def naive(scenario: Scenario) -> tuple[Scenario, Environment]:
        start = starts[sessions[scenario.id]]
        return within(scenario), NaiveEnvironment(within(scenario), start, recordings)

    def script(name: str) -> Callable[[Scenario, int], Script | None]:
        return lambda scenario, number: player(name, game.suite, scenario, _OTHER_SEEDS + number)

    scenarios = {by_session[name].id: by_session[name] for name in starts}
    found = _about(game.name, world)
    for by, played in ((f"{game.name}, world", simulated), (f"{game.name}, naive baseline", naive)):
        of_policy = {
            name: pairs(scenarios, played, game.suite.environment, script(name), game.seeds) for name in PLAYERS
        }
        found += _rows(by, of_policy, JUDGED["coin"] if played is simulated else ())
    return found


def _bank(seed: int, *, quick: bool) -> list[Row]:
    world, of_start = bank.world_of(20 if quick else 40, seed)
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
