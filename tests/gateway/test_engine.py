"""The gateway over an engine's process that crashes: a clear answer at once, and the same adapters when it is back."""

import asyncio
import os
import signal

import openai
import pytest

from journeyman.engines.dialect import vllm_dialect
from journeyman.engines.supervisor import RestartRules, SupervisedEngine
from tests.engines.conftest import QUICK, program, until
from tests.gateway.test_names import HI, train  # noqa: F401


@pytest.fixture
async def supervised(tmp_path):
    async with SupervisedEngine(program(tmp_path / "engine.log"), QUICK) as engine:
        yield engine


async def ask(gateway, model="tiny", **more):
    async with gateway.client() as client:
        return await client.chat.completions.create(model=model, messages=HI, **more)


async def test_while_the_engine_is_down_clients_get_a_503_that_says_when_to_try_again(tmp_path, store, serving):
    rules = RestartRules(first_pause=30)
    async with SupervisedEngine(program(tmp_path / "engine.log"), rules) as engine, serving(store, engine) as gateway:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.failure)
        with pytest.raises(openai.InternalServerError, match="started again") as caught:
            await ask(gateway)
        assert caught.value.status_code == 503
        assert int(caught.value.response.headers["retry-after"]) > 0
        exchange = await gateway.exchange()
        assert (exchange.state, exchange.status) == ("failed", 503)


async def test_calls_under_way_when_the_engine_crashes_end_with_a_503(store, serving, supervised):
    async with serving(store, supervised) as gateway:
        os.kill(supervised.pid, signal.SIGSTOP)
        under_way = [asyncio.create_task(ask(gateway)) for _ in range(5)]
        await asyncio.sleep(0.05)
        os.kill(supervised.pid, signal.SIGKILL)
        for failed in await asyncio.gather(*under_way, return_exceptions=True):
            assert isinstance(failed, openai.InternalServerError)
            assert failed.status_code == 503
            assert int(failed.response.headers["retry-after"]) > 0


async def test_adapters_answer_again_after_a_crash(store, serving, supervised, train):  # noqa: F811
    adapter = train("support")
    async with serving(store, supervised) as gateway:
        expected = (await ask(gateway, "support")).choices[0].message.content.rpartition(" of ")[0]
        assert expected == adapter.path
        epoch = supervised.epoch
        os.kill(supervised.pid, signal.SIGKILL)
        await until(lambda: supervised.epoch > epoch)
        assert (await ask(gateway, "support")).choices[0].message.content == f"{adapter.path} of {supervised.pid}"


async def test_vllm_is_asked_for_its_logprobs_and_not_for_what_it_would_ignore(tmp_path, store, serving):
    process = program(tmp_path / "engine.log", owner="vllm", dialect=vllm_dialect(None))
    async with SupervisedEngine(process, QUICK) as engine, serving(store, engine) as gateway:
        asked = (await ask(gateway)).choices[0].asked
        assert (asked["return_token_ids"], asked["logprobs"]) == (True, True)
        with pytest.raises(openai.BadRequestError, match="vLLM keeps no deadline"):
            await ask(gateway, extra_body={"timeout": 5})


async def test_an_adapter_that_does_not_fit_vllm_is_never_answered_for_by_the_base(
    tmp_path, store, serving, train  # noqa: F811
):  # fmt: skip
    train("support")
    process = program(tmp_path / "engine.log", owner="vllm", dialect=vllm_dialect(tmp_path))
    async with SupervisedEngine(process, QUICK) as engine, serving(store, engine) as gateway:
        with pytest.raises(openai.InternalServerError, match="nothing answered in its place"):
            await ask(gateway, "support")
