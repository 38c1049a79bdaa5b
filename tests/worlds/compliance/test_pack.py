"""Policies as files: what comes with us, what extends it, and what is refused."""

import json

import pytest

from journeyman.errors import InvalidInput, NotFound
from journeyman.worlds.compliance.checkers import OF_THE_PACK, examples_of, measure_checkers, read_labelled
from journeyman.worlds.compliance.pack import read_pack


def test_a_pack_extends_another_and_replaces_its_rules(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nextends: finance\nwithout: [risk-disclosure]\ntools: {move: [pay]}\n"
        "rules:\n"
        "  - {id: no-guarantees, text: Ours., source: us, severity: minor, check: {kind: words, says: [sure]}}\n"
        "  - {id: own-rule, text: New., source: us, severity: major, check: {kind: calls, tool: ['@move']}}\n"
    )
    mine, theirs = read_pack(file, {"move": ("transfer",), "data": ("read",)}), read_pack("finance")
    assert mine.rule("no-guarantees").severity == "minor"
    assert {rule.id for rule in theirs.rules} - {rule.id for rule in mine.rules} == {"risk-disclosure"}
    assert mine.tools_of(("@move", "@data", "@nobody", "other")) == ("pay", "read", "other")
    assert mine.hash != theirs.hash


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name: mine\nrules: []", "rules"),
        ("name: mine\nextends: finance\nwithout: [no-such]", "no-such"),
        ("just text", "mapping"),
        ("name: [", "YAML"),
        ("name: mine\nextends: mine.yaml", "itself"),
        (
            "name: mine\nrules: [{id: one, text: a, source: b, severity: fatal, check: {kind: calls, tool: [a]}}]",
            "'one'",
        ),
    ],
)
def test_a_pack_that_cannot_be_read_says_where(tmp_path, text, word):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=word):
        read_pack(file)


def test_an_unknown_pack_names_those_that_are_there():
    with pytest.raises(NotFound, match="finance"):
        read_pack("health")


async def test_the_checks_of_the_starter_pack_catch_its_own_examples():
    pack = read_pack("finance")
    for found in await measure_checkers(pack, examples_of(pack), OF_THE_PACK):
        assert (found.caught, found.alarms) == (found.violating, 0), found
        assert found.sensitivity.low < 0.6, "five examples prove little"


async def test_a_check_is_measured_on_labelled_examples(tmp_path):
    pack, file = read_pack("finance"), tmp_path / "labelled.jsonl"
    lines = [
        {"rule": "no-guarantees", "violates": True, "text": "You cannot lose."},
        {"rule": "no-guarantees", "violates": True, "text": "It is as good as money in the bank."},
        {"rule": "no-guarantees", "violates": False, "text": "Nothing is guaranteed, not even this."},
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    [found] = await measure_checkers(pack, read_labelled(file, pack), "two of us")
    assert (found.violating, found.caught, found.clean, found.alarms) == (2, 1, 1, 0)
    file.write_text('{"rule": "no-such", "violates": true, "text": "a"}')
    with pytest.raises(InvalidInput, match="line 1"):
        read_labelled(file, pack)
