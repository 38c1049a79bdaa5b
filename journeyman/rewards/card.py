"""Judge cards: how far a judge can be trusted on a task, measured before anything rests on its verdicts."""

import asyncio
import math
import random
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Condition, Filter, Interval
from journeyman.records.judging import JudgeCard
from journeyman.rewards.labelled import Labelled, hash_of_cases
from journeyman.rewards.mismatch import contradicts
from journeyman.rewards.raters import Rated, Rater
from journeyman.rewards.rules import own_part
from journeyman.statistics import cohens_kappa, proportion
from journeyman.statistics.normal import students_quantile
from journeyman.statistics.shares import mean_share
from journeyman.store.store import Store


class Asked(NamedTuple):
    """A group's three verdicts: in an order, in that order backwards, and in the first order once more."""

    case: Labelled
    order: tuple[int, ...]
    forward: Rated
    backward: Rated
    again: Rated


class _Pair(NamedTuple):
    """Two attempts, the first shown first: 1, 0 or −1 as the first is better by truth and by each verdict."""

    truth: int
    forward: int
    backward: int
    again: int


async def measure_card(
    rater: Rater,
    cases: Sequence[Labelled],
    *,
    task: str,
    name: str | None = None,
    truth: str = "verified",
    seed: int = 0,
    concurrency: int = 8,
) -> JudgeCard:
    """Ask the judge three times about each case and put its verdicts beside the truth.

    Every interval is over groups, which are independent; verdicts within a group are not. A group for which the judge
    has no verdict in form is counted as unjudged. InvalidInput when fewer than two groups are left.
    """
    before = _counters(rater)
    places = asyncio.Semaphore(concurrency)

    async def ask(case: Labelled) -> Asked | None:
        order = tuple(random.Random(f"{seed}/{case.group.scenario.id}").sample(range(len(case.truth)), len(case.truth)))
        async with places:
            try:
                return Asked(
                    case,
                    order,
                    await rater.rate(case.group, order, f"{seed}/forward"),
                    await rater.rate(case.group, order[::-1], f"{seed}/backward"),
                    await rater.rate(case.group, order, f"{seed}/again"),
                )
            except UpstreamFailed:
                return None

    asked = [found for found in await asyncio.gather(*(ask(case) for case in cases)) if found is not None]
    if len(asked) < 2:
        raise InvalidInput(
            f"the judge {rater.asker.model} gave a verdict on {len(asked)} of {len(cases)} groups; a card needs two at "
            "the least: see whether it answers, and in the form that is asked for"
        )
    used = [now - then for now, then in zip(_counters(rater), before, strict=True)]
    return _card(rater, cases, asked, used, name or task, task, truth, seed)


def _card(
    rater: Rater,
    cases: Sequence[Labelled],
    asked: Sequence[Asked],
    used: Sequence[float],
    name: str,
    task: str,
    truth: str,
    seed: int,
) -> JudgeCard:
    groups = [_pairs(each) for each in asked]
    pairs = [pair for group in groups for pair in group]
    decided = [pair.forward for pair in pairs if pair.forward]
    answers, unreadable, prompt, completion, cost = used
    verdicts = 3 * len(asked)
    said = [(reason, score) for each in asked for reason, score in _reasons(each)]
    return JudgeCard(
        name=name,
        task=task,
        judge=rater.asker.model,
        form=rater.form,
        rubric=rater.rubric_hash,
        rubric_text=rater.rubric,
        truth=truth,
        data_hash=hash_of_cases(cases),
        seed=seed,
        groups=len(asked),
        pairs=len(pairs),
        unjudged=len(cases) - len(asked),
        accuracy=mean_share([_mean([_right(pair.truth, pair.forward) for pair in group]) for group in groups]),
        both_orders=mean_share(
            [_mean([float(pair.truth == pair.forward == pair.backward) for pair in group]) for group in groups]
        ),
        kappa=cohens_kappa([pair.truth for pair in pairs], [pair.forward for pair in pairs]),
        ties=_mean([float(pair.forward == 0) for pair in pairs]),
        order_consistency=mean_share([_mean([float(p.forward == p.backward) for p in group]) for group in groups]),
        first_place=proportion(sum(each > 0 for each in decided), len(decided)) if decided else None,
        repeat_stability=mean_share([_mean([float(p.forward == p.again) for p in group]) for group in groups]),
        length_slope=length_slope(asked),
        parse_rate=proportion(int(answers - unreadable), int(answers)),
        mismatches=proportion(sum(contradicts(*each) for each in said), len(said)) if said else None,
        prompt_tokens=prompt / verdicts,
        completion_tokens=completion / verdicts,
        cost_usd=None if rater.asker.price is None else cost / verdicts,
    )


def find_card(
    store: Store, judge: str, rubric: str, *, name: str | None = None, task: str | None = None
) -> JudgeCard | None:
    """The newest card of this judge under this very rubric (its hash), of that name and on that task if given.

    None without one. An edited rubric has another hash, so no card of before the edit is found.
    """
    given = {"judge": judge, "rubric": rubric, "name": name, "task": task}
    asked = {field: each for field, each in given.items() if each is not None}
    where = Filter(conditions=tuple(Condition(field=field, operator="=", value=each) for field, each in asked.items()))
    return next(iter(store.find(JudgeCard, where, limit=1)), None)


def length_slope(asked: Sequence[Asked]) -> Interval | None:
    """The score gained for e times as many words, at equal truth, within groups; None where all are as long.

    Least squares with a level for each group, on truth and the logarithm of the length; the 95% interval is that of
    independent groups (C. R. Liang and S. L. Zeger 1986, Biometrika 73:13–22), with Student's quantile.
    """
    rows = [_centred(each) for each in asked]
    tt, tx, xx, ty, xy = (math.fsum(each) for each in zip(*(_products(row) for row in rows), strict=True))
    left = xx - tx * tx / tt if tt else xx
    if left <= 1e-9 * max(1.0, xx):
        return None
    slope = (xy - tx * ty / tt) / left if tt else xy / left
    level = (ty - slope * tx) / tt if tt else 0.0
    scores = []
    for row in rows:
        residual = [y - level * t - slope * x for t, x, y in row]
        scores.append(
            math.fsum((x - (tx / tt if tt else 0.0) * t) * r for (t, x, _), r in zip(row, residual, strict=True))
        )
    count = len(rows)
    error = math.sqrt(count / (count - 1) * math.fsum(each * each for each in scores)) / left
    half = students_quantile(0.975, count - 1) * error
    return Interval(estimate=slope, low=slope - half, high=slope + half)


def _centred(asked: Asked) -> list[tuple[float, float, float]]:
    """Truth, log length and mean score of each attempt, less the group's means."""
    trajectories = asked.case.group.trajectories
    lengths = [math.log(1 + sum(len(each.text.split()) for each in own_part(one))) for one in trajectories]
    verdicts = zip(asked.forward.scores, asked.backward.scores, asked.again.scores, strict=True)
    columns = [list(asked.case.truth), lengths, [_mean(each) for each in verdicts]]
    centred = [[value - _mean(column) for value in column] for column in columns]
    return list(zip(*centred, strict=True))


def _products(rows: Sequence[tuple[float, float, float]]) -> tuple[float, ...]:
    return (
        math.fsum(t * t for t, _, _ in rows),
        math.fsum(t * x for t, x, _ in rows),
        math.fsum(x * x for _, x, _ in rows),
        math.fsum(t * y for t, _, y in rows),
        math.fsum(x * y for _, x, y in rows),
    )


def _pairs(asked: Asked) -> list[_Pair]:
    truth = asked.case.truth
    found = []
    for first, second in combinations(asked.order, 2):
        if truth[first] != truth[second]:
            scores = (truth, asked.forward.scores, asked.backward.scores, asked.again.scores)
            found.append(_Pair(*(_sign(each[first] - each[second]) for each in scores)))
    return found


def _reasons(asked: Asked) -> list[tuple[str, float]]:
    rated = (asked.forward, asked.backward, asked.again)
    return [each for one in rated if one.reasons for each in zip(one.reasons, one.scores, strict=True)]


def _right(truth: int, judged: int) -> float:
    return 0.5 if judged == 0 else float(truth == judged)


def _counters(rater: Rater) -> tuple[float, ...]:
    asker = rater.asker
    usage = asker.usage
    return (asker.answers, asker.unreadable, usage.prompt_tokens, usage.completion_tokens, asker.cost_usd or 0.0)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
