"""Engines as processes that start within a blink: a program that only answers as one would."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import RestartRules, SupervisedEngine

PROGRAM = Path(__file__).with_name("server_program.py")
QUICK = RestartRules(first_pause=0.05, longest_pause=0.1)


async def until(holds: Callable[[], Any]) -> None:
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 30 s in vain")


async def post(url: str) -> None:
    """A POST whose answer does not matter."""
    async with aiohttp.ClientSession() as client:
        try:
            async with client.post(url) as answer:
                await answer.read()
        except aiohttp.ClientError as error:
            print(f"no answer: {error}")


def program(log: Path, model: str = "tiny", owner: str = "journeyman", **options: Any) -> EngineProcess:
    command = [sys.executable, str(PROGRAM), model, owner, "0", "--with-input"]
    return EngineProcess(model, command, log, **options)


@pytest.fixture
async def supervise(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[SupervisedEngine]]]:
    """`await supervise()` starts the program under watch; it is stopped after the test."""
    started: list[SupervisedEngine] = []

    async def supervised(process: EngineProcess | None = None, rules: RestartRules = QUICK) -> SupervisedEngine:
        engine = SupervisedEngine(process or program(tmp_path / "engine.log"), rules)
        started.append(engine)
        await engine.start()
        return engine

    yield supervised
    for engine in started:
        await engine.stop()
