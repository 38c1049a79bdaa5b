"""The three forms in which a judge is asked, made comparable: attempts in an order in, a number for each out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from journeyman.errors import InvalidInput
from journeyman.records import Message, TrajectoryGroup
from journeyman.records.judging import JudgeForm
from journeyman.rewards import judge as words
from journeyman.rewards import listwise
from journeyman.rewards.asking import Asker
from journeyman.rewards.contents import content_of, shared_start, shown_tools
from journeyman.rewards.judge import Judge


@dataclass(frozen=True, slots=True)
class Rated:
    """What a judge gave each attempt (higher is better), in the group's order, and its reasons where there are some."""

    scores: tuple[float, ...]
    reasons: tuple[str, ...] = ()


class Rater(Protocol):
    """A judge with a rubric, as a card measures it."""

    form: JudgeForm
    rubric: str

    @property
    def asker(self) -> Asker:
        """Who is asked, with its counters."""
        ...

    @property
    def rubric_hash(self) -> str:
        """What identifies the rubric and the prompts around it."""
        ...

    async def rate(self, group: TrajectoryGroup, order: Sequence[int], salt: str) -> Rated:
        """One verdict, with the attempts shown in this order; never from a cache. UpstreamFailed without one."""
        ...


class ListwiseRater:
    """As RULER asks: all attempts at once, each with a score."""

    form: JudgeForm = "listwise"

    def __init__(self, asker: Asker, rubric: str = listwise.DEFAULT_RUBRIC) -> None:
        self.asker, self.rubric = asker, rubric
        self.rubric_hash = listwise.rubric_hash(rubric)

    async def rate(self, group: TrajectoryGroup, order: Sequence[int], salt: str) -> Rated:
        """One listwise verdict."""
        contents = [content_of(each) for each in group.trajectories]
        if len({content.key for content in contents}) < len(contents):
            raise InvalidInput(
                f"two attempts at scenario {group.scenario.id} are the same; a judge cannot tell them apart"
            )
        question = listwise.ask_in_order(
            self.rubric,
            [contents[at] for at in order],
            salt,
            shown_tools(group.trajectories[0].tools),
            {"kind": group.scenario.kind},
        )
        found = await self.asker.ask(question.messages(), question.read)
        verdicts = [found[content.key] for content in contents]
        return Rated(tuple(each.score for each in verdicts), tuple(each.reason for each in verdicts))


class PairwiseRater:
    """As head-to-head evaluations ask: which of two is better, or neither."""

    form: JudgeForm = "pairwise"

    def __init__(self, judge: Judge, rubric: str) -> None:
        self.asker, self.rubric = judge, rubric
        self._judge, self.rubric_hash = judge, words.rubric_hash(rubric)

    async def rate(self, group: TrajectoryGroup, order: Sequence[int], salt: str) -> Rated:
        """1 for the winner and 0 for the loser, ½ each for a tie."""
        if len(group.trajectories) != 2:
            raise InvalidInput(f"two attempts are compared, and scenario {group.scenario.id} has {len(order)}")
        asked, answers = _apart(group)
        first, second = order
        verdict = await self._judge.compare(asked, answers[first], answers[second], self.rubric)
        scores = [0.0, 0.0]
        scores[first] = {"A": 1.0, "tie": 0.5, "B": 0.0}[verdict.word]
        scores[second] = 1 - scores[first]
        return Rated(tuple(scores))


class PointwiseRater:
    """As checks of cases ask: does this one answer pass."""

    form: JudgeForm = "pointwise"

    def __init__(self, judge: Judge, rubric: str) -> None:
        self.asker, self.rubric = judge, rubric
        self._judge, self.rubric_hash = judge, words.rubric_hash(rubric)

    async def rate(self, group: TrajectoryGroup, order: Sequence[int], salt: str) -> Rated:
        """1 for an answer that passes, else 0; the order cannot matter."""
        passed, reasons = [], []
        for trajectory in group.trajectories:
            *before, answer = trajectory.messages
            verdict = await self._judge.grade(before, answer, self.rubric)
            passed.append(float(verdict.word == "pass"))
            reasons.append(verdict.reason)
        return Rated(tuple(passed), tuple(reasons))


def _apart(group: TrajectoryGroup) -> tuple[Sequence[Message], list[Sequence[Message]]]:
    """What the attempts share, and what each did then."""
    start = shared_start([content_of(each) for each in group.trajectories])
    return group.trajectories[0].messages[:start], [each.messages[start:] for each in group.trajectories]
