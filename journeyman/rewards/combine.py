"""Several rewards made into one: a weighted sum, or gates that must all be passed (min, product)."""

import math
from collections.abc import Callable, Mapping, Sequence

from journeyman.errors import InvalidInput
from journeyman.records import Score, TrajectoryGroup
from journeyman.rewards.reward import Reward, Scores, score_by_part

Fold = Callable[[Sequence[float]], float]


class Combined:
    """Asks its parts in order and folds their values attempt by attempt; one without a part's score has no score.

    `settled` says which value further parts cannot change: once every attempt is there, they are not asked.
    """

    def __init__(
        self, name: str, parts: Sequence[Reward], fold: Fold, signs: Sequence[str], settled: float | None = None
    ) -> None:
        names = [part.name for part in parts]
        if not parts or len({name, *names}) != len(parts) + 1:
            raise InvalidInput(
                f"a combination has at least one part, and every part a name of its own; {name} is made of "
                f"{', '.join(names) or 'nothing'}"
            )
        self.name, self._parts = name, tuple(parts)
        self._fold, self._signs, self._settled = fold, tuple(signs), settled

    async def __call__(self, group: TrajectoryGroup) -> Scores:
        """The folded scores; the reason of each says what every part gave."""
        return (await self.by_part(group))[self.name]

    async def by_part(self, group: TrajectoryGroup) -> Mapping[str, Scores]:
        """The whole, the parts that were asked, and the parts of those."""
        asked: list[Scores] = []
        found: dict[str, Scores] = {}
        for part in self._parts:
            inner = await score_by_part(part, group)
            if found.keys() & inner.keys():
                raise InvalidInput(f"{self.name} has two parts named {', '.join(sorted(found.keys() & inner.keys()))}")
            found.update(inner)
            asked.append(inner[part.name])
            if self._settled is not None and all(self._is_settled(scores) for scores in zip(*asked, strict=True)):
                break
        return {self.name: [self._folded(scores) for scores in zip(*asked, strict=True)], **found}

    def _is_settled(self, scores: Scores) -> bool:
        return any(score is None or score.value == self._settled for score in scores)

    def _folded(self, scores: Scores) -> Score | None:
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            return None
        said = zip(self._signs, known, strict=False)
        reason = ", ".join(f"{sign}{score.name} {score.value:.3g}" for sign, score in said)
        return Score(
            name=self.name, value=self._fold([score.value for score in known]), reason=reason, by="combination"
        )


def weighted_sum(parts: Sequence[tuple[Reward, float]], name: str = "reward") -> Combined:
    """Σ weight · score. A negative weight takes off; one that is 0 or no number is refused."""
    weights = [weight for _, weight in parts]
    if any(not math.isfinite(weight) or weight == 0 for weight in weights):
        raise InvalidInput(f"the weights of {name} must be finite and not 0, not {weights}: leave such a part out")

    def fold(values: Sequence[float]) -> float:
        return math.fsum(weight * value for weight, value in zip(weights, values, strict=True))

    return Combined(name, [part for part, _ in parts], fold, [f"{weight:g}·" for weight in weights])


def lowest(parts: Sequence[Reward], name: str = "reward") -> Combined:
    """The smallest of the scores, such as of a proxy and an audit: no part can make up for another."""
    return Combined(name, parts, min, [""] * len(parts))


def product(parts: Sequence[Reward], name: str = "reward") -> Combined:
    """The scores multiplied, which makes a gate of a part that is 0 or 1. Put the cheap gates first.

    When they leave every attempt at 0, the later parts are not asked: no judge is paid for what cannot count.
    """
    return Combined(name, parts, math.prod, [""] * len(parts), settled=0.0)
