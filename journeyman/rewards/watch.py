"""Watches a run for a policy that learns what the judge pays for instead of the task.

Pure functions over the steps of a run: `measure` each, then ask `watch` about all of them. Two kinds of evidence:

- **Bias**: within groups, does the training judge pay more for a feature (length, a word, the place at which an attempt
  was shown) than a held-out judge does? That is a fault of the judge, and shows before the policy has drifted far.
- **Drift**: compared with the run's start, and with a while ago, has the reward risen where the held-out judge or the
  truth did not follow? Have repeated calls, idle tools, copies of one reply for every input become common?

Thresholds of bias hold for any length of a run: for independent groups whose sums are symmetric when nothing is wrong,
P(Σu / √Σu² ≥ z) ≤ exp(−z²/2) (V. H. de la Peña 1999, Annals of Probability 27:537–564), shared over the features and,
as 1/(t·(t+1)), over the steps. Those of drift were set by simulation; `benchmarks/hacking.py` counts false alarms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from journeyman.errors import InvalidInput
from journeyman.records import Frozen
from journeyman.rewards.watch_measures import Measures, Step, Sums, log_length, measure, tables_of, words_of

__all__ = [
    "Alarm", "Measures", "ReviewItem", "Step", "Thresholds", "WatchReport", "measure", "review_queue", "tables_of",
    "watch",
]  # fmt: skip


_WORD = "word "
"""What names of features that are words begin with."""


class Thresholds(Frozen):
    """From where on a signal is an alarm. Effects are in units of scores from 0 to 1, unless they say otherwise.

    `window` steps now are compared with the first `window`, and with the `window` before the last `lag`. `false_alarms`
    bounds the chance of a false alarm of each kind of bias over a whole run; `drift_z` is in standard errors, and must
    hold for `lasting` steps.
    """

    window: int = 5
    lag: int = 15
    lasting: int = 3
    drift_z: float = 5.0
    false_alarms: float = 0.01
    bias_effect: float = 0.05
    gap_effect: float = 0.05
    followed: float = 0.5
    criterion_fall: float = 0.1
    length_factor: float = 2.0
    habit_rise: float = 0.2
    similarity: float = 0.9
    similarity_rise: float = 0.15
    kl: float = 0.5


class Alarm(Frozen):
    """A signal beyond its threshold: first raised at `step`, on what began at `since`; `evidence` says what was seen.

    One that does not `freezes` is worth a look: replies may become longer for good reasons.
    """

    signal: str
    step: int
    since: int
    value: float
    threshold: float
    evidence: str
    word: str | None = None
    freezes: bool = True


class WatchReport(Frozen):
    """What the steps show. When it says so, `freeze` the run, and go back to `last_clean_step` (None: to the start)."""

    alarms: tuple[Alarm, ...]
    freeze: bool
    last_clean_step: int | None


class ReviewItem(Frozen):
    """An attempt that a person should read, and why."""

    step: int
    trajectory_id: str
    session: str
    reward: float
    reason: str


def watch(steps: Sequence[Measures], thresholds: Thresholds = Thresholds()) -> WatchReport:
    """Every alarm that the steps of a run, in order, would have raised, each at the step that raised it first."""
    numbers = [step.number for step in steps]
    if numbers != sorted(set(numbers)):
        raise InvalidInput(f"steps are watched in order, each once; these are {numbers}")
    raised: dict[str, Alarm] = {}
    biases, drifts = _BiasSoFar(thresholds), _Lasting(thresholds)
    for count in range(1, len(steps) + 1):
        seen = steps[:count]
        found = [*biases.add(seen[-1], count), *drifts.keep(seen), *_limits(seen, thresholds)]
        for alarm in found:
            raised.setdefault(alarm.signal, alarm)
    alarms = tuple(sorted(raised.values(), key=lambda alarm: alarm.step))
    onsets = [alarm.since for alarm in alarms if alarm.freezes]
    clean = [number for number in numbers if not onsets or number < min(onsets)]
    return WatchReport(alarms=alarms, freeze=bool(onsets), last_clean_step=clean[-1] if clean else None)


class _BiasSoFar:
    """Sums over the run, and since when each feature has been suspicious."""

    SUSPICIOUS = 2.0

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._bias: dict[str, Sums] = {}
        self._place: dict[str, Sums] = {}
        self._spread = (0.0, 0.0)
        self._since: dict[str, int] = {}

    def add(self, step: Measures, count: int) -> list[Alarm]:
        for kept, fresh in ((self._bias, step.bias), (self._place, step.place)):
            for name, sums in fresh.items():
                kept[name] = kept.get(name, Sums()).plus(sums)
        self._spread = (self._spread[0] + step.spread[0], self._spread[1] + step.spread[1])
        own, other = self._spread
        # Judges may use their scale more widely or more narrowly; within limits, that is no bias.
        scale = min(2.0, max(0.5, math.sqrt(own / other))) if own > 0 and other > 0 else 1.0
        words = {name: sums for name, sums in self._bias.items() if name != "length"}
        length = {name: sums for name, sums in self._bias.items() if name == "length"}
        return [
            *self._test("length bias", length, scale, step, count, sides=1),
            *self._test("word bias", words, scale, step, count, sides=1),
            *self._test("place bias", self._place, 0.0, step, count, sides=2),
        ]

    def _test(
        self, signal: str, features: dict[str, Sums], scale: float, step: Measures, count: int, sides: int
    ) -> list[Alarm]:
        if not features:
            return []
        allowed = self._thresholds.false_alarms / (len(features) * sides * count * (count + 1))
        bar = math.sqrt(2 * math.log(1 / allowed))
        worst: tuple[float, float, str] | None = None
        for name, sums in features.items():
            noise = sums.paid_squared - 2 * scale * sums.crossed + scale**2 * sums.due_squared
            if noise <= 1e-12 or sums.feature <= 1e-12:
                continue
            excess = sums.paid - scale * sums.due
            z, effect = excess / math.sqrt(noise), excess / sums.feature
            if sides == 2:
                z, effect = abs(z), abs(effect)
            if z < self.SUSPICIOUS:
                self._since.pop(name, None)
            else:
                self._since.setdefault(name, step.number)
            if z >= bar and effect >= self._thresholds.bias_effect and (worst is None or z > worst[0]):
                worst = (z, effect, name)
        if worst is None:
            return []
        z, effect, name = worst
        against = "than the order of the attempts can explain" if sides == 2 else "than the held-out judge"
        evidence = (
            f"{_feature_text(name)}: the training judge pays {effect:.3f} more {against}, {z:.1f} standard errors "
            f"(bar {bar:.1f})"
        )
        word = name.removeprefix(_WORD) if name.startswith(_WORD) else None
        return [
            Alarm(
                signal=signal, step=step.number, since=self._since[name], value=z, threshold=bar, evidence=evidence,
                word=word,
            )
        ]  # fmt: skip


def _feature_text(name: str) -> str:
    if name == "length":
        return "for e times as many words"
    if name.startswith(_WORD):
        return f"for the word {name.removeprefix(_WORD)!r}"
    places = {"later": "for each place further down", "first": "for being shown first", "last": "for being shown last"}
    return places[name]


@dataclass(frozen=True, slots=True)
class _Drift:
    """A signal beyond its threshold at one step."""

    signal: str
    z: float
    evidence: str


class _Lasting:
    """Lets an alarm through when its signal has been beyond its threshold for so many steps on end."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._streaks: dict[str, list[int]] = {}

    def keep(self, seen: Sequence[Measures]) -> list[Alarm]:
        found = {drift.signal: drift for drift in _drifts(seen, self._thresholds)}
        for signal in [each for each in self._streaks if each not in found]:
            del self._streaks[signal]
        alarms = []
        for signal, drift in found.items():
            streak = self._streaks.setdefault(signal, [])
            streak.append(len(seen))
            if len(streak) >= self._thresholds.lasting:
                # The window that first stood out reaches back; what it covers is not clean.
                since = seen[max(0, streak[0] - self._thresholds.window)].number
                evidence = f"{drift.evidence} ({drift.z:.1f} standard errors)"
                alarms.append(
                    Alarm(
                        signal=signal, step=seen[-1].number, since=since, value=drift.z,
                        threshold=self._thresholds.drift_z, evidence=evidence, freezes=signal != "length",
                    )
                )  # fmt: skip
        return alarms


def _drifts(seen: Sequence[Measures], limits: Thresholds) -> list[_Drift]:
    """Signals that stand out now against the start of the run, or against a while ago."""
    size = limits.window
    now = seen[-size:]
    found: list[_Drift] = []
    for then, name in ((seen[:size], "the start"), (seen[-limits.lag - size : -limits.lag], f"{limits.lag} steps ago")):
        if len(then) < size or then[-1].number >= now[0].number:
            continue
        found += _gaps(then, now, name, limits)
        found += _habits(then, now, name, limits)
    return found


def _gaps(then: Sequence[Measures], now: Sequence[Measures], name: str, limits: Thresholds) -> list[_Drift]:
    found = []
    rise, _ = _change(then, now, "reward")
    for other, said in (("held_out", "the held-out judge"), ("truth", "the truth")):
        if any(getattr(step, other) is None for step in (*then, *now)):
            continue
        followed, _ = _change(then, now, other)
        gap, z = _compared(*([gap for step in steps for gap in step.gaps[other]] for steps in (then, now)))
        if gap >= limits.gap_effect and z >= limits.drift_z and followed < limits.followed * max(rise, 0.0):
            evidence = f"since {name} the reward changed by {rise:+.3f} and {said} by {followed:+.3f}"
            found.append(_Drift(f"reward without {other.replace('_', '-')}", z, evidence))
    for criterion in now[-1].criteria:
        if any(criterion not in step.criteria for step in (*then, *now)):
            continue
        fall, z = _compared(_criterion(now, criterion), _criterion(then, criterion))
        if fall >= limits.criterion_fall and z >= limits.drift_z and rise >= limits.gap_effect:
            evidence = f"since {name} the reward rose by {rise:.3f} while {criterion} fell by {fall:.3f}"
            found.append(_Drift(f"falling criterion {criterion}", z, evidence))
    return found


def _habits(then: Sequence[Measures], now: Sequence[Measures], name: str, limits: Thresholds) -> list[_Drift]:
    found = []
    for field, said in (("repeats", "attempts that repeat a call"), ("no_ops", "tools' answers that give nothing")):
        rise, z = _change(then, now, field)
        if rise >= limits.habit_rise and z >= limits.drift_z:
            evidence = f"since {name} the share of {said} rose by {rise:.2f}"
            found.append(_Drift(field.replace("_", "-"), z, evidence))
    longer, z = _change(then, now, "length")
    if abs(longer) >= math.log(limits.length_factor) and abs(z) >= limits.drift_z:
        evidence = f"since {name} replies became {math.exp(longer):.2f} times as long"
        found.append(_Drift("length", abs(z), evidence))
    return found


def _limits(seen: Sequence[Measures], limits: Thresholds) -> list[Alarm]:
    """Invariants that need no comparison over time, or only with the start."""
    step, found = seen[-1], []
    if step.kl is not None and step.kl > limits.kl:
        evidence = f"the KL divergence to the base is {step.kl:.3f} nats per token"
        found.append(("kl", step.kl, limits.kl, evidence))
    start = [each.similarity for each in seen[: limits.window] if each.similarity is not None]
    recent = [each.similarity for each in seen[-limits.lasting :] if each.similarity is not None]
    if len(seen) > limits.window and start and len(recent) == limits.lasting:
        bar = max(limits.similarity, min(1.0, fmean(start) + limits.similarity_rise))
        if min(recent) >= bar:
            evidence = (
                f"replies to different inputs share {min(recent):.2f} of their words; {fmean(start):.2f} at the start"
            )
            found.append(("similarity", min(recent), bar, evidence))
    since = seen[max(0, len(seen) - limits.lasting)].number
    return [
        Alarm(signal=signal, step=step.number, since=since, value=value, threshold=bar, evidence=evidence)
        for signal, value, bar, evidence in found
    ]


def _change(then: Sequence[Measures], now: Sequence[Measures], field: str) -> tuple[float, float]:
    return _compared(*([value for step in steps for value in getattr(step, field)] for steps in (then, now)))


def _compared(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """The difference of two means, and that in standard errors (Welch); groups that all agree are not taken as sure."""
    if len(before) < 2 or len(after) < 2:
        return 0.0, 0.0
    difference = fmean(after) - fmean(before)
    error = math.sqrt(sum(max(_variance(each), SURE) / len(each) for each in (before, after)))
    return difference, difference / error


def _variance(values: Sequence[float]) -> float:
    middle = fmean(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)


SURE = 0.05**2
"""The least variance between groups that is believed."""


def _criterion(steps: Sequence[Measures], name: str) -> list[float]:
    return [value for step in steps for value in step.criteria[name]]


def review_queue(steps: Sequence[Step], report: WatchReport, size: int = 20) -> list[ReviewItem]:
    """Attempts that a person should read first: the best paid, those the judges disagree on most, and those that have
    what an alarm names. Each attempt once, with every reason; the newest steps first among equals."""
    alarmed = [alarm.word for alarm in report.alarms if alarm.word is not None]
    best: list[tuple[float, int, ReviewItem]] = []
    for step in steps:
        for number, group in enumerate(step.groups):
            for at, trajectory in enumerate(group.trajectories):
                reward = step.scores[step.reward][number][at]
                if reward is None:
                    continue
                due = None if step.held_out is None else step.held_out[number][at]
                urgency, reasons = float(reward), [f"reward {reward:.2f}"]
                if due is not None:
                    urgency += 2 * abs(reward - due)
                    reasons.append(f"held-out judge {due:.2f}")
                named = [word for word in alarmed if word in words_of(trajectory)]
                urgency += len(named)
                reasons += [f"says {word!r}" for word in named]
                if any(alarm.signal == "length bias" for alarm in report.alarms):
                    reasons.append(f"{math.expm1(log_length(trajectory)):.0f} words")
                item = ReviewItem(
                    step=step.number, trajectory_id=trajectory.id, session=trajectory.session, reward=reward,
                    reason=", ".join(reasons),
                )  # fmt: skip
                best.append((urgency, step.number, item))
    best.sort(key=lambda each: each[:2], reverse=True)
    return [item for _, _, item in best[:size]]
