"""Kinds of things: a tool takes what the state knows as that, and refuses what it knows as something else."""

import random

from journeyman.worlds.build import build
from journeyman.worlds.expressions import Scene, holds
from journeyman.worlds.state import State
from journeyman.worlds.transitions import Transition

KNOWN = {"customers": {"C1": {"city": "Linz", "card": "K7", "accounts": {"checking": "A3"}}}, "seen": ["K9"]}


def test_what_is_known_below_a_key_is_a_key_or_a_value_there():
    def known(value: object, key: str) -> bool:
        return holds(["known", ["arg", "it"], key], Scene({"it": value}, KNOWN))

    assert known("K7", "card")
    assert known("A3", "accounts")
    assert known("A3", "customers")
    assert known("C1", "customers")
    assert known("K9", "seen")
    assert not known("Linz", "card")
    assert not known("card", "card")
    assert not known("K7", "nowhere")
    assert not known(7, "card")
    assert not holds(["known", ["arg", "it"], "card"], Scene({}, KNOWN))


def session(seed: int) -> list[Transition]:
    """Someone freezes cards, and now and then a thing that exists and is no card."""
    rng = random.Random(seed)
    card, account, city = f"K{rng.randrange(99)}", f"A{rng.randrange(99)}", rng.choice(["Linz", "Graz", "Rome"])
    before = {"who": {"card": card, "accounts": {"checking": account}, "city": city}, "frozen": "no"}
    found = []
    for order in range(4):
        asked = rng.choice([card, card, card, account, city]) if seed % 3 == 0 else rng.choice([card, f"K{seed}x"])
        is_card = asked == card
        after = {**before, "frozen": "yes" if is_card else before["frozen"]}
        said = {"ok": True} if is_card else {"error": f"unknown card {asked}"}
        error = None if is_card else "unknown card {card}"
        found.append(Transition("freeze", {"card": asked}, said, f"s{seed}", order, error, before=before, after=after))
        before = after
    return found


def test_a_thing_of_another_kind_is_refused_although_the_state_knows_it():
    world = build([call for seed in range(24) for call in session(seed)])
    assert world.trials["freeze"].admitted
    state = {"who": {"card": "K500", "accounts": {"checking": "A500"}, "city": "Pisa"}, "frozen": "no"}
    for asked, is_refused in (("K500", False), ("A500", True), ("Pisa", True), ("nothing", True)):
        answer = world.resolver().answer("freeze", {"card": asked}, State(state))
        assert (answer.source, answer.error is not None) == ("twin", is_refused)


def booking(seed: int) -> list[Transition]:
    """Someone is looked up, and what stands by the names is told; of whom nobody spoke, nothing is."""
    rng = random.Random(seed)
    found, told = [], {}
    for order in range(4):
        name = f"C{rng.randrange(10, 40)}"
        told |= {name: {"city": rng.choice(["Linz", "Graz"]), "born": rng.randrange(1950, 2000)}}
        state = {"customers": dict(told), "asked": {}}
        asked = rng.choice([*told, *told, f"C{rng.randrange(10, 40)}", "Linz"])
        said = told.get(asked, {"error": f"unknown customer {asked}"})
        error = None if asked in told else "unknown customer {customer}"
        found.append(
            Transition("look_up", {"customer": asked}, said, f"b{seed}", order, error, before=state, after=state)
        )
    return found


def test_what_is_known_as_a_key_is_known_by_its_kind_and_not_because_its_name_was_given_before():
    built = build([call for seed in range(40) for call in booking(seed)])
    guards = repr([case.guards for case in built.rules["look_up"].cases])
    assert "'customers'" in guards
    assert "among" not in guards
    state = State({"customers": {"C99": {"city": "Pisa", "born": 1980}}, "asked": {}})
    answer = built.resolver().answer("look_up", {"customer": "C99"}, state)
    assert (answer.source, answer.observation) == ("twin", {"city": "Pisa", "born": 1980})
    assert built.resolver().answer("look_up", {"customer": "C12"}, state).error == "unknown customer {customer}"
