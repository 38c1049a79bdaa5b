"""The bank in a world of its traces, as `benchmarks/sim_to_real.py` trains in it."""

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from journeyman.demos.bank.environment import BankEnvironment
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
    kept.keep(home, 220, 0)
    assert kept.captured_calls(home, 0) > 200
    return kept.kept(home, 0)


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
        return (await environment.step(call("c1", "find_customer", name="Nobody Everheardof"))).done

    assert asyncio.run(ask())
    assert [score.name for score in environment.score()] == ["abstained"]
    assert desk.verify(scenario, environment.outcome()) == environment.score()


def test_a_call_that_breaks_a_schema_is_refused_as_in_the_bank_and_kept_as_little(desk: Any) -> None:
    (scenario,) = desk.scenarios("train", 1, 0)
    broken = ("transfer", {"from_account": "A1", "to_account": "A2"}), ("open_safe", {"code": "1"})

    async def ask(environment: Any) -> list[dict[str, Any]]:
        await environment.start()
        said = [await environment.step(call(f"c{at}", name, **given)) for at, (name, given) in enumerate(broken)]
        assert not environment.is_done
        assert environment.log[1:] == []
        return [json.loads(each.messages[0].text) for each in said]

    for environment in (desk.environment(scenario), BankEnvironment(scenario)):
        assert [each.keys() for each in asyncio.run(ask(environment))] == [{"error"}] * 2


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (("--only", "bank", "--seeds", "2"), '--seeds is for --only "training" and --only "bank trained" alone'),
        (("--only", "bank trained", "--measured-only"), "--measured-only is for"),
        (("--threads", "1"), '--threads is for --only "training" and --only "bank trained" alone'),
        (("--only", "bank trained", "--threads", "1"), None),
        (("--only", "training", "--seeds", "1", "--measured-only"), None),
    ],
)
def test_an_option_that_a_part_would_take_no_notice_of_is_refused(
    parts: Any, arguments: tuple[str, ...], refused: str | None
) -> None:
    command = typer.Typer()
    options = parts("sim_to_real_parts.options")

    @command.command()
    def run(
        context: typer.Context, only: str = "", seeds: int = 3, threads: int = 2, measured_only: bool = False
    ) -> None:
        options.refuse_unused(context, only)

    ended = CliRunner().invoke(command, list(arguments), env={"COLUMNS": "200"})
    assert ended.exit_code == (2 if refused else 0)
    assert (refused or "") in ended.output
