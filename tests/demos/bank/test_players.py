import pytest
import typer
from typer.testing import CliRunner

from journeyman.demos.bank.players import gold, null, random_calls, show
from journeyman.demos.bank.scenarios import DECK


@pytest.mark.parametrize("split", ["train", "held-out"])
async def test_gold_solves_everything(play, split: str) -> None:
    trajectories = await play(gold, split=split, count=300)
    failed = {trajectory.scenario_id: trajectory.scores[0].reason for trajectory in trajectories if not won(trajectory)}
    assert failed == {}
    assert len(trajectories) == 300
    assert max(trajectory.turns for trajectory in trajectories) <= 12


@pytest.mark.parametrize("kind", list(DECK))
async def test_gold_solves_every_kind(play, kind: str) -> None:
    trajectories = await play(gold, kind)
    assert trajectories
    assert all(won(trajectory) for trajectory in trajectories)


async def test_null_and_random_solve_next_to_nothing(play) -> None:
    for player in (null, random_calls(0)):
        trajectories = await play(player)
        assert sum(won(trajectory) for trajectory in trajectories) < 0.05 * len(trajectories)


async def test_random_is_repeatable_and_uses_the_tools(play) -> None:
    first, second = [await play(random_calls(4), count=20) for _ in range(2)]
    assert [trajectory.messages for trajectory in first] == [trajectory.messages for trajectory in second]
    assert any(message.role == "tool" for message in first[0].messages)


def test_the_command_prints_a_table() -> None:
    app = typer.Typer()
    app.command()(show)
    result = CliRunner().invoke(app, ["--count", "20"])
    assert result.exit_code == 0
    assert "100.0%" in result.stdout


def won(trajectory) -> bool:
    return trajectory.score("success") == 1 and trajectory.error is None
