"""A small system of words for tests: two rooms, a lamp in one of them, and a box whose lid no scene tells of."""

import random
from collections.abc import Sequence

from journeyman.records import Message, Trajectory
from journeyman.records.message import assistant, system, user

TOOK = "You take the lamp."
_DID_NOT_UNDERSTAND = "That is no action."
LONGEST = 8


class House:
    """One game; `seed` decides where the rooms and the lamp are."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.first, self.second = rng.sample(["hall", "attic", "cellar", "barn"], 2)
        self.way, self.back = rng.choice([("north", "south"), ("east", "west")])
        self.lamp = rng.choice([self.first, self.second])
        self.here, self.open, self.done = self.first, False, False

    def menu(self) -> list[str]:
        takes = ["take lamp"] if self.lamp == self.here and not self.done else []
        return [
            "look",
            f"go {self.way if self.here == self.first else self.back}",
            "lift lid",
            "shut lid",
            "peek",
            *takes,
        ]

    def shown(self, said: str) -> str:
        return f"{said}\nYou can: {', '.join(self.menu())}"

    def scene(self) -> str:
        lamp = " A lamp stands there." if self.lamp == self.here and not self.done else ""
        there = self.second if self.here == self.first else self.first
        way = self.way if self.here == self.first else self.back
        return f"You stand in the {self.here}.{lamp}\nA box is there. {way.capitalize()} of it is the {there}."

    def act(self, action: str) -> str:
        if action not in self.menu():
            return self.shown(_DID_NOT_UNDERSTAND)
        if action == "take lamp":
            self.done = True
            return self.shown(TOOK)
        if action.startswith("go "):
            self.here = self.second if self.here == self.first else self.first
        if action in ("lift lid", "shut lid"):
            self.open = action == "lift lid"
            return self.shown("Done.")
        if action == "peek":
            return self.shown("A pin lies in it." if self.open else "The lid is shut.")
        return self.shown(self.scene())


def attempt(seed: int, number: int, policy: str) -> Trajectory:
    """Acts at random; `lost` now and then says what is no action. Two examples' turns go before its own."""
    game, rng = House(seed), random.Random(f"{policy}/{seed}/{number}")
    opening: list[Message] = [system("Find the lamp."), user("Example: take what you need"), assistant("take lamp")]
    said = [*opening, user(game.shown(game.scene()))]
    turns = 0
    while turns < LONGEST and not game.done:
        junk = policy == "lost" and rng.random() < 0.4
        action = rng.choice(["fly", "take it", "go there"]) if junk else rng.choice(game.menu())
        said += [assistant(action), user(game.act(action))]
        turns += 1
    return Trajectory(
        scenario_id=f"house-{seed}", model=policy, session=f"{policy}-{seed}-{number}", messages=tuple(said),
        latencies=(0.1,) * turns,
    )  # fmt: skip


def attempts(seeds: Sequence[int], each: int = 3) -> list[Trajectory]:
    return [attempt(seed, number, policy) for seed in seeds for policy in ("lost", "wild") for number in range(each)]
