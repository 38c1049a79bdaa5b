"""A frozen lake in words: a suite of one's own around Gymnasium, with a gold player."""

from journeyman.environments.adapters.gymnasium import GymnasiumSettings, GymnasiumSuite
from journeyman.records.message import assistant

ACTIONS = ("left", "down", "right", "up")
PATH = ("down", "down", "right", "right", "down", "right")


def say(place: int) -> str:
    return f"You stand in row {place // 4}, column {place % 4}."


def gold(seed: int):
    return lambda messages, tools: assistant(PATH[sum(each.role == "assistant" for each in messages) % len(PATH)])


def lake(*, slippery: bool) -> GymnasiumSuite:
    options = {"is_slippery": slippery, "map_name": "4x4"}
    settings = GymnasiumSettings(id="FrozenLake-v1", options=options, actions=ACTIONS, task="Reach row 3, column 3.")
    return GymnasiumSuite(settings, say, None if slippery else gold)


def dry() -> GymnasiumSuite:
    return lake(slippery=False)


class Dry(GymnasiumSuite):
    """The same, as a class that is made by its name."""

    def __init__(self) -> None:
        self.__dict__.update(vars(dry()))
