"""Where a difference comes from: the same comparison within each kind of case and each tag."""

from collections.abc import Iterable, Sequence

from journeyman.records import CaseResult, ModelReport
from journeyman.records.evaluation import SliceDifference
from journeyman.statistics import benjamini_hochberg, difference_of_rates, mcnemar

Outcomes = Sequence[tuple[str, tuple[str, ...], float, float]]
"""For each case: its kind, its tags, and how often the one and the other model succeeded, from 0 to 1."""


def compare_slices(model: ModelReport, baseline: ModelReport) -> tuple[SliceDifference, ...]:
    """How much better `model` did than `baseline` in every slice of the cases that both met."""
    before = {case.scenario_id: case.rate for case in baseline.cases}
    outcomes = [(case.kind, case.tags, case.rate, before[case.scenario_id]) for case in model.cases]
    return slice_differences(model.model, baseline.model, outcomes)


def slice_differences(model: str, baseline: str, outcomes: Outcomes) -> tuple[SliceDifference, ...]:
    """The differences by slice, with p-values corrected for how many slices were looked at."""
    found: dict[str, list[tuple[float, float]]] = {}
    for kind, tags, one, other in outcomes:
        for name in names_of(kind, tags):
            found.setdefault(name, []).append((one, other))
    # A slice that holds every case is the whole, which the report shows already.
    slices = {name: pairs for name, pairs in sorted(found.items()) if len(pairs) < len(outcomes)}
    compared = [difference_of_rates(pairs) for pairs in slices.values()]
    p_values = [mcnemar(each.fixed, each.broken) for each in compared]
    return tuple(
        SliceDifference(
            model=model,
            baseline=baseline,
            slice=name,
            cases=len(slices[name]),
            p=p,
            adjusted_p=adjusted,
            **each._asdict(),
        )
        for name, each, p, adjusted in zip(slices, compared, p_values, benjamini_hochberg(p_values), strict=True)
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
