"""The coin game that is trained in: two rooms, and before every game the same short one, won."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from journeyman.environments.adapters.textworld_express import TextWorldExpressSettings, TextWorldExpressSuite
from journeyman.records import Scenario

_PARAMETERS = "numLocations=2,numDistractorItems=0,includeDoors=0,limitInventorySize=0"
_MAX_STEPS = 4
_TRIED = 5
"""So many draws of solved games are looked through for a short one."""


class TrainedGame(TextWorldExpressSuite):
    """The game of the training task `coin`, but for the example: it is the same everywhere, and takes few tokens.

    What all conversations begin with is computed once, which is what makes several runs affordable on a processor.
    """

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` games of `split`, as the package draws them; the example's own is not among them."""
        example = _short_example()
        drawn = [each for each in super().scenarios(split, count + 1, seed) if each.data["seed"] != example["seed"]]
        return [each.model_copy(update={"data": each.data | {"examples": [example]}}) for each in drawn[:count]]


def _settings(examples: int) -> TextWorldExpressSettings:
    return TextWorldExpressSettings(game="coin", parameters=_PARAMETERS, max_steps=_MAX_STEPS, examples=examples)


@cache
def _short_example() -> dict[str, Any]:
    """Of games of the train fold in which the coin has to be gone for, the one with the fewest words."""
    solved = TextWorldExpressSuite(_settings(1))
    found: list[dict[str, Any]] = [
        example
        for draw in range(_TRIED)
        for each in solved.scenarios("train", 4, draw)
        for example in each.data["examples"]
        if any(action.startswith("move ") for _, action in example["turns"])
    ]
    return min(found, key=lambda example: (sum(len(said) for said, _ in example["turns"]), example["seed"]))


suite = TrainedGame(_settings(0))
