"""Where a difference comes from: the same comparison within each kind of case and each tag."""

from collections.abc import Iterable, Sequence

from journeyman.records import CaseResult, ModelReport
from journeyman.records.evaluation import SliceDifference
from journeyman.statistics import benjamini_hochberg, mcnemar, paired_difference

Outcomes = Sequence[tuple[str, tuple[str, ...], bool, bool]]
"""For each case: its kind, its tags, and whether it was fixed, or broken."""


def compare_slices(model: ModelReport, baseline: ModelReport) -> tuple[SliceDifference, ...]:
    """How much better `model` did than `baseline` in every slice of the cases that both met."""
    before = {case.scenario_id: case.success for case in baseline.cases}
    outcomes = [
        (
            case.kind,
            case.tags,
            case.success and not before[case.scenario_id],
            before[case.scenario_id] and not case.success,
        )
        for case in model.cases
    ]
    return slice_differences(model.model, baseline.model, outcomes)


def slice_differences(model: str, baseline: str, outcomes: Outcomes) -> tuple[SliceDifference, ...]:
    """The differences by slice, with p-values corrected for how many slices were looked at."""
    found: dict[str, list[tuple[bool, bool]]] = {}
    for kind, tags, fixed, broken in outcomes:
        for name in names_of(kind, tags):
            found.setdefault(name, []).append((fixed, broken))
    # A slice that holds every case is the whole, which the report shows already.
    slices = {name: pairs for name, pairs in sorted(found.items()) if len(pairs) < len(outcomes)}
    counts = [(sum(one for one, _ in pairs), sum(other for _, other in pairs)) for pairs in slices.values()]
    p_values = [mcnemar(fixed, broken) for fixed, broken in counts]
    return tuple(
        SliceDifference(
            model=model,
            baseline=baseline,
            slice=name,
            cases=len(slices[name]),
            difference=paired_difference(fixed, broken, len(slices[name])),
            fixed=fixed,
            broken=broken,
            p=p,
            adjusted_p=adjusted,
        )
        for name, (fixed, broken), p, adjusted in zip(
            slices, counts, p_values, benjamini_hochberg(p_values), strict=True
        )
    )


def names_of(kind: str, tags: Iterable[str]) -> list[str]:
    """The slices that a case belongs to."""
    return [f"kind {kind}", *(f"tag {tag}" for tag in dict.fromkeys(tags))]


def by_slice(cases: Sequence[CaseResult]) -> dict[str, list[CaseResult]]:
    """The cases of every slice."""
    found: dict[str, list[CaseResult]] = {}
    for case in cases:
        for name in names_of(case.kind, case.tags):
            found.setdefault(name, []).append(case)
    return dict(sorted(found.items()))
