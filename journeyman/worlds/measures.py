"""How well predicted answers and changes match what really happened: the measures of a fidelity card, call by call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.worlds.expressions import same
from journeyman.worlds.resolver import Answer
from journeyman.worlds.schemas import ToolShape, is_valid
from journeyman.worlds.state import applied, leaf_changes
from journeyman.worlds.transitions import Transition

BUCKETS = (("none", 0, 0), ("1-2", 1, 2), ("3-6", 3, 6), ("7+", 7, 10**9))


@dataclass(frozen=True)
class Judged:
    """One call, predicted and compared.

    `outcome`: its kind of error, or none, was right. `observation`: the answer is equal as JSON. `delta`: the
    cells that would have changed are those that did, with their values; `hit`, `told` and `true` count cells for
    precision and recall. An abstention is wrong in all of them, and `answered` is false. `valid`: it looks as the
    tool's answers do; what a schema forbids never comes to the tool.
    """

    session: str
    tool: str
    source: str
    answered: bool
    confidence: float
    outcome: bool
    valid: bool
    observation: bool
    delta: bool
    hit: int
    told: int
    true: int

    @property
    def changes(self) -> bool:
        """Whether the call really changed anything."""
        return self.true > 0

    @property
    def bucket(self) -> str:
        """How many cells it really changed."""
        return next(name for name, low, high in BUCKETS if low <= self.true <= high)


def judge(call: Transition, answer: Answer, shape: ToolShape | None) -> Judged:
    """Compare an answer with what happened; the state before the call was the true one."""
    answered = answer.source != "abstain"
    true = leaf_changes(call.before, call.after)
    try:
        told: Mapping[Any, Any] = leaf_changes(call.before, applied(call.before or {}, answer.changes))
    except InvalidInput:
        told = {("?",): None}
    looks_right = answer.source == "schema" or (shape is not None and is_valid(shape, answer.observation, answer.error))
    hit = sum(path in true and _equal(true[path], value) for path, value in told.items())
    return Judged(
        session=call.family or call.session,
        tool=call.tool,
        source=answer.source,
        answered=answered,
        confidence=answer.confidence,
        outcome=answered and answer.error == call.error,
        valid=answered and looks_right,
        observation=answered and same(answer.observation, call.observation),
        delta=answered and len(told) == len(true) == hit,
        hit=hit if answered else 0,
        told=len(told) if answered else 0,
        true=len(true),
    )


def auroc(scores: Sequence[float], wrong: Sequence[bool]) -> float | None:
    """The chance that a wrong answer has less confidence than a right one, ties half; None without both kinds."""
    ordered = sorted(range(len(scores)), key=lambda place: scores[place])
    bad = sum(wrong)
    good = len(wrong) - bad
    if not bad or not good:
        return None
    ranks = [0.0] * len(scores)
    start = 0
    while start < len(ordered):
        stop = start
        while stop < len(ordered) and scores[ordered[stop]] == scores[ordered[start]]:
            stop += 1
        for place in ordered[start:stop]:
            ranks[place] = (start + stop + 1) / 2
        start = stop
    of_right = sum(rank for rank, is_wrong in zip(ranks, wrong, strict=True) if not is_wrong)
    return (of_right - good * (good + 1) / 2) / (good * bad)


def total_variation(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    """Half the summed differences of two mixes' shares: 0 for equal ones, 1 for those with nothing in common."""
    first, second = sum(one.values()), sum(other.values())
    if not first or not second:
        return 0.0 if first == second else 1.0
    kinds = one.keys() | other.keys()
    return sum(abs(one.get(kind, 0) / first - other.get(kind, 0) / second) for kind in kinds) / 2


def _equal(one: Any, other: Any) -> bool:
    return one is other or same(one, other)
