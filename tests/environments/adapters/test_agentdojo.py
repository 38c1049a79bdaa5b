"""The contract with the real package: every gold solution wins by its own functions, and nothing reads the clock."""

import pytest

from journeyman.environments.adapters.agentdojo import AgentDojoSettings, AgentDojoSuite, agentdojo_suite
from journeyman.environments.admission import check_suite
from journeyman.environments.admission.players import null_player
from journeyman.environments.admission.transcripts import play
from journeyman.errors import InvalidInput
from journeyman.records.message import assistant, call

pytest.importorskip("agentdojo", reason="NOT TESTED: pip install agentdojo")


async def test_every_gold_solution_of_the_bank_wins_and_doing_nothing_does_not() -> None:
    suite = AgentDojoSuite(AgentDojoSettings(with_free=True))
    scenarios, free = [*suite.scenarios("train", 12, 0), *suite.scenarios("held-out", 4, 0)], set()
    assert len({each.data["task"] for each in scenarios}) == 16
    for scenario in scenarios:
        gold = await play(suite.environment(scenario), suite.gold(scenario))
        assert gold.is_success, scenario.data["task"]
        assert suite.verify(scenario, gold.outcome) == gold.scores
        if (await play(suite.environment(scenario), null_player)).is_success:
            free.add(scenario.data["task"])
    assert free == {f"user_task_{number}" for number in (5, 6, 8, 9, 10)}
    strict = agentdojo_suite("banking")
    kept = {each.data["task"] for each in (*strict.scenarios("train", 8, 0), *strict.scenarios("held-out", 3, 0))}
    assert kept == {each.data["task"] for each in scenarios} - free


async def test_the_bank_is_admitted_in_a_fresh_process_too() -> None:
    found = await check_suite(agentdojo_suite("banking"), "agentdojo/banking", count=3, closely=1)
    assert found.is_admitted, found.failures
    lax = await check_suite(AgentDojoSuite(AgentDojoSettings(with_free=True)), count=12, closely=1)
    assert {each.check for each in lax.failures} >= {"nothing is won for free"}


async def test_a_file_that_is_written_today_is_the_same_tomorrow() -> None:
    suite = AgentDojoSuite(AgentDojoSettings(office="workspace"))
    [scenario] = suite.scenarios("train", 1, 0)
    environment = suite.environment(scenario)
    await environment.start()
    await environment.step(call("a", "create_file", filename="x.txt", content="hello"))
    assert "2026-01-01T09:00:00" in str(environment.outcome().state)


async def test_calls_that_cannot_be_made_are_answered() -> None:
    suite = AgentDojoSuite()
    environment = suite.environment(suite.scenarios("train", 1, 0)[0])
    await environment.start()
    seen = await environment.step(call("a", "nonsense"))
    assert "ToolNotFoundError" in seen.messages[0].text
    assert (await environment.step(assistant("That is all."))).done
    with pytest.raises(InvalidInput, match="no office"):
        agentdojo_suite("kitchen")
