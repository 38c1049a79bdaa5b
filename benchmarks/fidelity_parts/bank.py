"""The bank demo: a world from answers alone, as a gateway captures them, measured on what it never saw."""

from typing import Any

from record import Row, row

from fidelity_parts import bank_traces
from journeyman.worlds.card import SPLITS, FidelityCard
from journeyman.worlds.making import admitted, make_world
from journeyman.worlds.world import World

_SCENARIOS = 60
_QUICK = 20
_BY = ("world", "nearest neighbour", "tool mean")


def measure(seed: int, *, quick: bool) -> World:
    """A world of the bank from four policies on the same scenarios; `random`, the one that plays least, is held out."""
    count = _QUICK if quick else _SCENARIOS
    trajectories = []
    for policy in bank_traces.POLICIES:
        played = bank_traces.trajectories(policy, "train", count // 2 if policy == "random" else count, seed + 1)
        trajectories += [
            each.model_copy(update={"session": f"{policy}-{number}"}) for number, each in enumerate(played)
        ]
    return make_world("bank", trajectories, seed=seed)


def rows(world: World) -> list[Row]:
    """Answers beside the baselines on every split, and what the card says."""
    card = world.card
    assert card is not None
    made = [
        row("bank: calls captured", world.notes["calls"], "calls"),
        row("bank: tools whose twin was admitted", len(admitted(world.built)), f"of {len(world.built.shapes)}"),
        row("bank: may be trained in", "no: " + "; ".join(card.problems) if card.problems else "yes"),
    ]
    for split in SPLITS:
        for name, words in (("F1", "outcome class"), ("F3", "answers equal"), ("answered", "calls answered")):
            made += [_row(card, f"bank: {split} {name} {words}: {by}", name, split, by) for by in _BY]
        for name in ("F2", "F5", "F6", "F11 error mix", "F12 AUROC", "F12 risk at 80%", "F12 risk"):
            made.append(_row(card, f"bank: {split} {name}: world", name, split, "world"))
    return [each for each in made if each["value"] is not None]


def details(world: World) -> dict[str, Any]:
    """The whole card, the twins, the faults and the rule found for transfers."""
    return {
        "card": None if world.card is None else world.card.model_dump(mode="json"),
        "twins": {tool: a.reason or "admitted" for tool, a in sorted(world.built.admissions.items())},
        "fault rates": {tool: dict(found.rates) for tool, found in world.built.faults.items() if found.rates},
        "transfer": world.built.rules["transfer"].wire() if "transfer" in world.built.rules else None,
    }


def _row(card: FidelityCard, what: str, name: str, split: str, by: str) -> Row:
    found = next((m for m in card.measures if (m.measure, m.split, m.by) == (name, split, by)), None)
    value = None if found is None else found.value
    interval = None if value is None or value.low == value.high else (value.low, value.high)
    return row(what, None if value is None else value.estimate, f"n={found.calls if found else 0}", interval=interval)
