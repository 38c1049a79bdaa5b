"""Measures a world against calls that it never saw, beside the baselines that any world must beat."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.records.evaluation import Interval
from journeyman.statistics.intervals import clustered_mean, paired_mean
from journeyman.worlds.baselines import Predictor
from journeyman.worlds.card import LEAD, Measure
from journeyman.worlds.expressions import same
from journeyman.worlds.faults import ToolFaults, is_transient
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.measures import Judged, auroc, judge, total_variation
from journeyman.worlds.schemas import ToolShape
from journeyman.worlds.state import State, difference, leaf_changes, table_of
from journeyman.worlds.transitions import Transition

_COVERED = 0.8
_SHARES: dict[str, tuple[Callable[[Judged], bool], Callable[[Judged], bool], str]] = {
    "F1": (lambda each: each.outcome, lambda each: True, ""),
    "F2": (lambda each: each.valid, lambda each: each.answered, ""),
    "F3": (lambda each: each.observation, lambda each: True, ""),
    "F4": (lambda each: each.delta, lambda each: True, ""),
    "F4 changing": (lambda each: each.delta, lambda each: each.changes, "calls that change the state"),
    "F4 1-2": (lambda each: each.delta, lambda each: each.bucket == "1-2", "calls that change 1-2 cells"),
    "F4 3-6": (lambda each: each.delta, lambda each: each.bucket == "3-6", "calls that change 3-6 cells"),
    "F4 7+": (lambda each: each.delta, lambda each: each.bucket == "7+", "calls that change 7 cells or more"),
    "answered": (lambda each: each.answered, lambda each: True, ""),
}
"""By name: what is counted, of which calls, and those in words."""


@dataclass(frozen=True)
class Replayed:
    """One call of a session that was played in the world from its start: nothing was put right in between.

    `delayed` is how many calls ago a cell that this call reads was last changed; None when none was, and where the
    answer had to be drawn, because nothing before had told what it reads.
    """

    session: str
    tool: str
    answered: bool
    right: bool
    repeats: bool
    delayed: int | None
    error: str | None
    true_error: str | None


def judged(predictor: Predictor, calls: Iterable[Transition], shapes: Mapping[str, ToolShape]) -> list[Judged]:
    """Every call predicted from the true state before it."""
    return [
        judge(call, predictor.answer(call.tool, call.arguments, State(call.before or {})), shapes.get(call.tool))
        for call in calls
    ]


def shares(found: Sequence[Judged], split: str, by: str) -> list[Measure]:
    """F1 to F4 as shares of calls, with intervals from resampling sessions. An abstention counts as wrong."""
    return [
        share_of(name, split, by, [(each.session, counted(each)) for each in found if applies(each)], words)
        for name, (counted, applies, words) in _SHARES.items()
    ]


def against_copying(told: Mapping[str, Sequence[Judged]], split: str) -> list[Measure]:
    """The world and the nearest call's copy on the same calls: on all of them, and on those that the world answers."""
    world, copied = told["world"], told["nearest neighbour"]
    return [lead(world, copied, split), *of_answered(world, copied, split)]


def lead(world: Sequence[Judged], copied: Sequence[Judged], split: str) -> Measure:
    """How much more often the world's answer is right than that of the nearest call, on the same calls.

    The interval is of the differences, session by session: a session that is hard for both says nothing against one.
    """
    sessions = [each.session for each in world]
    ours, theirs = ([float(each.observation) for each in found] for found in (world, copied))
    value = paired_mean(ours, theirs, sessions) if len(set(sessions)) > 1 else None
    return Measure(measure=LEAD, split=split, by="world", calls=len(world), value=value)


def of_answered(world: Sequence[Judged], copied: Sequence[Judged], split: str) -> list[Measure]:
    """F3 of the calls that the world answers, and of copying the nearest call on those same calls."""
    pairs = [(one, other) for one, other in zip(world, copied, strict=True) if one.answered]
    return [
        share_of("F3 answered", split, "world", [(one.session, one.observation) for one, _ in pairs]),
        share_of("F3 answered", split, "nearest neighbour", [(one.session, other.observation) for one, other in pairs]),
    ]


def by_source(found: Sequence[Judged], split: str) -> list[Measure]:
    """How often each layer was right about the answer and about the changes, and how many calls it answered."""
    measures = []
    for source in ("twin", "replay", "learned", "nearest"):
        own = [each for each in found if each.source == source]
        measures.append(
            share_of("F3", split, "world", [(e.session, e.observation) for e in own], f"answered by {source}")
        )
        changing = [(e.session, e.delta) for e in own if e.changes]
        measures.append(share_of("F4 changing", split, "world", changing, f"answered by {source}"))
        small = [(e.session, e.delta) for e in own if e.bucket == "1-2"]
        measures.append(share_of("F4 1-2", split, "world", small, f"answered by {source}"))
    return measures


def uncertainty(found: Sequence[Judged], split: str) -> list[Measure]:
    """F12: the AUROC of the confidence, and the share of wrong answers among the surest four in five."""
    answered = [each for each in found if each.answered]
    wrong = [not (each.observation and each.delta) for each in answered]
    area = auroc([each.confidence for each in answered], wrong)
    surest = sorted(answered, key=lambda each: -each.confidence)[: int(_COVERED * len(answered))]
    risks = [(each.session, not (each.observation and each.delta)) for each in surest]
    everywhere = [(each.session, bad) for each, bad in zip(answered, wrong, strict=True)]
    exact = None if area is None else Interval(estimate=area, low=area, high=area)
    return [
        Measure(measure="F12 AUROC", split=split, by="world", calls=len(answered), value=exact, slice="no interval"),
        share_of("F12 risk at 80%", split, "world", risks),
        share_of("F12 risk", split, "world", everywhere),
    ]


def play(
    predictor: Predictor, calls: Sequence[Transition], footprints: Mapping[str, Footprint], seed: int = 0
) -> list[Replayed]:
    """Play whole sessions in the world, each from its own start, with the world's own state ever after.

    A session ends where the world abstains; the calls that were left are not in the result. Where the world draws what
    nobody could know, the session goes on with what the real system said: that another value was drawn is one wrong
    answer, and no fault of what is read and computed from it later.
    """
    found: list[Replayed] = []
    for session in _sessions(calls):
        state = State(session[0].before or {}, seed)
        changed: dict[Any, int] = {}
        for place, call in enumerate(session):
            answer = predictor.answer(call.tool, call.arguments, state)
            if answer.source == "abstain":
                found.append(_replayed(call, False, False, True, None, None))
                break
            before = state.fork()
            again = predictor.answer(call.tool, call.arguments, before)
            reads = footprints.get(call.tool, Footprint()).reads
            is_drawn = answer.source == "drawn"
            since = [place - changed[table] for table in reads if table in changed and not is_drawn]
            if is_drawn:
                state.observe(difference(call.before or {}, call.after or {}))
            else:
                state.commit(answer.changes, "written", call.name)
            right = same(answer.observation, call.observation)
            repeats = same(again.observation, answer.observation) and again.changes == answer.changes
            found.append(_replayed(call, True, right, repeats, max(since, default=None), answer.error))
            for path in leaf_changes(call.before, call.after):
                changed[table_of(path)] = place
            state.step += 1
    return found


def of_play(
    found: Sequence[Replayed], split: str, by: str, faults: Mapping[str, ToolFaults] | None = None
) -> list[Measure]:
    """F5, F6 and F11 of played sessions, and the share of calls right in them.

    Sessions are played without faults; `faults` are counted into the mix of errors at the rates at which they strike. A
    call that met one says nothing about what it would have read, and is not in F5.
    """
    answered = [each for each in found if each.answered]
    told = [each for each in answered if each.true_error is None or not is_transient(each.true_error)]
    delayed = [(each.session, each.right) for each in told if each.delayed is not None]
    measures = [
        share_of("F3 in play", split, by, [(each.session, each.right) for each in found]),
        share_of("F5", split, by, delayed, "calls that read what an earlier call changed"),
        share_of("F6", split, by, [(each.session, each.repeats) for each in answered]),
    ]
    by_tool: dict[str, list[Replayed]] = {}
    for each in answered:
        by_tool.setdefault(each.tool, []).append(each)
    weighted = sum(
        len(calls) * total_variation(_expected(calls, (faults or {}).get(tool)), Counter(c.true_error for c in calls))
        for tool, calls in by_tool.items()
    )
    mix = weighted / len(answered) if answered else None
    value = None if mix is None else Interval(estimate=mix, low=mix, high=mix)
    return [
        *measures,
        Measure(measure="F11 error mix", split=split, by=by, calls=len(answered), value=value, slice="no interval"),
    ]


def _expected(calls: Sequence[Replayed], faults: ToolFaults | None) -> dict[str | None, float]:
    """How many calls would end in each kind of error, where faults strike as often as they are calibrated to."""
    rates = faults.rates if faults is not None else {}
    spared = 1.0 - sum(rates.values())
    mix = {kind: spared * count for kind, count in Counter(each.error for each in calls).items()}
    for kind, rate in rates.items():
        mix[kind] = mix.get(kind, 0.0) + rate * len(calls)
    return mix


def _replayed(
    call: Transition, answered: bool, right: bool, repeats: bool, delayed: int | None, error: str | None
) -> Replayed:
    return Replayed(call.family or call.session, call.tool, answered, right, repeats, delayed, error, call.error)


def _sessions(calls: Sequence[Transition]) -> list[list[Transition]]:
    found: dict[str, list[Transition]] = {}
    for each in calls:
        found.setdefault(each.session, []).append(each)
    return [sorted(session, key=lambda each: each.order) for session in found.values()]


def share_of(name: str, split: str, by: str, counted: Sequence[tuple[str, bool]], slice: str = "") -> Measure:
    """A share of calls, each told with its session, over which the interval is resampled."""
    clusters: dict[str, list[float]] = {}
    for session, is_so in counted:
        clusters.setdefault(session, []).append(float(is_so))
    value = clustered_mean(list(clusters.values())) if len(clusters) > 1 else None
    return Measure(measure=name, split=split, by=by, calls=len(counted), value=value, slice=slice)
