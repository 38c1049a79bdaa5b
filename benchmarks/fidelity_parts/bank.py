"""The bank demo: a world from answers alone, as a gateway captures them, measured on what it never saw."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from record import Row, row

from fidelity_parts import bank_traces
from journeyman.demos.bank.players import gold
from journeyman.engines.scripted import ScriptedEngine
from journeyman.records import Trajectory
from journeyman.worlds.behaviour import compare, of_behaviour
from journeyman.worlds.card import LAWS, LEAD, SPLITS, FidelityCard, Measure
from journeyman.worlds.making import admitted, divide, make_world
from journeyman.worlds.sourcing import sourced
from journeyman.worlds.traces import from_trajectories
from journeyman.worlds.world import World

_SCENARIOS = 60
_QUICK = 20
_MOST_VARIATION, _LEAST_LEAD = 0.05, 0.20
_BY = ("world", "nearest neighbour", "tool mean")


@dataclass(frozen=True)
class Measured:
    """The world, with its card, and what the bank's scripted expert does next when told its answers (F8)."""

    world: World
    behaviour: list[Measure]


def measure(seed: int, *, quick: bool) -> Measured:
    """A world of the bank from four policies on the same scenarios; `random`, the one that plays least, is held out."""
    count = _QUICK if quick else _SCENARIOS
    trajectories = []
    for policy in bank_traces.POLICIES:
        played = bank_traces.trajectories(policy, "train", count // 2 if policy == "random" else count, seed + 1)
        trajectories += [
            each.model_copy(update={"session": f"{policy}-{number}"}) for number, each in enumerate(played)
        ]
    world = make_world("bank", trajectories, seed=seed)
    return Measured(world, asyncio.run(_behaviour(world, trajectories, seed)))


async def _behaviour(world: World, trajectories: Sequence[Trajectory], seed: int) -> list[Measure]:
    """F8 of the scripted expert, frozen as it is, after answers that the world gives in sessions held out."""
    calls = from_trajectories(trajectories).transitions
    judging = sourced(calls, blind=True).transitions
    found: list[Measure] = []
    for split, sessions in divide(calls, seed).splits.items():
        own = [each for each in judging if each.session in sessions]
        if own:
            agent = ScriptedEngine(gold)
            found += of_behaviour(await compare(agent, "expert", world.built.resolver(), trajectories, own), split)
    return found


def rows(measured: Measured) -> list[Row]:
    """Answers beside the baselines on every split, and what the card says."""
    card, world = measured.world.card, measured.world
    assert card is not None
    made = [
        row("bank: calls captured", world.notes["calls"], "calls"),
        row("bank: tools whose twin was admitted", len(admitted(world.built)), f"of {len(world.built.shapes)}"),
        row("bank: may be trained in", "no: " + "; ".join(card.problems) if card.problems else "yes"),
    ]
    for split in SPLITS:
        for name, words in (
            ("F1", "outcome class"),
            ("F3", "answers equal"),
            ("F3 answered", "of calls answered"),
            ("answered", "calls answered"),
        ):
            made += [_row(card, f"bank: {split} {name} {words}: {by}", name, split, by) for by in _BY]
        for name in (LEAD, "F2", "F5", "F6", *LAWS, "F11 error mix", "F12 AUROC", "F12 risk at 80%", "F12 risk"):
            made.append(_row(card, f"bank: {split} {name}: world", name, split, "world"))
        mix = card.value("F11 error mix", split, slice="no interval")
        if mix is not None:
            held = mix.estimate <= _MOST_VARIATION
            made.append(
                row(f"bar: bank: {split} error mix by tool, total variation", mix.estimate, bar="≤ 0.05", holds=held)
            )
        ahead = card.value(LEAD, split)
        if ahead is not None:
            least = _LEAST_LEAD if split == "S2" else 0.0
            made.append(
                row(f"bar: bank: {split} answers equal, world over nearest neighbour", ahead.estimate,
                    interval=(ahead.low, ahead.high), bar="≥ 0.20 above" if least else "above",
                    holds=ahead.estimate >= least and ahead.low > 0)
            )  # fmt: skip
    for each in measured.behaviour:
        interval = None if each.value is None else (each.value.low, each.value.high)
        value = None if each.value is None else each.value.estimate
        what = f"bank: {each.split} F8 the scripted expert acts alike{', ' + each.slice if each.slice else ''}"
        made.append(row(what, value, f"n={each.calls}", interval=interval))
    return [each for each in made if each["value"] is not None]


def details(measured: Measured) -> dict[str, Any]:
    """The whole card, the twins, the faults and the rule found for transfers."""
    world = measured.world
    return {
        "card": None if world.card is None else world.card.model_dump(mode="json"),
        "twins": {tool: a.reason or "admitted" for tool, a in sorted(world.built.trials.items())},
        "fault rates": {tool: dict(found.rates) for tool, found in world.built.faults.items() if found.rates},
        "transfer": world.built.rules["transfer"].wire() if "transfer" in world.built.rules else None,
    }


def _row(card: FidelityCard, what: str, name: str, split: str, by: str) -> Row:
    found = next((m for m in card.measures if (m.measure, m.split, m.by) == (name, split, by)), None)
    value = None if found is None else found.value
    interval = None if value is None or value.low == value.high else (value.low, value.high)
    return row(what, None if value is None else value.estimate, f"n={found.calls if found else 0}", interval=interval)
