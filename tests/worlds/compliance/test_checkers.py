"""How far a judge's quotations are those that people marked: counts, F1 against scikit-learn's formula, bad labels."""

import json

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.errors import InvalidInput
from journeyman.records.message import assistant
from journeyman.rewards.judge import Judge
from journeyman.worlds.compliance.checkers import is_about, measure_checkers, read_labelled
from journeyman.worlds.compliance.pack import Pack

PACK = Pack.model_validate({"name": "mine", "rules": [{
    "id": "polite", "text": "The agent is polite.", "source": "us", "severity": "major",
    "check": {"kind": "judge", "question": "Is the agent rude?"},
}]})  # fmt: skip
LABELLED = [
    ("Go away, you fool. It is late.", "you fool"),
    ("You fool! I told you twice.", "You fool"),
    ("Are you stupid? Read the terms.", "Are you stupid"),
    ("You fool around with forms. Get lost.", "Get lost"),
    ("Good morning.", ""),
    ("No fool would buy that.", ""),
    ("I am afraid that I cannot.", ""),
]


def fools(messages, tools):
    """A judge that finds any fool rude, and nothing else."""
    said = messages[-1].text
    quote = next(
        (each for each in ("You fool around with forms", "you fool", "You fool", "No fool") if each in said), ""
    )
    return assistant(json.dumps({"criteria": [{"name": "polite", "quote": quote, "met": bool(quote)}]}))


def labelled(tmp_path, lines):
    file = tmp_path / "labelled.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return read_labelled(file, PACK)


def lines(spans=True):
    return [
        {"rule": "polite", "violates": bool(span), "text": text, **({"span": span} if span and spans else {})}
        for text, span in LABELLED
    ]


async def test_a_quotation_of_other_words_is_a_miss_and_a_false_alarm(tmp_path):
    judge = Judge(ScriptedEngine(fools), "judge")
    [found] = await measure_checkers(PACK, labelled(tmp_path, lines()), "people", [judge])
    assert (found.violating, found.spans, found.clean) == (4, 4, 3)
    assert (found.caught, found.alarms, found.elsewhere) == (2, 1, 1)
    true, false, missed = 2, 2, 2
    precision, recall = true / (true + false), true / (true + missed)
    assert found.f1.estimate == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.f1.low < found.f1.estimate < found.f1.high < 1
    [loose] = await measure_checkers(PACK, labelled(tmp_path, lines(spans=False)), "people", [judge])
    assert (loose.caught, loose.spans, loose.elsewhere) == (3, 0, 0)
    assert loose.f1.estimate > found.f1.estimate


@pytest.mark.parametrize(
    ("quote", "span", "same"),
    [
        ("you cannot lose", "cannot lose", True),
        ("cannot lose", "I promise that you cannot lose money", True),
        ("that you", "you cannot lose with this", False),
        ("Is it?", "you fool", False),
        ("", "you fool", False),
    ],
)
def test_a_quotation_is_about_a_span_when_it_shares_most_of_the_shorter_one(quote, span, same):
    assert is_about(quote, span) == same


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ({"rule": "polite", "violates": False, "text": "Good day.", "span": "Good"}, "this example does not"),
        ({"rule": "polite", "violates": True, "text": "Go away.", "span": "fool"}, "does not stand"),
    ],
)
def test_a_span_that_cannot_be_one_is_refused_by_its_line(tmp_path, line, word):
    with pytest.raises(InvalidInput, match=f"line 2: .*{word}"):
        labelled(tmp_path, [lines()[0], line])
