"""A run that samples on vLLM: the same command with `--engine URL`. Needs an environment that has vLLM."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.records import Point, Trajectory
from journeyman.store.sql import open_store
from tests.engines.with_vllm import WIDE, require_vllm, vllm_over
from tests.tiny import write_model

ROOT, BASE, STEPS = Path(__file__).parent.parent.parent.parent, "tiny", 3
SMALL = (
    "rl", "tests.training.reinforcement.conftest:LetterSuite", "--base", BASE, "--name", "learner", "--rank", "4",
    "--scenarios", "4", "--attempts", "8", "--new-tokens", "6", "--max-calls", "1", "--steps", str(STEPS),
    "--learning-rate", "0.01", "--evaluate-scenarios", "2", "--evaluate-every", "0", "--precision", "float32",
    "--threads", "1",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_every_step_samples_on_vllm_under_the_weights_of_the_step_before(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_vllm()
    model = write_model(tmp_path / BASE, **WIDE)
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tmp_path))
    monkeypatch.chdir(ROOT)

    async def train() -> Result:
        async with SupervisedEngine(vllm_over(model, BASE, home)) as vllm:
            return await asyncio.to_thread(CliRunner().invoke, app, ["train", *SMALL, "--engine", vllm.url])

    result = asyncio.run(train())
    assert result.exit_code == 0, result.output
    with closing(open_store(Settings())) as store:
        points = {each.step: each.values for each in store.find(Point) if "reward" in each.values}
        attempts = [each for each in store.find(Trajectory, limit=1000) if each.tags.get("stage") == "training"]
    assert len(points) == STEPS
    # What vLLM says of a token that it sampled is what the trainer computes of it: under stale weights it is not.
    assert max(values["sampler gap"] for values in points.values()) < 1e-3
    assert len(attempts) == STEPS * 4 * 8
    assert {each.model.rpartition("@")[2] for each in attempts} == {"0", "1", "2"}
    assert all(len(call.reply) == len(call.logprobs) > 0 for each in attempts for call in each.tokens)
