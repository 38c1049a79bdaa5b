"""What was measured of several models on the same cases, with intervals."""

from typing import Any

from pydantic import Field

from journeyman.records.exchange import Sampling
from journeyman.records.record import Frozen, Record


class Interval(Frozen):
    """An estimate with its 95% confidence interval."""

    estimate: float
    low: float
    high: float


class CaseResult(Frozen):
    """How one model did on one case. `latency` is the seconds of all its model calls together.

    `tags` are the slices that the case belongs to besides its kind; `retries` counts calls that were tried again.
    A case that was tried several times is a success if all `attempts` were, `successes` of them; the rest is that of
    attempt number `attempt`, the first that failed, or the first.
    """

    scenario_id: str
    kind: str
    success: bool
    reason: str
    turns: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    latency: float
    session: str
    error: str | None = None
    tags: tuple[str, ...] = ()
    retries: int = 0
    attempt: int = 1
    attempts: int = 1
    successes: int | None = None

    @property
    def rate(self) -> float:
        """The share of its attempts that succeeded."""
        return (int(self.success) if self.successes is None else self.successes) / self.attempts


class WithinAttempts(Frozen):
    """The chance that at least one of `k` attempts at a case succeeds (pass@k), and that all of them do (pass^k)."""

    k: int
    at_least_one: Interval
    all_of_them: Interval


class PeopleSaid(Frozen):
    """The success rate that people would have found: some of them labelled some cases, and correct the judge's rest.

    `labels` counts what people labelled, `agreed` where the judge said the same, `judged` the cases it judged alone.
    """

    success: Interval
    labels: int
    agreed: int
    judged: int


class PeoplePreferred(Frozen):
    """Wins minus losses as people would have counted them: they labelled some pairs, and correct the judge's rest.

    `labels` counts what people labelled, `agreed` where the judge said the same, `judged` the pairs it judged alone.
    """

    net: Interval
    labels: int
    agreed: int
    judged: int


class ModelReport(Frozen):
    """One model over all cases.

    Latencies are seconds per model call, None when no call was answered; tokens and turns are means per case.
    `cost` and `latency` are means with their intervals, in US dollars per 1,000 cases and in seconds per call; None
    when a case has no price, when no call was answered, or when there are too few cases for an interval.
    """

    model: str
    success: Interval
    turns: float
    prompt_tokens: float
    completion_tokens: float
    cost_usd_per_thousand: float | None
    latency_p50: float | None
    latency_p95: float | None
    errors: int
    cases: tuple[CaseResult, ...]
    cost: Interval | None = None
    latency: Interval | None = None
    retries: int = 0
    within: tuple[WithinAttempts, ...] = ()
    people: PeopleSaid | None = None


class PairedDifference(Frozen):
    """How much better `model` is than `baseline` on the same cases; fixed and broken count the cases that changed.

    Of cases that were tried several times, those that succeeded more often and less often. `detectable` is the
    smallest difference that the cases show four times of five; None where the interval is `anytime` valid: it then
    holds however often it was looked at, and whenever the evaluation stopped.
    """

    model: str
    baseline: str
    difference: Interval
    fixed: int
    broken: int
    detectable: float | None = None
    anytime: bool = False


class SliceDifference(PairedDifference):
    """A paired difference on some of the cases, such as those of one kind or with one tag.

    `adjusted_p` is McNemar's p-value after Benjamini and Hochberg's correction for the number of slices of this pair.
    """

    slice: str
    cases: int
    p: float
    adjusted_p: float


class JudgeUse(Frozen):
    """Who judged, by which rubric, and how often its answer could be read.

    `rubrics` are hashes. `answers` counts everything that the judge said, `unreadable` what was no verdict in the form
    that was asked for, `lost` the judgements that stayed unread after asking once more.
    """

    model: str
    rubrics: tuple[str, ...]
    judgements: int
    answers: int
    unreadable: int
    lost: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None


class EvalReport(Record):
    """Several models measured on the same cases of `split`, `concurrency` conversations at a time.

    `left` counts, by model, the cases that the cost ceiling kept from being measured; the report is about those that
    every model finished. `prices` says what a million tokens of each model cost, and who says so. `planned` is how
    many cases there would have been, where the evaluation could stop as soon as it knew. `labelled_from` is the report
    whose cases people labelled, `labels_hash` what they said.
    """

    suite: str
    seed: int
    split: str = "held-out"
    sampling: Sampling = Sampling()
    concurrency: int = 1
    models: tuple[ModelReport, ...]
    differences: tuple[PairedDifference, ...]
    machine: dict[str, Any] = Field(default_factory=dict)
    prices_as_of: str | None = None
    suite_hash: str = ""
    slices: tuple[SliceDifference, ...] = ()
    judge: JudgeUse | None = None
    prices: dict[str, str] = Field(default_factory=dict)
    ceiling_usd: float | None = None
    spent_usd: float | None = None
    left: dict[str, int] = Field(default_factory=dict)
    resumed: int = 0
    attempts: int = 1
    planned: int | None = None
    labelled_from: str | None = None
    labels_hash: str | None = None


class Duel(Frozen):
    """Two models' answers to one case, judged in both orders: `won` is 1, 0 for a tie, −1, or None when unread.

    `forward` and `backward` are the verdicts with the first model's answer shown first and second.
    """

    scenario_id: str
    kind: str
    tags: tuple[str, ...] = ()
    won: int | None
    forward: int | None
    backward: int | None
    reason: str
    lengths: tuple[int, int]
    error: str | None = None


class VersusReport(Record):
    """Head to head: how often `model` beats `opponent` in a judge's eyes; disagreement between the orders is a tie.

    `net` is wins minus losses over judged cases. `equal_length` is the share of wins (ties half) that is expected
    where both answers are equally long. `first_place` is how often the answer shown first won, of the decided verdicts.
    `planned` is how many cases there would have been, where it stopped as soon as it knew: `net` then has an interval
    that holds however often it was looked at. `people` is what people's labels make of it, in a report that was
    `labelled_from` another one.
    """

    model: str
    opponent: str
    suite: str
    suite_hash: str
    seed: int
    split: str
    sampling: Sampling = Sampling()
    concurrency: int = 1
    judge: JudgeUse
    wins: int
    ties: int
    losses: int
    disagreements: int
    unjudged: int
    net: Interval | None
    p: float
    first_place: Interval | None
    equal_length: Interval | None
    duels: tuple[Duel, ...]
    slices: tuple[SliceDifference, ...] = ()
    machine: dict[str, Any] = Field(default_factory=dict)
    prices_as_of: str | None = None
    prices: dict[str, str] = Field(default_factory=dict)
    cost_usd: float | None = None
    planned: int | None = None
    people: PeoplePreferred | None = None
    labelled_from: str | None = None
    labels_hash: str | None = None
