"""Suites in files: what is read, what is refused with its place, and what decides a case's identity."""

import json
from pathlib import Path
from typing import Any

import pytest

from journeyman.errors import InvalidInput
from journeyman.evals import evaluate, load_cases
from journeyman.evals.playing import suite_hash
from tests.evals.players import Players, says


def case(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "messages": [{"role": "user", "content": "?"}], "check": {"type": "exact", "answer": "a"}} | more


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


TOML = """
name = "greetings"
check = {type = "regex", pattern = "hello"}

[[cases]]
id = "first"
messages = [{role = "user", content = "hi"}]

[[cases]]
id = "second"
kind = "rude"
tags = ["german"]
check = [{type = "regex", pattern = "hello"}, {type = "regex", pattern = "you", absent = true}]
messages = [{role = "user", content = "hi"}]
"""


async def test_all_checks_of_a_case_must_hold_and_one_may_stand_for_all(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(TOML)
    suite = load_cases(tmp_path / "suite.toml")
    report = await evaluate(suite, ["m"], Players(m=says("hello you")), count=9)
    first, second = report.models[0].cases
    assert (suite.name, first.success, second.success) == ("greetings", True, False)
    assert "'you' was found" in second.reason
    assert (second.kind, second.tags) == ("rude", ("german",))


def test_a_folder_is_one_suite_with_a_common_check(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text('name = "all"\ncheck = {type = "exact", answer = "a"}\n')
    jsonl(tmp_path / "one.jsonl", case("1"))
    bare = case("2")
    del bare["check"]
    jsonl(tmp_path / "two.jsonl", bare)
    suite = load_cases(tmp_path)
    assert (suite.name, len(suite), suite.unchecked) == ("all", 2, [])


def test_fewer_cases_are_chosen_by_the_seed_and_keep_their_order(tmp_path: Path) -> None:
    suite = load_cases(jsonl(tmp_path / "s.jsonl", *(case(f"{n:02}") for n in range(30)), case("t", split="train")))
    chosen = [each.id for each in suite.scenarios("held-out", 5, 1)]
    assert chosen == [each.id for each in suite.scenarios("held-out", 5, 1)] == sorted(chosen)
    assert chosen != [each.id for each in suite.scenarios("held-out", 5, 2)]
    assert len(suite.scenarios("held-out", 99, 1)) == 30
    assert [each.id for each in suite.scenarios("train", 99, 1)] == ["t"]
    with pytest.raises(InvalidInput, match=r"no dev cases.*held-out, train"):
        suite.scenarios("dev", 1, 1)


def test_the_hash_follows_what_is_measured_and_nothing_else(tmp_path: Path) -> None:
    def hashed(*rows: object) -> str:
        return suite_hash(load_cases(jsonl(tmp_path / "s.jsonl", *rows)).scenarios("held-out", 9, 0))

    known = hashed(case("1"))
    assert hashed(case("1")) == known
    assert hashed(case("1", check={"type": "exact", "answer": "b"})) != known
    assert hashed(case("1", messages=[{"role": "user", "content": "!"}])) != known
    assert hashed(case("2")) != known


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "holds no cases"),
        ([case("1"), case("1")], r"line 2: the id '1' is already that of .*line 1"),
        ([case("1", chekc=1)], r"line 1: chekc"),
        ([case("1", messages=[])], r"line 1: messages"),
        ([case("1", check={"type": "regex", "pattern": "("})], r"line 1: check.*no regular expression"),
        ([case("1", messages=[{"role": "assistant", "content": "x"}])], "ends with the assistant"),
        (["text"], "line 1: a case is an object"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(tmp_path: Path, rows: list[Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        load_cases(jsonl(tmp_path / "s.jsonl", *rows))


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"id": \n')
    with pytest.raises(InvalidInput, match=r"s\.jsonl, line 1: no JSON"):
        load_cases(tmp_path / "s.jsonl")
    (tmp_path / "s.toml").write_text("nmae = 1")
    with pytest.raises(InvalidInput, match="nmae"):
        load_cases(tmp_path / "s.toml")
    with pytest.raises(InvalidInput, match="there is no"):
        load_cases(tmp_path / "none.jsonl")


async def test_cases_without_a_check_cannot_be_passed(tmp_path: Path) -> None:
    players = Players(m=says("a"))
    suite = load_cases(jsonl(tmp_path / "s.jsonl", case("1"), case("2", check=None)))
    with pytest.raises(InvalidInput, match=r"1 cases.*such as 2.*journeyman versus"):
        await evaluate(suite, ["m"], players)
    assert players.asked == []


def test_a_case_without_an_id_has_one_that_follows_from_it(tmp_path: Path) -> None:
    row = case("")
    suite = load_cases(jsonl(tmp_path / "s.jsonl", row))
    (scenario,) = suite.scenarios("held-out", 1, 0)
    assert scenario.id == load_cases(jsonl(tmp_path / "t.jsonl", row)).scenarios("held-out", 1, 0)[0].id != ""
