"""An engine that crashes or hangs is started again; one that keeps failing is left alone, and says so."""

import asyncio
import os
import signal
import sys
from dataclasses import replace

import aiohttp
import pytest

from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import RestartRules
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records.message import user
from tests.engines.conftest import QUICK, post, until

HI = [user("Hi")]


async def said(engine, model="tiny"):
    return (await engine.reply(model, HI)).message.content


async def test_a_crashed_engine_is_started_again(supervise):
    supervised = await supervise()
    first = (supervised.url, supervised.pid, supervised.epoch)
    assert supervised.failure is None
    assert supervised.retry_after is None
    await post(f"{supervised.url}/crash")
    await until(lambda: supervised.epoch > first[2])
    assert supervised.failure is None
    assert supervised.pid != first[1]
    async with HeldEngine(supervised) as engine:
        assert await said(engine) == f"base of {supervised.pid}"


async def test_while_it_is_down_callers_are_told_at_once_when_to_try_again(supervise):
    supervised = await supervise(rules=RestartRules(first_pause=30))
    os.kill(supervised.pid, signal.SIGKILL)
    await until(lambda: supervised.failure)
    assert supervised.retry_after > 0
    async with HeldEngine(supervised) as engine:
        with pytest.raises(UpstreamFailed, match="started again") as caught:
            await said(engine)
    assert caught.value.status == 503
    assert caught.value.retry_after > 0


async def test_after_too_many_failures_it_stays_down_and_says_so(supervise):
    supervised = await supervise(rules=RestartRules(first_pause=0.01, longest_pause=0.01, most=2))
    for _ in range(3):
        await until(lambda: supervised.failure is None)
        epoch = supervised.epoch
        os.kill(supervised.pid, signal.SIGKILL)
        await until(lambda epoch=epoch: supervised.epoch > epoch or "stays down" in (supervised.failure or ""))
    assert "3 failures within 10 minutes" in supervised.failure
    assert "restart `journeyman up`" in supervised.failure
    await until(lambda: supervised.retry_after is None)


async def test_an_engine_that_cannot_start_again_counts_as_failing(supervise, tmp_path):
    flag = tmp_path / "broken"
    code = f"import os, sys; os.path.exists({str(flag)!r}) and sys.exit(3); print('ready http://x'); sys.stdin.read()"
    process = EngineProcess("tiny", [sys.executable, "-u", "-c", code], tmp_path / "log")
    supervised = await supervise(process, RestartRules(first_pause=0.01, longest_pause=0.01, most=2))
    flag.touch()
    os.kill(supervised.pid, signal.SIGKILL)
    await until(lambda: "stays down" in (supervised.failure or ""))
    assert "could not be started again" in supervised.failure
    assert supervised.epoch == 1


async def test_the_first_start_that_fails_is_an_error_and_is_not_repeated(supervise, tmp_path):
    process = EngineProcess("tiny", [sys.executable, "-c", "raise SystemExit('no weights')"], tmp_path / "log")
    with pytest.raises(UpstreamFailed, match="no weights"):
        await supervise(process)


async def test_an_engine_that_hangs_is_killed_and_started_again(supervise):
    supervised = await supervise(rules=replace(QUICK, check_every=0.5, hung_after=1.5))
    async with HeldEngine(supervised) as engine:
        await post(f"{supervised.url}/hang")
        with pytest.raises(UpstreamFailed):
            await said(engine)
        await until(lambda: supervised.epoch > 1)
        assert (await said(engine)).startswith("base of ")


async def test_it_is_stopped_while_it_waits_for_a_restart(supervise):
    supervised = await supervise(rules=RestartRules(first_pause=60))
    os.kill(supervised.pid, signal.SIGKILL)
    await until(lambda: supervised.failure)
    await supervised.stop()
    assert supervised.pid is None


async def test_adapters_are_loaded_again_after_a_restart(supervise, tmp_path):
    supervised = await supervise()
    async with HeldEngine(supervised) as engine:
        await engine.load("a@1", tmp_path / "a")
        assert engine.holds("a@1")
        assert await said(engine, "a@1") == f"{tmp_path / 'a'} of {supervised.pid}"
        await post(f"{supervised.url}/crash")
        await until(lambda: supervised.epoch == 2)
        assert not engine.holds("a@1")
        assert await said(engine, "a@1") == f"{tmp_path / 'a'} of {supervised.pid}"
        assert engine.holds("a@1")


async def test_an_adapter_that_was_unloaded_behind_our_back_is_loaded_again(supervise, tmp_path):
    supervised = await supervise()
    async with HeldEngine(supervised) as engine, HeldEngine(supervised) as other:
        await engine.load("a@1", tmp_path / "a")
        await other.load("a@1", tmp_path / "a")
        await other.unload("a@1")
        assert (await said(engine, "a@1")).startswith(str(tmp_path / "a"))


async def test_a_name_stands_for_one_folder(supervise, tmp_path):
    supervised = await supervise()
    async with HeldEngine(supervised) as engine, HeldEngine(supervised) as other:
        await engine.load("a@1", tmp_path / "a")
        for each in (engine, other):
            with pytest.raises(InvalidInput):
                await each.load("a@1", tmp_path / "b")
        with pytest.raises(NotFound):
            await engine.unload("b@1")


async def test_what_the_server_refuses_is_refused_in_its_words(supervise, tmp_path):
    supervised = await supervise()
    async with HeldEngine(supervised) as engine:
        with pytest.raises(InvalidInput, match="rank 64 is too large"):
            await engine.load("a@1", tmp_path / "broken")
        with pytest.raises(NotFound):
            await said(engine, "a@1")


async def test_many_calls_that_load_the_same_adapter_load_it_once(supervise, tmp_path):
    supervised = await supervise()
    async with HeldEngine(supervised) as engine:
        await asyncio.gather(*(engine.load("a@1", tmp_path / "a") for _ in range(20)))
        assert engine.holds("a@1")
        async with aiohttp.ClientSession() as client, client.get(f"{supervised.url}/healthz") as answer:
            assert (await answer.json())["loads"] == 1


async def test_of_two_folders_that_are_loaded_under_one_name_at_once_one_is_refused(supervise, tmp_path):
    async with HeldEngine(await supervise()) as engine:
        loads = [engine.load("a@1", tmp_path / folder) for folder in ("a", "b")]
        first, second = await asyncio.gather(*loads, return_exceptions=True)
        assert first is None
        assert isinstance(second, InvalidInput)
        assert "never change under a name" in str(second)
