"""What else is learned than tasks from their reward."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from record import Row

from learning_parts import one_attempt, ruler


@dataclass(frozen=True)
class Part:
    """`rows` is given the number of seeds, threads, the rows that are kept, and whether a quick look is enough.

    It gives all its rows anew whenever it knows more.
    """

    called: str
    seeds: int
    rows: Callable[..., Iterable[list[Row]]]


PARTS = {
    "ruler-small": Part(ruler.MINIATURE, 8, ruler.in_miniature),
    "ruler": Part(ruler.REAL, 3, ruler.on_the_price_tool),
    "ppo-small": Part(one_attempt.MINIATURE, 8, one_attempt.in_miniature),
    "ppo": Part(one_attempt.REAL, 3, one_attempt.on_the_price_tool),
}
