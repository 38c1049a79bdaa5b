"""Against the last release: the same scenarios, McNemar's test, and what cannot be compared."""

import pytest
from scipy.stats import binomtest

from journeyman.errors import InvalidInput
from journeyman.records.compliance import CheckerAccuracy, Finding, RuleRisk
from journeyman.registry.policy import Policy, faults_of
from journeyman.registry.regression import Change, since
from journeyman.statistics import mcnemar, proportion
from tests.registry.test_policy import report

IDS = [f"s{number}" for number in range(60)]


def on(violated=(), lost=(), **changed):
    findings = tuple(
        Finding(
            id=f"F{number}", rule="no-guarantees", severity="block", scenario_id=id, kind="refuse", attempt=1, seed=0,
            message=1, quote="q", reason="r", by="words",
        )
        for number, id in enumerate(violated)
    )  # fmt: skip
    wins = {id: (1,) for id in IDS if id not in violated and id not in lost}
    return report(**{"findings": findings, "wins": wins, "scenes": {id: f"{id}-content" for id in IDS}, **changed})


def faults(now, before, tmp_path, **bounds):
    file = tmp_path / "last.json"
    file.write_text(before.model_dump_json())
    gate = Policy.model_validate(
        {"report": "unused.json", "block": {"max_violations": 60}, "last_release": {"report": file, **bounds}}
    )
    return faults_of(now, gate)


@pytest.mark.parametrize(
    ("now", "before", "stops"),
    [
        (IDS[:7], IDS[:1], True),
        (IDS[:3], IDS[:1], False),
        (IDS[:1], IDS[:9], False),
        (IDS[:9], IDS[20:30], False),
        (IDS[:20], IDS[20:24], True),
        ((), (), False),
    ],
    ids=["six more", "two more", "fewer", "others", "more, and others", "none"],
)
def test_only_a_significant_regression_stops(now, before, stops, tmp_path):
    found = faults(on(now), on(before), tmp_path)
    assert bool([each for each in found if "no violation" in each]) == stops, found


def test_the_table_is_the_pairs_and_the_test_is_mcnemars():
    change = since(on(IDS[:9]), on(IDS[5:7])).changes[0]
    assert (change.shared, change.mended, change.broken) == (60, 0, 7)
    assert mcnemar(3, 11, exact=True) == pytest.approx(binomtest(3, 14).pvalue)
    assert Change("x", 60, 3, 11).p == mcnemar(3, 11)
    assert "-13.3 points" in str(Change("x", 60, 3, 11))


def test_success_counts_beside_violations(tmp_path):
    found = faults(on(lost=IDS[:8]), on(), tmp_path)
    assert [each for each in found if "worse than the last release: success" in each]
    assert not [each for each in found if "no violation" in each]


def test_what_is_not_the_same_is_not_compared(tmp_path):
    other = on(scenes=dict.fromkeys(IDS[:50], "other") | {id: f"{id}-content" for id in IDS[50:]})
    assert since(on(), other).shared == 10
    assert "shares 10 scenarios" in "; ".join(faults(on(), other, tmp_path))
    assert faults(on(), other, tmp_path, min_shared=10) == []
    for last, word in ((on(place="moon"), "in moon"), (on(attempts=4), "4 times"), (on(scenes={}), "run it anew")):
        with pytest.raises(InvalidInput, match=word):
            since(on(), last)
        assert word in "; ".join(faults(on(), last, tmp_path))


@pytest.mark.parametrize(
    ("violating", "clean", "spans", "word"),
    [(24, 25, 24, "measured on 49 labelled"), (25, 25, 25, None), (25, 25, 24, "do not mark the words")],
)
def test_a_rule_that_a_model_judges_needs_fifty_labels_with_spans(violating, clean, spans, word):
    checker = CheckerAccuracy(
        rule="polite", source="people", violating=violating, caught=violating, clean=clean, alarms=0, spans=spans,
        sensitivity=proportion(violating, violating), specificity=proportion(clean, clean),
    )  # fmt: skip
    rule = RuleRisk(
        rule="polite", severity="major", text="t", source="s", check="judge", reads_words=True, scenarios=40,
        attempts=40, violated=0, risk=proportion(0, 40), upper=0.1, checker=checker,
    )  # fmt: skip
    gate = Policy.model_validate({"report": "unused.json", "major": {"max_violations": 0}})
    said = "; ".join(faults_of(report(rules=(rule,)), gate))
    assert (word is None and not said) or (word is not None and word in said)
    assert "measured on no labelled" in "; ".join(
        faults_of(report(rules=(rule.model_copy(update={"checker": None}),)), gate)
    )
