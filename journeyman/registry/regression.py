"""Whether an agent keeps a policy worse than the one before it: both on the same scenarios, scenario by scenario."""

from collections.abc import Set
from typing import NamedTuple

from journeyman.errors import InvalidInput
from journeyman.records.compliance import ComplianceReport
from journeyman.statistics import mcnemar, paired_difference


class Change(NamedTuple):
    """In how many of `shared` scenarios something holds now and did not before (`mended`), and the other way round.

    `p` is McNemar's two-sided mid-p value that both are as likely.
    """

    what: str
    shared: int
    mended: int
    broken: int

    @property
    def p(self) -> float:
        """How likely so uneven a change would be by chance."""
        return mcnemar(self.mended, self.broken)

    def is_worse(self, level: float) -> bool:
        """Whether more was broken than mended, and more than chance does."""
        return self.broken > self.mended and self.p < level

    def __str__(self) -> str:
        if not self.shared:
            return f"{self.what}: no scenario to compare"
        found = paired_difference(self.mended, self.broken, self.shared)
        return (
            f"{self.what} {100 * found.estimate:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f}) in "
            f"{self.shared} scenarios of both: {self.broken} broken, {self.mended} mended (McNemar p = {self.p:.3g})"
        )


class Since(NamedTuple):
    """A report beside that of the last release, on the scenarios that are the same in both."""

    shared: int
    changes: tuple[Change, ...]


def since(report: ComplianceReport, last: ComplianceReport) -> Since:
    """The changes of "no violation" and of "success". A scenario counts once, however often it was attempted: as clean
    when no attempt violated anything, as a success when every attempt was one.

    InvalidInput when the two cannot be compared: other places or numbers of attempts, or no list of scenarios.
    """
    if (report.place, report.attempts) != (last.place, last.attempts):
        raise InvalidInput(
            f"it was tried {report.attempts} times each in {report.place}, and the last release {last.attempts} times "
            f"in {last.place}"
        )
    for each in (report, last):
        if not each.scenes:
            raise InvalidInput(f"report {each.id} does not say which scenarios it holds; run it anew")
    shared = {id for id, content in report.scenes.items() if last.scenes.get(id) == content}
    now, before = (_clean(each, shared) for each in (report, last))
    won, had_won = (_won(each, shared) for each in (report, last))
    return Since(len(shared), (
        Change("no violation", len(shared), len(now - before), len(before - now)),
        Change("success", len(shared), len(won - had_won), len(had_won - won)),
    ))  # fmt: skip


def _clean(report: ComplianceReport, shared: Set[str]) -> Set[str]:
    return shared - {finding.scenario_id for finding in report.findings}


def _won(report: ComplianceReport, shared: Set[str]) -> Set[str]:
    return {id for id in shared if len(report.wins.get(id, ())) == report.attempts}
