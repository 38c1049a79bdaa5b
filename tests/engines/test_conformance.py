"""The seam's checks over our engine, over the script, and over vLLM where there is one."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.scripted import ScriptedEngine
from journeyman.engines.supervisor import RestartRules, SupervisedEngine
from journeyman.records import Message
from tests.engines.conformance import HOLDING_ADAPTERS, REPLYING, SAMPLING, Check, Subject
from tests.engines.with_vllm import WIDE, require_vllm, vllm_over
from tests.tiny import write_lora, write_model

NAME = "tiny"
RANKS = (2, 4, 8, 8)
EVERY = (*REPLYING, *SAMPLING, *HOLDING_ADAPTERS)

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


def over(checks: tuple[Check, ...]) -> Callable[..., None]:
    return pytest.mark.parametrize("check", checks, ids=lambda check: check.__name__)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model with heads as wide as vLLM needs, its adapters, and one adapter of another model."""
    folder = tmp_path_factory.mktemp("conformance")
    model = write_model(folder / NAME, **WIDE)
    adapters = {f"a{n}@1": write_lora(folder / f"a{n}-1", model, 100 + n, rank) for n, rank in enumerate(RANKS)}
    other = write_model(folder / "other", hidden_size=64, intermediate_size=96, head_dim=16)
    return {"model": model, "other": write_lora(folder / "foreign-1", other, 9)} | adapters


@asynccontextmanager
async def running(process: EngineProcess, weights: dict[str, Path]) -> AsyncIterator[Subject]:
    rules = RestartRules(first_pause=0.5, check_every=5.0)
    async with SupervisedEngine(process, rules) as supervised, HeldEngine(supervised) as engine:

        async def crash() -> None:
            assert supervised.pid is not None
            os.kill(supervised.pid, signal.SIGKILL)

        adapters = {name: folder for name, folder in weights.items() if "@" in name}
        yield Subject(engine, NAME, adapters, weights["other"], crash)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Subject]:
    command = [sys.executable, "-m", "journeyman.engines.local", "--model", str(weights["model"]), "--name", NAME]
    command += ["--precision", "float32", "--threads", "1", "--exit-with-stdin"]
    log = tmp_path_factory.mktemp("local") / "engine.log"
    async with running(EngineProcess(NAME, command, log), weights) as subject:
        yield subject


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vllm(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Subject]:
    require_vllm()
    async with running(vllm_over(weights["model"], NAME, tmp_path_factory.mktemp("vllm")), weights) as subject:
        yield subject


@over(REPLYING)
async def test_the_script(check: Check) -> None:
    await check(Subject(ScriptedEngine(lambda messages, tools: Message(role="assistant", content="Done.")), NAME))


@over(EVERY)
async def test_our_engine(check: Check, local: Subject) -> None:
    await check(local)


@pytest.mark.vllm
@pytest.mark.timeout(1800)
@over(EVERY)
async def test_vllm(check: Check, vllm: Subject) -> None:
    await check(vllm)
