"""Scripted players of the coin game, from perfect to none; they see the conversation alone, in a world as in the game.

`gold` is the package's own path. `searcher` takes the coin where it is offered and otherwise goes where it has not
been; `noisy-N` is the searcher with an action of the menu at random in N% of its turns, `weak` strays in 70%, most of
which are no action at all, as a small model's words are; `random` takes any action of the menu.
"""

import random
from collections import Counter
from collections.abc import Sequence

from journeyman.engines.scripted import Script
from journeyman.environments.adapters.textworld_express import TextWorldExpressSuite
from journeyman.records import Message, Scenario, Tool
from journeyman.records.message import assistant

MENU = "Possible actions: "
NOISE = {"searcher": (0.0, 0.0), "noisy-10": (0.1, 0.0), "noisy-30": (0.3, 0.0), "noisy-60": (0.6, 0.0),
         "weak": (0.7, 0.7), "random": (1.0, 0.0)}  # fmt: skip
"""By player: how often it strays, and how often straying is no action at all."""
PLAYERS = ("gold", *NOISE)
_JUNK = ("go {way}", "take the coin", "look", "open fridge", "I would move {way}.", "take coin now", "find the coin")


def player(name: str, suite: TextWorldExpressSuite, scenario: Scenario, seed: int) -> Script | None:
    """A player for one attempt at one scenario; None where the package's path does not lead to success."""
    if name == "gold":
        return suite.gold(scenario)
    strays, junk = NOISE[name]
    return _searcher(random.Random(f"{name}/{seed}/{scenario.id}"), strays, junk)


def _searcher(rng: random.Random, strays: float, junk: float) -> Script:
    tried, before = Counter[tuple[str, str]](), list[int]()

    def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        before.append(len(messages))
        menu = messages[-1].text.rpartition(MENU)[2]
        possible = menu.split(", ")
        if rng.random() < strays:
            if rng.random() < junk:
                return assistant(rng.choice(_JUNK).format(way=rng.choice(["north", "south", "east", "west"])))
            return assistant(rng.choice(possible))
        if "take coin" in possible:
            return assistant("take coin")
        here = _place(messages[before[0] - 1 :])
        moves = [action for action in possible if action.startswith(("move ", "open "))] or possible
        action = min(moves, key=lambda move: (tried[here, move], move))
        tried[here, action] += 1
        return assistant(action)

    return act


def _place(messages: Sequence[Message]) -> str:
    """The first sentence of the last scene."""
    scenes = [said.text.partition(".")[0] for said in messages if said.text.startswith("You are in")]
    return scenes[-1] if scenes else ""
