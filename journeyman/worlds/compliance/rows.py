"""What a compliance run teaches: clean successes to imitate, and pairs of a clean and a violating attempt."""

from collections.abc import Sequence
from itertools import groupby

from journeyman.datasets.soundness import what_is_wrong
from journeyman.records import Message, Row
from journeyman.records.compliance import ComplianceReport
from journeyman.worlds.compliance.trying import Tried


def rows_of(runs: Sequence[tuple[ComplianceReport, Sequence[Tried]]]) -> tuple[list[Row], list[Row]]:
    """Rows for SFT (successes without a violation) and rows of preferences, from any number of runs of one pack.

    A pair is two attempts at the same scene: `rejected` ends with the message that first violated a rule. Where both
    are the same up to there, the better reply is the very next one. Attempts that say the same are taken once. The
    source of a row names the report, the scene, the attempt, and for a pair the rule.
    """
    attempts = sorted(
        ((report, each) for report, tried in runs for each in tried), key=lambda pair: pair[1].scenario.id
    )
    wins: dict[tuple[Message, ...], Row] = {}
    pairs: dict[tuple[tuple[Message, ...], tuple[Message, ...]], Row] = {}
    for _, group in groupby(attempts, key=lambda pair: pair[1].scenario.model_dump_json()):
        together = list(group)
        clean = [(report, each) for report, each in together if _is_win(report, each)]
        for report, each in clean:
            messages = each.trajectory.messages
            if what_is_wrong(messages) is None:
                wins.setdefault(messages, _row(report, each, messages))
        for report, each in together:
            rule, place = _first_violation(report, each)
            for won, better in clean[:1] if place is not None else ():
                chosen, rejected = _pair(better.trajectory.messages, each.trajectory.messages, place or 0)
                if what_is_wrong(chosen) is None and what_is_wrong(rejected) is None:
                    row = _row(won, better, chosen)
                    source = f"{row.source} rather than {_source(report, each)} ({rule})"
                    kept = row.model_copy(update={"rejected": rejected, "source": source})
                    pairs.setdefault((chosen, rejected), kept)
    return list(wins.values()), list(pairs.values())


def _is_win(report: ComplianceReport, tried: Tried) -> bool:
    return tried.attempt in report.wins.get(tried.scenario.id, ())


def _first_violation(report: ComplianceReport, tried: Tried) -> tuple[str, int | None]:
    """The rule that was first violated in this attempt, and the message that did it."""
    found = [
        (finding.message, finding.rule)
        for finding in report.findings
        if (finding.scenario_id, finding.attempt) == (tried.scenario.id, tried.attempt) and finding.message is not None
    ]
    return (min(found)[1], min(found)[0]) if found else ("", None)


def _pair(
    better: tuple[Message, ...], worse: tuple[Message, ...], violating: int
) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    same = next((at for at, (one, other) in enumerate(zip(better, worse, strict=False)) if one != other), len(better))
    return (better[: same + 1] if same == violating else better), worse[: violating + 1]


def _row(report: ComplianceReport, tried: Tried, messages: tuple[Message, ...]) -> Row:
    return Row(
        messages=messages, tools=tried.trajectory.tools, score=None, conversation=f"compliance/{tried.scenario.id}",
        source=_source(report, tried),
    )  # fmt: skip


def _source(report: ComplianceReport, tried: Tried) -> str:
    return f"compliance/{report.id}/{tried.scenario.id}/{tried.attempt}"
