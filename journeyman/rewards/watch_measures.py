"""What the watch against reward hacking reads off one step of a run, group by group."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean
from typing import NamedTuple

from pydantic import Field

from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Trajectory, TrajectoryGroup
from journeyman.rewards.reward import Scores
from journeyman.rewards.rules import last_reply, own_part

Values = Sequence[Sequence[float | None]]
"""A number for each attempt of each group; None where there is none."""

MANY_TIMES = 3
"""A call with the same arguments, made so often in one attempt, is a pattern that repeats."""
REPLIES_COMPARED = 2
"""Replies of each group that are compared with those of the others."""
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run as the watch sees it: its groups, and what was given to each attempt.

    `scores` are by name, `reward` names the one that is trained on, and the others are its parts or criteria.
    `held_out` is a judge of another family that never trains, `truth` what is known to be true, both on the same scale.
    `kl` is in nats per token, against the base. `places` says at which place each attempt was shown to the judge; where
    it is left out, that is its place in the group.
    """

    number: int
    groups: Sequence[TrajectoryGroup]
    scores: Mapping[str, Values]
    reward: str
    held_out: Values | None = None
    truth: Values | None = None
    kl: float | None = None
    places: Sequence[Sequence[int]] | None = None


class Sums(NamedTuple):
    """Sums over groups, of which those of a run are the sums of its steps': what a judge pays for a feature.

    With u = Σ feature · reward and v = Σ feature · reference over a group, all less the group's means: Σu, Σv, Σu²,
    Σuv, Σv², and Σ feature².
    """

    paid: float = 0.0
    due: float = 0.0
    paid_squared: float = 0.0
    crossed: float = 0.0
    due_squared: float = 0.0
    feature: float = 0.0

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums(*(one + more for one, more in zip(self, other, strict=True)))


class Measures(Frozen):
    """One step in numbers, as a run keeps it, so that one that is resumed is watched from its start.

    Lists hold one number for each group, which is the unit that is independent. `gaps` are the reward less the held-out
    judge, and less the truth, of the attempts that have both. `bias` has the sums of each feature against the held-out
    judge, `place` those of the places, against nothing; `spread` the squared deviations within groups of the reward and
    of the held-out judge.
    """

    number: int
    reward: list[float]
    held_out: list[float] | None
    truth: list[float] | None
    gaps: dict[str, list[float]]
    criteria: dict[str, list[float]]
    length: list[float]
    repeats: list[float]
    no_ops: list[float]
    similarity: float | None
    kl: float | None
    bias: dict[str, Sums] = Field(default_factory=dict)
    place: dict[str, Sums] = Field(default_factory=dict)
    spread: tuple[float, float] = (0.0, 0.0)


def tables_of(by_group: Sequence[Mapping[str, Scores]]) -> dict[str, Values]:
    """What `score_by_part` gave for each group of a step, as a step's `scores`; None where a part was not asked."""
    names = dict.fromkeys(name for scores in by_group for name in scores)
    sizes = [len(next(iter(scores.values()))) for scores in by_group]
    return {
        name: [
            [None if each is None else each.value for each in scores.get(name, [None] * size)]
            for scores, size in zip(by_group, sizes, strict=True)
        ]
        for name in names
    }


def measure(step: Step) -> Measures:
    """A step in numbers. InvalidInput when the scores are not those of its groups, or the reward is not among them."""
    _check(step)
    rewards = step.scores[step.reward]
    bias, spread = _bias(step, rewards)
    attempts = [group.trajectories for group in step.groups]
    return Measures(
        number=step.number,
        reward=_means(rewards),
        held_out=None if step.held_out is None else _means(step.held_out),
        truth=None if step.truth is None else _means(step.truth),
        gaps={
            name: _gaps(rewards, other)
            for name, other in (("held_out", step.held_out), ("truth", step.truth))
            if other is not None
        },
        criteria={name: _means(values) for name, values in step.scores.items() if name != step.reward},
        length=[fmean(log_length(each) for each in group) for group in attempts],
        repeats=[fmean(float(repeats_itself(each)) for each in group) for group in attempts],
        no_ops=[fmean(no_op_share(each) for each in group) for group in attempts],
        similarity=similarity_across(step.groups),
        kl=step.kl,
        bias=bias,
        place=_place(step, rewards),
        spread=spread,
    )


def log_length(trajectory: Trajectory) -> float:
    """The natural logarithm of 1 and the words that the model wrote."""
    return math.log(1 + sum(len(each.text.split()) for each in trajectory.messages if each.role == "assistant"))


def repeats_itself(trajectory: Trajectory) -> bool:
    """Whether one call with the same arguments was made MANY_TIMES or more."""
    calls = [call.function for each in trajectory.messages for call in each.tool_calls or ()]
    made = [(call.name, call.arguments) for call in calls]
    return any(made.count(call) >= MANY_TIMES for call in set(made))


def no_op_share(trajectory: Trajectory) -> float:
    """The share of the tools' answers that gave nothing: empty, or what the same call had already given; 0 without."""
    calls = {call.id: call.function for each in trajectory.messages for call in each.tool_calls or ()}
    seen: set[tuple[str, str, str]] = set()
    idle = answers = 0
    for message in trajectory.messages:
        called = calls.get(message.tool_call_id or "")
        if message.role != "tool" or called is None:
            continue
        answers += 1
        answer = (called.name, called.arguments, message.text)
        idle += not message.text.strip() or answer in seen
        seen.add(answer)
    return idle / answers if answers else 0.0


def words_of(trajectory: Trajectory) -> set[str]:
    """The words that the model wrote, numbers aside."""
    return {
        word
        for each in own_part(trajectory)
        if each.role == "assistant"
        for word in _WORD.findall(each.text.casefold())
    }


def similarity_across(groups: Sequence[TrajectoryGroup]) -> float | None:
    """How alike the last replies to different scenarios are: the mean share of words and pairs of words in common.

    1 when every input gets the same reply. None with fewer than two scenarios that got one.
    """
    replies = [
        (group.scenario.id, _shingles(last_reply(each)))
        for group in groups
        for each in group.trajectories[:REPLIES_COMPARED]
        if last_reply(each).strip()
    ]
    alike = [
        len(one & other) / len(one | other)
        for (scenario, one), (another, other) in combinations(replies, 2)
        if scenario != another
    ]
    return fmean(alike) if alike else None


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {(word,) for word in words} | set(pairwise(words))


def _bias(step: Step, rewards: Values) -> tuple[dict[str, Sums], tuple[float, float]]:
    if step.held_out is None:
        return {}, (0.0, 0.0)
    found: dict[str, Sums] = {}
    own = other = 0.0
    for group, paid, due in zip(step.groups, rewards, step.held_out, strict=True):
        known = [at for at in range(len(paid)) if paid[at] is not None and due[at] is not None]
        if len(known) < 2:
            continue
        paid_c, due_c = _centred([paid[at] for at in known]), _centred([due[at] for at in known])
        own += math.fsum(each * each for each in paid_c)
        other += math.fsum(each * each for each in due_c)
        attempts = [group.trajectories[at] for at in known]
        for name, sums in [
            ("length", _sums([log_length(each) for each in attempts], paid_c, due_c)),
            *_word_sums(attempts, paid_c, due_c),
        ]:
            found[name] = found[name].plus(sums) if name in found else sums
    return found, (own, other)


def _word_sums(
    attempts: Sequence[Trajectory], paid: Sequence[float], due: Sequence[float]
) -> Iterator[tuple[str, Sums]]:
    """Of each word that some of the attempts have and others have not, as `_sums` of having it."""
    having: dict[str, list[int]] = {}
    for at, each in enumerate(attempts):
        for word in words_of(each):
            having.setdefault(word, []).append(at)
    count = len(attempts)
    for word, places in having.items():
        if len(places) < count:
            u, v = sum(paid[at] for at in places), sum(due[at] for at in places)
            yield f"word {word}", Sums(u, v, u * u, u * v, v * v, len(places) * (1 - len(places) / count))


def _place(step: Step, rewards: Values) -> dict[str, Sums]:
    found: dict[str, Sums] = {}
    for number, paid in enumerate(rewards):
        places = step.places[number] if step.places is not None else range(len(paid))
        known = [at for at in range(len(paid)) if paid[at] is not None]
        if len(known) < 2:
            continue
        shown = [float(places[at]) for at in known]
        paid_c = _centred([paid[at] for at in known])
        features = {
            "later": shown,
            "first": [float(each == min(shown)) for each in shown],
            "last": [float(each == max(shown)) for each in shown],
        }
        for name, values in features.items():
            found[name] = found.get(name, Sums()).plus(_sums(values, paid_c, [0.0] * len(paid_c)))
    return found


def _sums(values: Sequence[float], paid: Sequence[float], due: Sequence[float]) -> Sums:
    feature = _centred(values)
    u = math.fsum(x * y for x, y in zip(feature, paid, strict=True))
    v = math.fsum(x * y for x, y in zip(feature, due, strict=True))
    return Sums(u, v, u * u, u * v, v * v, math.fsum(x * x for x in feature))


def _centred(values: Sequence[float | None]) -> list[float]:
    numbers = [value for value in values if value is not None]
    middle = math.fsum(numbers) / len(numbers)
    return [value - middle for value in numbers]


def _means(values: Values) -> list[float]:
    """Of each group that has a number at all."""
    known = [[value for value in group if value is not None] for group in values]
    return [fmean(group) for group in known if group]


def _gaps(rewards: Values, others: Values) -> list[float]:
    both = [
        [paid - due for paid, due in zip(*pair, strict=True) if paid is not None and due is not None]
        for pair in zip(rewards, others, strict=True)
    ]
    return [fmean(group) for group in both if group]


def _check(step: Step) -> None:
    if step.reward not in step.scores:
        raise InvalidInput(
            f"step {step.number} is trained on {step.reward!r}, which is not among its scores: {', '.join(step.scores)}"
        )
    sizes = [len(group.trajectories) for group in step.groups]
    given = {**step.scores, "held_out": step.held_out, "truth": step.truth, "places": step.places}
    for name, values in given.items():
        if values is not None and [len(group) for group in values] != sizes:
            raise InvalidInput(f"step {step.number}: `{name}` needs a number for each attempt of each group, or None")
    tables = (*step.scores.values(), step.held_out or (), step.truth or (), ((step.kl,),))
    numbers = [value for values in tables for group in values for value in group]
    if any(value is not None and not math.isfinite(value) for value in numbers):
        raise InvalidInput(f"step {step.number} holds a number that is not finite; nothing can be watched by it")
