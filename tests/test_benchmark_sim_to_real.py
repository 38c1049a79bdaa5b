"""The bank in a world of its traces, as `benchmarks/sim_to_real.py` trains in it."""

import asyncio
import importlib
from pathlib import Path
from typing import Any

import pytest

from journeyman.demos.bank.players import gold
from journeyman.records.message import call

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def parts() -> Any:
    """Imports a module of the benchmarks' folder, which is no package of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module


@pytest.fixture(scope="module")
def desk(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A world of captured conversations that may be trained in, written and read again."""
    home, kept = tmp_path_factory.mktemp("desk"), parts("sim_to_real_parts.trained_desk")
    kept.keep(home, 40, 0)
    assert kept.captured_calls(home) > 200
    return kept.kept(home)


def test_what_wins_in_the_bank_wins_in_its_world_where_the_world_knows(parts: Any, desk: Any) -> None:
    play = parts("sim_to_real_parts.consistency").play
    for scenario in desk.scenarios("train", 6, 0):
        attempt = play(desk.environment(scenario), scenario, gold)
        assert attempt.scores == desk.verify(scenario, attempt.outcome)
        assert attempt.score("abstained") == 1 or attempt.score("success") == 1
    assert {each.id for each in desk.scenarios("train", 99, 0)}.isdisjoint(
        each.id for each in desk.scenarios("held-out", 99, 0)
    )


def test_attempts_at_one_case_share_neither_the_bank_nor_the_world(desk: Any) -> None:
    (scenario,) = desk.scenarios("train", 1, 0)
    first, second = desk.environment(scenario).fork(2)
    asked = call("c1", "find_customer", name=first.case.name)

    async def ask() -> None:
        await first.start()
        await first.step(asked)

    asyncio.run(ask())
    assert (first.calls, second.calls) == (1, 0)
    assert first._tools.state.step == 1
    assert second._tools.state.step == 0


def test_where_the_world_does_not_know_there_is_no_verdict(desk: Any) -> None:
    (scenario,) = desk.scenarios("train", 1, 0)
    environment = desk.environment(scenario)

    async def ask() -> bool:
        await environment.start()
        return (await environment.step(call("c1", "open_safe", code="1"))).done

    assert asyncio.run(ask())
    assert [score.name for score in environment.score()] == ["abstained"]
    assert desk.verify(scenario, environment.outcome()) == environment.score()
