"""From stored attempts to training inside their world, as a person at a terminal does it in an empty home."""

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.errors import InvalidInput, Refused
from journeyman.records import Outcome, Run, Scenario, Trajectory
from journeyman.registry.adapters import find_adapter
from journeyman.store.sql import open_store
from journeyman.worlds.world import load_world
from tests.worlds import house

SMALL = (
    "train", "rl", "world/house", "--base", "tiny", "--rank", "4", "--scenarios", "2", "--attempts", "4",
    "--new-tokens", "4", "--max-calls", "2", "--steps", "1", "--evaluate-every", "0", "--evaluate-scenarios", "2",
    "--precision", "float32", "--threads", "1",
)  # fmt: skip
BUILD = ("world", "build", "house", "--attempts", "the-house", "--words", "--success", "You take the lamp")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def keep(trajectories: list[Trajectory]) -> None:
    """As a suite's rollouts are kept: with their scenario."""
    with closing(open_store(Settings())) as store:
        for each in trajectories:
            scenario = Scenario(id=each.scenario_id, environment="the-house", kind="house")
            store.put(each.model_copy(update={"scenario": scenario, "outcome": Outcome()}))


@pytest.fixture
def kept(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tiny.parent))
    monkeypatch.setenv("COLUMNS", "200")
    keep(house.attempts(range(8), each=2))


def test_a_world_is_built_of_attempts_and_an_agent_trains_in_it_alone(kept: None) -> None:
    assert "sessions: 32" in run(*BUILD)
    assert "Trained world-house@" in run(*SMALL)
    with closing(open_store(Settings())) as store:
        assert find_adapter(store, "world-house").base == "tiny"
        (found,) = store.find(Run)
        attempts = [each for each in store.find(Trajectory, limit=1000) if each.id.startswith(found.id)]
    assert len(attempts) == 8
    assert {each.scenario.environment for each in attempts if each.scenario} == {"world/house"}
    # The tiny model speaks nonsense: that is what this house answers to it.
    told = [said.text for each in attempts for said in each.messages[4:] if said.role == "user"]
    assert told
    assert all(text.startswith("That is no action.\nYou can: look") for text in told)
    assert {each.score("success") for each in attempts} == {0.0}


def test_a_world_that_is_not_true_enough_is_refused_before_anything_starts(kept: None) -> None:
    run(*BUILD)
    folder = Settings().home / "worlds"
    world = load_world("house", folder)
    assert world.card is not None
    untrue = world.card.model_copy(update={"problems": ("on S1 answers match in 2% of calls",)})
    object.__setattr__(world, "card", untrue)
    world.save(folder)
    with pytest.raises(Refused, match=r"may not be trained in; nothing was started\. on S1"):
        run(*SMALL)
    with closing(open_store(Settings())) as store:
        assert not store.find(Run)


def test_what_no_attempt_is_stored_of_and_what_is_no_pattern_is_said(kept: None) -> None:
    with pytest.raises(InvalidInput, match="no attempt at elsewhere is stored"):
        run("world", "build", "house", "--attempts", "elsewhere", "--words")
    with pytest.raises(InvalidInput, match="is no regular expression"):
        run("world", "build", "house", "--attempts", "the-house", "--words", "--success", "(")
    with pytest.raises(InvalidInput, match="captured calls"):
        run("world", "build", "house", "--attempts", "the-house", "--where", "model = x")
