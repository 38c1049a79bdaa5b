"""The whole installation as a process: it starts, says where it is, answers, and stops cleanly."""

import asyncio
import json
import os
import signal
import socket
import sys

import aiohttp
import pytest

from journeyman.app import choose_engine, listen
from journeyman.config import Settings
from journeyman.engines.attached import AttachedEngine
from journeyman.errors import InvalidInput, NotFound, PortInUse, Refused

UP = "from journeyman.cli.up import up; up(model='none', port=0)"
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; "


async def started(code, home, **environment):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "JOURNEYMAN_HOME": str(home), **environment},
    )  # fmt: skip
    async with asyncio.timeout(30):
        first = (await process.stdout.readline()).decode()
    assert "listens on http" in first, (first, await process.stderr.read())
    return process, first.split("listens on ")[1].split()[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_up_without_an_engine_and_without_torch_serves_and_stops_on_a_signal(tmp_path, number):
    process, url = await started(
        WITHOUT_TORCH + UP, tmp_path, JOURNEYMAN_PROVIDERS='{"acme": {"base_url": "http://x"}}'
    )
    async with aiohttp.ClientSession() as client, client.get(f"{url}/v1/models") as answer:
        listed = await answer.json()
    assert [model["id"] for model in listed["data"]] == ["acme/*"]
    process.send_signal(number)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, err
    assert "Stopped" in out.decode()
    assert err.decode() == ""


async def test_up_over_an_engine_that_runs_already_answers_for_its_model_and_leaves_it_running(tmp_path):
    from tests.engines.conftest import program

    async with program(tmp_path / "engine.log") as engine:
        up = f"from journeyman.cli.up import up; up(engine='{engine.url}/v1', port=0)"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-u", "-c", WITHOUT_TORCH + up, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "JOURNEYMAN_HOME": str(tmp_path)},
        )  # fmt: skip
        async with asyncio.timeout(30):
            assert engine.url.encode() in await process.stdout.readline()
            url = (await process.stdout.readline()).decode().split("listens on ")[1].split()[0]
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
        async with aiohttp.ClientSession() as client, client.post(f"{url}/v1/chat/completions", json=body) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == f"base of {engine.pid}"
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
        assert engine.failure is None


def test_the_engine_is_chosen_by_the_settings(tmp_path):
    settings = Settings(home=tmp_path, models=tmp_path / "models")
    assert isinstance(choose_engine(settings.model_copy(update={"engine": "http://x:1/v1"}), None), AttachedEngine)
    with pytest.raises(InvalidInput, match="there is local, vllm, and http"):
        choose_engine(settings.model_copy(update={"engine": "llama"}), None)
    with pytest.raises(NotFound, match="smollm2-135m"):
        choose_engine(settings, None)


def test_a_port_in_use_is_named_before_anything_is_started():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} .*--port {port + 1}"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org", "::"])
def test_without_keys_only_this_machine_may_call(host):
    with pytest.raises(Refused, match=r"no keys are configured"):
        listen(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_addresses_are_served(host):
    with listen(host, 0) as listener:
        assert listener.getsockname()[1] > 0


async def test_a_call_through_the_running_installation_is_there_after_it_stopped(tmp_path):
    from aiohttp import web

    from journeyman.records import Exchange
    from journeyman.store.sql import SqlStore

    async def chat(request):
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider = json.dumps({"acme": {"base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1"}})
    process, url = await started(UP, tmp_path, JOURNEYMAN_PROVIDERS=provider)
    body = {"model": "acme/m", "messages": [{"role": "user", "content": "Hi"}]}
    async with aiohttp.ClientSession() as client, client.post(f"{url}/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
        exchange_id = answer.headers["x-journeyman-exchange"]
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    await runner.cleanup()
    store = SqlStore(f"sqlite:///{tmp_path / 'journeyman.db'}")
    assert store.get(Exchange, exchange_id).state == "complete"
    store.close()
