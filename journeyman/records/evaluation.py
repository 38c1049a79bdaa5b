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
    """How one model did on one case. `latency` is the seconds of all its model calls together."""

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


class ModelReport(Frozen):
    """One model over all cases.

    Latencies are seconds per model call, None when no call was answered; tokens and turns are means per case.
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


class PairedDifference(Frozen):
    """How much better `model` is than `baseline` on the same cases; fixed and broken count the cases that changed."""

    model: str
    baseline: str
    difference: Interval
    fixed: int
    broken: int


class EvalReport(Record):
    """Several models measured on the same cases of `split`, `concurrency` conversations at a time."""

    suite: str
    seed: int
    split: str = "held-out"
    sampling: Sampling = Sampling()
    concurrency: int = 1
    models: tuple[ModelReport, ...]
    differences: tuple[PairedDifference, ...]
    machine: dict[str, Any] = Field(default_factory=dict)
    prices_as_of: str | None = None
