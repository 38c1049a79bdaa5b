"""RULER: a judge model scores the attempts of a group against each other, which needs no labels and no scale.

The idea is OpenPipe's (Relative Universal LLM-Elicited Rewards). Here every answer is checked, found by ids and never
by place, asked for in several orders, and paid for once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from journeyman.errors import InvalidInput, NothingToCompare, UpstreamFailed
from journeyman.records import Score, TrajectoryGroup
from journeyman.rewards.asking import Asker, all_of
from journeyman.rewards.contents import Content, content_of, hash_of, shown_tools
from journeyman.rewards.listwise import DEFAULT_RUBRIC, Question, Verdict, Verdicts, ask_about, rubric_hash
from journeyman.rewards.mismatch import contradicts
from journeyman.rewards.rules import own_part
from journeyman.rewards.verdict_book import VerdictBook

TOLERANCE = 0.2
"""Two orders agree when no attempt's score, less the mean of its order, differs by more than this."""
ALIKE = 0.5
"""What attempts get that all did the same: equal scores, which teach nothing."""


@dataclass
class Savings:
    """What was judged, and what did not have to be asked."""

    groups: int = 0
    without_information: int = 0
    duplicates: int = 0
    verdicts_asked: int = 0
    verdicts_kept: int = 0
    escalated: int = 0
    judges_lost: int = 0
    mismatches: int = 0


class Ruler:
    """Scores from 0 to 1 that compare the attempts of a group, by one judge or the median of several.

    Each judge sees the group in `orders` orders, and in up to `most_orders` where those disagree; its scores are their
    mean. `show` names fields of the scenario's data that the judge may see. The scenario's id and kind are kept with
    every verdict in the `book`. A judge that fails is left out while another answers.
    """

    def __init__(
        self,
        judges: Asker | Sequence[Asker],
        rubric: str = DEFAULT_RUBRIC,
        *,
        orders: int = 2,
        most_orders: int = 4,
        tolerance: float = TOLERANCE,
        seed: int = 0,
        book: VerdictBook | None = None,
        show: Sequence[str] = (),
        name: str = "ruler",
    ) -> None:
        self.judges = (judges,) if isinstance(judges, Asker) else tuple(judges)
        if not self.judges:
            raise InvalidInput(f"{name} needs at least one judge")
        if not 1 <= orders <= most_orders:
            raise InvalidInput(f"{name} asks in at least 1 and at most {most_orders} orders, not {orders}")
        if not rubric.strip():
            raise InvalidInput(f"the rubric of {name} is empty; leave it out for the general one")
        self.name, self.rubric, self.orders, self.most_orders = name, rubric, orders, most_orders
        self.tolerance, self.seed, self.show = tolerance, seed, tuple(show)
        self.book = VerdictBook() if book is None else book
        self.savings = Savings()

    @property
    def cost_usd(self) -> float | None:
        """US dollars that the judges took so far; None when one of them has no price."""
        costs = [judge.cost_usd for judge in self.judges]
        return None if any(cost is None for cost in costs) else sum(cost or 0.0 for cost in costs)

    async def __call__(self, group: TrajectoryGroup) -> list[Score | None]:
        """An attempt in which the model never spoke cannot be scored. NothingToCompare for a single attempt.

        Attempts that did the same are shown once and get the same score; when all did, nobody is asked.
        """
        count = len(group.trajectories)
        if count == 1:
            raise NothingToCompare(
                f"{self.name} compares attempts with each other, and scenario {group.scenario.id} has one; make more "
                "attempts for each scenario, or score it by a rubric"
            )
        contents = [content_of(each) if own_part(each) else None for each in group.trajectories]
        distinct = {content.key: content for content in contents if content is not None}
        self.savings.groups += 1
        self.savings.duplicates += sum(content is not None for content in contents) - len(distinct)
        if len(distinct) < 2:
            self.savings.without_information += count > 0
            alike = Score(name=self.name, value=ALIKE, reason="all attempts did the same", by=self.name)
            return [None if content is None else alike for content in contents]
        scores = await self._scores(group, tuple(distinct.values()))
        return [None if content is None else scores[content.key] for content in contents]

    async def _scores(self, group: TrajectoryGroup, contents: Sequence[Content]) -> dict[str, Score]:
        tasks = (self._judged(judge, group, contents) for judge in self.judges)
        asked = await asyncio.gather(*tasks, return_exceptions=True)
        for problem in asked:
            if isinstance(problem, BaseException) and not isinstance(problem, UpstreamFailed):
                raise problem
        by_judge = [orders for orders in asked if not isinstance(orders, BaseException)]
        lost = [problem for problem in asked if isinstance(problem, UpstreamFailed)]
        if not by_judge:
            raise lost[0]
        self.savings.judges_lost += len(lost)
        said_by = [judge.model for judge, orders in zip(self.judges, asked, strict=True) if isinstance(orders, list)]
        return {content.key: self._combined(content.key, by_judge, " and ".join(said_by)) for content in contents}

    async def _judged(self, judge: Asker, group: TrajectoryGroup, contents: Sequence[Content]) -> list[Verdicts]:
        """One judge's verdicts, order by order."""
        found = await all_of(self._verdicts(judge, group, contents, order) for order in range(self.orders))
        if disagreement(found) > self.tolerance and self.orders < self.most_orders:
            self.savings.escalated += 1
            further = range(self.orders, self.most_orders)
            found += await all_of(self._verdicts(judge, group, contents, order) for order in further)
        return found

    async def _verdicts(
        self, judge: Asker, group: TrajectoryGroup, contents: Sequence[Content], order: int
    ) -> Verdicts:
        """The verdicts in one order: those in the book, or the judge's, which go into the book."""
        question = self.question(group, contents, order)
        key = hash_of(judge.model, judge.sampling.wire(), [message.wire() for message in question.messages()])
        kept = self.book.get(key)
        if kept is not None:
            self.savings.verdicts_kept += 1
            return {content: Verdict(*said) for content, said in kept.items()}
        found = await judge.ask(question.messages(), question.read)
        self.savings.verdicts_asked += 1
        self.savings.mismatches += sum(contradicts(said.reason, said.score) for said in found.values())
        self.book.add(key, {content: list(said) for content, said in found.items()}, self._about(judge, group))
        return found

    def question(self, group: TrajectoryGroup, contents: Sequence[Content], order: int) -> Question:
        """What a judge is asked about these contents of the group in order number `order`."""
        data = group.scenario.data
        missing = [field for field in self.show if field not in data]
        if missing:
            raise InvalidInput(
                f"{self.name} shows {', '.join(missing)} of a scenario's data, which scenario {group.scenario.id} lacks"
            )
        task = {"kind": group.scenario.kind} | {field: data[field] for field in self.show}
        tools = shown_tools(group.trajectories[0].tools)
        return ask_about(self.rubric, contents, order, self.seed, tools, task)

    def _about(self, judge: Asker, group: TrajectoryGroup) -> Mapping[str, Any]:
        scenario = group.scenario
        return {
            "judge": judge.model,
            "rubric": rubric_hash(self.rubric),
            "scenario": scenario.id,
            "environment": scenario.environment,
            "kind": scenario.kind,
            "sessions": sorted({each.session for each in group.trajectories}),
        }

    def _combined(self, key: str, by_judge: Sequence[Sequence[Verdicts]], said_by: str) -> Score:
        means = [fmean(verdicts[key].score for verdicts in orders) for orders in by_judge]
        said = by_judge[0][0][key].reason
        return Score(name=self.name, value=median(means), reason=f"{said}{_spread(key, by_judge)}", by=said_by)


def disagreement(orders: Sequence[Verdicts]) -> float:
    """How far apart an attempt's scores lie in several orders, each taken less the mean of its order; the largest."""
    if len(orders) < 2:
        return 0.0
    centres = [fmean(said.score for said in verdicts.values()) for verdicts in orders]
    spreads = []
    for key in orders[0]:
        placed = [verdicts[key].score - centre for verdicts, centre in zip(orders, centres, strict=True)]
        spreads.append(max(placed) - min(placed))
    return max(spreads)


def _spread(key: str, by_judge: Sequence[Sequence[Verdicts]]) -> str:
    given = [verdicts[key].score for orders in by_judge for verdicts in orders]
    return f" [{len(given)} verdicts from {min(given):g} to {max(given):g}]" if len(given) > 1 else ""
