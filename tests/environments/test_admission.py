"""Admission: a sound suite passes, and each planted fault is found by the check that is there for it."""

import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.demos.bank.environment import BankSuite
from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.adapters.reasoning_gym import ReasoningGymSettings, ReasoningGymSuite
from journeyman.environments.admission import check_suite, keep, standing_of
from journeyman.environments.admission.again import another_day
from journeyman.environments.admission.players import random_player, spammer
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.suites import SUITES, load_suite
from journeyman.environments.verifying import scored_again
from journeyman.errors import InvalidInput, Refused
from journeyman.records import Function, Score, Tool
from journeyman.records.message import user
from journeyman.records.reinforcement import RLConfig
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import open_store
from journeyman.worker.reinforcement import plan_rl_run
from tests.environments import planted

HERE = "tests.environments.planted"
FRESH = "a fresh process goes the same"


async def failures(suite, address: str | None = None, **options) -> dict[str, str]:
    found = await check_suite(suite, address, **{"count": 6, "closely": 2} | options)
    return {each.check: each.detail for each in found.failures}


def test_players_give_what_schemas_of_every_form_ask_for() -> None:
    shapes = {
        "name": {"type": ["string", "null"]}, "count": {"type": ["null", "integer"]}, "other": True,
        "list": {"type": "array", "items": {"type": ["number", "null"]}}, "nothing": {"type": ["null"]},
    }  # fmt: skip
    tool = Tool(type="function", function=Function(name="look", parameters={"type": "object", "properties": shapes}))
    replies = [player([user("hello")], [tool]) for player in (spammer, *map(random_player, range(8)))]
    made = [call.function.read() for reply in replies for call in reply.tool_calls or ()]
    assert len(made) > 4
    for given in made:
        assert given is not None
        assert given.keys() == shapes.keys()
        assert [type(given[name]) for name in ("name", "count", "list")] == [str, int, list]


async def test_a_sound_suite_is_admitted_with_every_check_made() -> None:
    found = await check_suite(planted.SoundSuite(), f"{HERE}:SoundSuite", count=8, closely=3)
    assert found.is_admitted, found.failures
    assert all(each.passed for each in found.findings)
    assert len(found.findings) == 12
    scores = {each.player: each.success.estimate for each in found.players}
    assert scores == {"gold": 1, "random": 0, "null": 0, "spammer": 0, "flatterer": 0, "forger": 0}
    assert found.players[0].success.low < 0.8


@pytest.mark.parametrize(
    ("suite", "check"),
    [
        (planted.LeakySuite, "wrong ends are refused"),
        (planted.FreeSuite, "nothing is won for free"),
        (planted.ImpossibleSuite, "gold wins everything"),
        (planted.ResidueSuite, "nothing stays after a reset"),
        (planted.DiceySuite, "the same seed goes the same"),
        (planted.ClockSuite, "the same seed goes the same"),
        (planted.SharedSuite, "forks share nothing"),
        (planted.StrictSuite, "no player breaks it"),
        (planted.NarrowSuite, "other right paths are accepted"),
        (planted.ImpureSuite, "scores can be given again"),
        (planted.OpenSuite, "the agent has no control"),
        (planted.MixedSuite, "scenarios repeat and splits are apart"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_a_planted_fault_is_found_by_its_check(suite, check: str) -> None:
    planted.Residue.kept.clear()
    found = await failures(suite())
    assert check in found, found


@pytest.mark.parametrize("name", ["TodaySuite", "HashedSuite"])
async def test_what_only_another_process_shows_is_found_there(name: str) -> None:
    suite = getattr(planted, name)()
    assert await failures(suite) == {}
    found = await failures(suite, f"{HERE}:{name}", closely=1)
    assert found.keys() == {FRESH}
    assert "went otherwise" in found[FRESH]


async def test_what_cannot_be_checked_says_so_and_is_no_failure() -> None:
    found = await check_suite(planted.WithoutGold(), count=4, closely=2)
    unknown = {each.check for each in found.findings if each.passed is None}
    assert unknown == {"gold wins everything", "wrong ends are refused", "other right paths are accepted", FRESH}
    assert found.is_admitted
    with pytest.raises(InvalidInput, match="at least 2"):
        await check_suite(planted.SoundSuite(), count=1)


@pytest.mark.parametrize("name", sorted(SUITES))
async def test_our_own_suites_are_admitted(name: str) -> None:
    if name not in ("bank", "price-tool", "few-shot"):
        pytest.skip("it is checked where it lives")
    assert await failures(load_suite(name), count=10, closely=2) == {}


async def test_a_package_s_suite_is_admitted() -> None:
    pytest.importorskip("reasoning_gym", reason='NOT TESTED: pip install "journeyman[environments]"')
    suite = ReasoningGymSuite(ReasoningGymSettings(task="gcd"))
    assert await failures(suite, count=4, closely=2) == {}


def test_another_day_is_another_day():
    assert another_day() in ("<+14>-14", "<-12>+12")


def test_the_command_prints_tables_or_json_and_fails_where_the_suite_does(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    fast = ["--count", "3", "--closely", "1"]
    good = CliRunner().invoke(app, ["env", "check", f"{HERE}:SoundSuite", *fast])
    assert good.exit_code == 0, good.output
    assert "sound: admitted" in good.output
    bad = CliRunner().invoke(app, ["env", "check", f"{HERE}:LeakySuite", *fast, "--json"])
    assert bad.exit_code == 1
    told = json.loads(bad.stdout)
    assert [each["check"] for each in told["findings"] if each["passed"] is False] == ["wrong ends are refused"]


async def test_what_failed_is_not_trained_on_unless_one_says_so(tmp_path) -> None:
    settings = Settings(home=tmp_path, models=tmp_path)
    config = RLConfig(name="a", base="b", suite=f"{HERE}:LeakySuite")
    suite = planted.LeakySuite()
    assert standing_of(tmp_path, suite, config.suite).state == "unchecked"
    keep(tmp_path, await check_suite(suite, count=3, closely=1))
    assert standing_of(tmp_path, suite, config.suite).state == "refused"
    with pytest.raises(Refused, match=r"wrong ends are refused.*--unchecked"):
        plan_rl_run(settings, MemoryStore(), config)
    with pytest.raises(Exception, match="model") as other:
        plan_rl_run(settings, MemoryStore(), config, unchecked=True)
    assert not isinstance(other.value, Refused)
    suite.version = "leaky/2"
    assert standing_of(tmp_path, suite, config.suite).state == "changed"


async def test_stored_attempts_are_scored_again_and_a_changed_verifier_shows(tmp_path, monkeypatch) -> None:
    suite = BankSuite()
    played = await roll_out_many(
        suite, suite.scenarios("train", 3, 0), ScriptedEngine(suite.gold(suite.scenarios("train", 1, 0)[0])), "gold"
    )
    assert all(scored_again(suite, each) == each.scores for each in played)
    assert {score.version for each in played for score in each.scores} == {"bank/2"}
    wrong = played[0].model_copy(update={"scores": (Score(name="success", value=0, version="bank/0"),)})
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path))
    with closing(open_store(Settings())) as store:
        store.put(wrong, *played[1:])
    again = CliRunner().invoke(app, ["env", "rescore", "bank", "--write", str(tmp_path / "again.jsonl")])
    assert again.exit_code == 0, again.output
    assert f"{wrong.id}: success 0 → success 1" in again.output
    assert "2 the same; 1 changed; 0 without an outcome" in again.output
    assert len((tmp_path / "again.jsonl").read_text().splitlines()) == 3
