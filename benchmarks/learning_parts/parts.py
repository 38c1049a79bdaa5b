"""What else is learned than tasks from their reward."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from record import Row

from learning_parts import bank_agent, one_attempt, ruler


@dataclass(frozen=True)
class Part:
    """`rows` is given the number of seeds, threads, the rows that are kept, and whether a quick look is enough.

    It gives all its rows anew whenever it knows more. One that `keeps` takes a folder `keep` to go on in, too.
    """

    called: str
    seeds: int
    rows: Callable[..., Iterable[list[Row]]]
    keeps: bool = False


PARTS = {
    "ruler-small": Part(ruler.MINIATURE, 8, ruler.in_miniature),
    "ruler": Part(ruler.REAL, 3, ruler.on_the_price_tool),
    "ppo-small": Part(one_attempt.MINIATURE, 8, one_attempt.in_miniature),
    "ppo": Part(one_attempt.REAL, 3, one_attempt.on_the_price_tool),
    "bank": Part(bank_agent.CALLED, 3, bank_agent.taught_then_rehearsed, keeps=True),
}
