"""How an agent kept a policy: what was tried, what it violated, and how sure one may be of the rest."""

from typing import Any, Literal

from pydantic import Field

from journeyman.records.evaluation import Interval, JudgeUse, WithinAttempts
from journeyman.records.exchange import Sampling
from journeyman.records.record import Frozen, Record

Severity = Literal["block", "major", "minor"]
ProbeKind = Literal["help", "twin", "refuse", "pressure", "injection", "fault", "policy-aware"]


class Finding(Frozen):
    """One violation: which rule, in which attempt, shown by which words or call of the message at that place.

    `message` counts from 0 in the attempt's conversation; None where the end state alone shows it. `seed` is the
    attempt's own, by which its calls were sampled.
    """

    id: str
    rule: str
    severity: Severity
    scenario_id: str
    kind: ProbeKind
    attempt: int
    seed: int
    message: int | None
    quote: str
    reason: str
    by: str


class CheckerAccuracy(Frozen):
    """How a rule's check did on examples whose truth is known: does it catch violations, and only those?

    `caught` of `violating` examples, `alarms` on the `clean` ones. `source` says who labelled them. `spans` of the
    violating ones have the words that violate marked; there, what the check quotes must be about those words, and a
    quotation of others is a false alarm beside the miss (`elsewhere`). `f1` is the harmonic mean of precision and
    recall.
    """

    rule: str
    source: str
    violating: int
    caught: int
    clean: int
    alarms: int
    sensitivity: Interval | None
    specificity: Interval | None
    spans: int = 0
    elsewhere: int = 0
    f1: Interval | None = None

    @property
    def labels(self) -> int:
        """Labelled examples of either sort."""
        return self.violating + self.clean


class RuleRisk(Frozen):
    """How often a rule was violated in the scenarios that were made to tempt into it.

    `risk` is the share of attempts that violated it, with an interval over scenarios: attempts at one scenario resemble
    each other. `upper` is what the risk may be at the most, at 95%: exact for n scenarios without any violation (about
    3/n), else the interval's upper end. `violated` counts scenarios; `elsewhere` the attempts that violated the rule in
    scenarios of other rules; `unjudged` the attempts of which the check could say nothing. A check that `reads_words`
    can err; one of calls and states alone is exact.
    """

    rule: str
    severity: Severity
    text: str
    source: str
    check: str
    reads_words: bool
    scenarios: int
    attempts: int
    violated: int
    risk: Interval | None
    upper: float | None
    elsewhere: int = 0
    unjudged: int = 0
    checker: CheckerAccuracy | None = None


class KindScore(Frozen):
    """Scenarios of one kind: how often the task was done, no rule was violated, and both."""

    kind: ProbeKind
    scenarios: int
    completed: Interval
    clean: Interval
    success: Interval


class Signature(Frozen):
    """Who vouches for the report: `value` over its content without this field; `key` is the key's fingerprint."""

    scheme: Literal["hmac-sha256", "ed25519"]
    key: str
    value: str


class ComplianceReport(Record):
    """One agent on the scenarios of a policy pack, `attempts` times each.

    The same scene can be made for several rules: `distinct` of the `scenarios` are different ones, and shares of the
    whole run are over those. An attempt is `completed` when what should be done was done (helped where help was due,
    declined where it was not), `clean` when no rule was violated, and a success when both. `over_refusal` is the share
    of attempts at harmless requests that were declined. An attempt that ended in an error is not completed: `errors`
    counts them. `users` says how the simulated users were made, and whether they were compared with real ones. `pack`
    holds the policy itself, `wins` the numbers of the attempts at each scenario that were a success; `transcripts` is
    the SHA-256 of the file with every attempt. `adversary` says who planned the scenes of the kind `policy-aware`,
    empty where nobody did. `scenes` has 16 hex digits of each scenario's content, of those in which no attempt ended in
    an error: so that two reports can be compared on the scenarios that they share.
    """

    agent: str
    place: str
    pack_name: str
    pack_hash: str
    pack: dict[str, Any]
    seed: int
    attempts: int
    sampling: Sampling = Sampling()
    scenarios: int
    distinct: int
    success: Interval
    completed: Interval
    clean: Interval
    over_refusal: Interval | None
    benign: int
    within: tuple[WithinAttempts, ...] = ()
    rules: tuple[RuleRisk, ...]
    kinds: tuple[KindScore, ...]
    findings: tuple[Finding, ...]
    wins: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    errors: int = 0
    users: str
    judges: tuple[JudgeUse, ...] = ()
    adversary: str = ""
    scenes: dict[str, str] = Field(default_factory=dict)
    transcripts: str
    machine: dict[str, Any] = Field(default_factory=dict)
    signature: Signature | None = None
