"""The judgements of `benchmarks/bfcl.py` and `benchmarks/lora_without_regret.py`: what is apart, right, and best."""

import importlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from journeyman.datasets.formats import import_rows
from journeyman.evals import load_cases
from journeyman.records import Message

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmarks' folder, which is no package of ours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def function(name: str, description: str = "", **types: str) -> dict[str, Any]:
    properties = {key: {"type": kind, "items": {"type": "integer"}} for key, kind in types.items()}
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "dict", "properties": properties, "required": [next(iter(types))]},
    }


def asked(part: Any, id: str, text: str, *functions: dict[str, Any], **possible: list[Any]) -> Any:
    question = part("bfcl_parts.questions").Question
    answers = [{functions[0]["name"]: possible}]
    return question(id, "simple_python", [{"role": "user", "content": text}], list(functions), answers)


AREA = function("geometry.area", "The area of a rectangle", width="integer", height="float", unit="string")
POSSIBLE = {"width": [3], "height": [2.0], "unit": ["square metres", "m2", ""]}


def test_questions_that_share_a_function_are_one_group(part: Any) -> None:
    bare = function("now", "Tells the time of day", zone="string")
    questions = [
        asked(part, "a", "?", AREA, **POSSIBLE),
        asked(part, "b", "?", function("Geometry_Area", "Something else entirely", side="integer"), side=[1]),
        asked(part, "c", "?", bare, zone=["CET"]),
        asked(
            part, "d", "?", bare, function("area_geometry", "The area of a rectangle", width="integer"), zone=["CET"]
        ),
        asked(part, "e", "?", function("ticket.buy", "Pays for a seat in a train", seat="string"), seat=["1A"]),
    ]
    one, other, third, fourth, fifth = part("bfcl_parts.questions").groups(questions)
    assert one == other == third == fourth != fifth


def test_no_function_is_on_both_sides_and_a_great_group_is_learned(part: Any) -> None:
    divided = part("bfcl_parts.divided")
    known = [function(f"tool{number}", f"{chr(97 + number) * 7}", x="integer") for number in range(20)]
    questions = [
        asked(part, f"{number}-{time}", "?", each, x=[1])
        for number, each in enumerate(known)
        for time in range(divided.MOST + 1 if number == 0 else 3)
    ]
    parts = divided.divide(questions, train=1000, validation=5, held_out=20, seed=0)
    names = [
        {f["name"] for each in side for f in each.functions} for side in (parts.train, parts.validation, parts.held_out)
    ]
    assert len(names[0] | names[1] | names[2]) == sum(map(len, names))
    assert "tool0" in names[0]
    assert (len(parts.validation), len(parts.held_out)) == (6, 21)
    again = divided.divide(questions, train=1000, validation=5, held_out=20, seed=1)
    assert {each.id for each in again.held_out} != {each.id for each in parts.held_out}


RIGHT = {"width": 3, "height": 2.0}


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (RIGHT, True),
        ({"width": 3, "height": 2}, True),  # an integer passes for a float
        ({**RIGHT, "unit": "Square-Metres."}, True),
        ({**RIGHT, "unit": "feet"}, False),
        ({"width": 3.0, "height": 2.0}, False),  # but not the other way round
        ({"width": "3", "height": 2.0}, False),
        ({"width": True, "height": 2.0}, False),
        ({"width": 3}, False),
        ({**RIGHT, "more": 1}, False),
    ],
)
def test_a_call_is_right_by_bfcl_rules(part: Any, arguments: dict[str, Any], right: bool) -> None:
    judge = part("bfcl_parts.checker").judge
    answers = [{"geometry.area": POSSIBLE}]
    assert judge([("geometry_area", arguments)], [AREA], answers)[0] is right
    assert judge([("geometry_volume", arguments)], [AREA], answers)[0] is False
    assert judge([("geometry_area", arguments)] * 2, [AREA], answers)[0] is False


@pytest.mark.skipif("JOURNEYMAN_BFCL_PATH" not in os.environ, reason="needs bfcl-eval: JOURNEYMAN_BFCL_PATH")
def test_the_checker_agrees_with_bfcl_evals_own(part: Any) -> None:
    questions, replies = part("bfcl_parts.questions"), part("bfcl_parts.replies")
    package = questions.find_package(None)
    changed = list(replies.changed_answers(questions.load_questions(package), seed=1))
    found = replies.compare_checkers(changed, part("bfcl_parts.theirs").TheirChecker(package))
    assert found.apart == []
    assert 0.1 < found.right / found.replies < 0.9


async def test_rows_and_suite_are_read_back_by_our_own_formats(part: Any, tmp_path: Path) -> None:
    rows, question = part("bfcl_parts.rows"), asked(part, "q1", "How large is 3 by 2?", AREA, **POSSIBLE)
    rows.write_rows([question], [question._replace(id="q2")], tmp_path / "rows.jsonl")
    first, _ = import_rows(tmp_path / "rows.jsonl")
    made = first.messages[-1].tool_calls
    assert made is not None
    assert (made[0].function.name, json.loads(made[0].function.arguments)) == ("geometry_area", RIGHT)
    parameters = first.tools[0].function.parameters
    assert parameters is not None
    assert (parameters["type"], parameters["properties"]["height"]["type"]) == ("object", "number")

    rows.write_suite([question], tmp_path / "suite")
    suite = load_cases(tmp_path / "suite")
    for reply, value in ((first.messages[-1], 1.0), (Message(role="assistant", content="6"), 0.0)):
        environment = suite.environment(suite.scenarios("held-out", 1, 0)[0])
        await environment.step(reply)
        assert environment.score()[0].value == value


def test_the_nearest_neighbour_copies_and_adapts(part: Any) -> None:
    near = asked(part, "a", "area of a field, 3 wide and 2 high", AREA, **POSSIBLE)
    far = asked(part, "b", "what time is it", function("now", "time", zone="string"), zone=["CET"])
    neighbour = part("bfcl_parts.neighbour").NearestNeighbour([far, near])
    other = function("shapes.surface", "surface of a field", depth="integer")
    question = asked(part, "c", "surface of a field, 5 wide", other, depth=[5])
    assert neighbour.copied(question) == [("geometry_area", RIGHT)]
    assert neighbour.adapted(question) == [("shapes_surface", {"depth": 3})]


def test_the_best_rate_is_where_the_parabola_is_least(part: Any) -> None:
    best_rate = part("lora_parts.claims").best_rate
    rates = [1e-4, 3e-4, 1e-3, 3e-3]
    losses = [(math.log(rate) - math.log(5e-4)) ** 2 for rate in rates]
    assert best_rate(rates, losses) == pytest.approx(5e-4)
    assert best_rate(rates, [1.0, 2.0, 3.0, 4.0]) == 1e-4


def test_an_interval_over_seeds_is_students(part: Any) -> None:
    mean, low, high = part("lora_parts.claims").over_seeds([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - mean == pytest.approx(mean - low) == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)


def test_targets_are_compared_at_equal_parameters(part: Any) -> None:
    claims = part("lora_parts.claims")
    sizes = [
        rank * (sum(claims.PARAMETERS.values()) if targets == "all-linear" else claims.PARAMETERS[targets])
        for targets, rank in claims.EQUAL_RANKS.items()
    ]
    assert max(sizes) / min(sizes) < 1.01
