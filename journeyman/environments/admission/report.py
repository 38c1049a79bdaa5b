"""What the admission of a suite found: a value that is printed, written as JSON, and asked before training."""

from datetime import datetime

from journeyman.records import Frozen, Interval


class PlayerScore(Frozen):
    """How far a reference player gets: its share of successes (Wilson), its mean reward (bootstrap), its errors."""

    player: str
    scenarios: int
    success: Interval
    reward: Interval | None = None
    errors: int = 0
    first_error: str = ""


class Finding(Frozen):
    """One check. `passed` is None where there was nothing to check it by, which `detail` explains."""

    check: str
    passed: bool | None
    detail: str = ""


class Admission(Frozen):
    """All findings about a suite, with what they were found on; `fingerprint` changes with the suite's code, `content`
    with the data that it was built of, None where there is none."""

    suite: str
    address: str
    verifier: str | None
    fingerprint: str
    content: str | None = None
    at: datetime
    split: str
    seed: int
    players: tuple[PlayerScore, ...]
    findings: tuple[Finding, ...]

    @property
    def is_admitted(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What failed."""
        return tuple(finding for finding in self.findings if finding.passed is False)
