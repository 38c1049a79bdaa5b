"""Programs that fork, die, or leave without a word: what was asked is in the spool, and in the store after `ingest`."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner

import journeyman
from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.records import Exchange, Feedback, Filter
from journeyman.store.sql import open_store
from tests.client.spooled import spooled
from tests.client.upstream import Upstream

ROOT = Path(__file__).parent.parent.parent
BEGIN = """
import asyncio, multiprocessing, os, sys, threading, time
import journeyman
SAID = [{{"role": "user", "content": "What is the answer?"}}]
client = journeyman.OpenAI(base_url={url!r}, api_key="k")

def ask(model="plain", **more):
    return client.chat.completions.create(model=model, messages=SAID, **more)

def ask_in_child(user):
    # A connection that several processes write to is nobody's: a child has to have a client of its own, ours or not.
    with journeyman.OpenAI(base_url={url!r}, api_key="k") as own:
        own.chat.completions.create(model="plain", messages=SAID, user=user)

"""


def run(upstream: Upstream, program: str, expected: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BEGIN.format(url=upstream.url) + program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


def test_exit_without_a_word(upstream: Upstream, home: Path):
    run(upstream, "ask(); os._exit(3)", expected=3)
    assert [call.state for call in spooled(home)] == ["complete"]


def test_exit_within_an_event_loop(upstream: Upstream, home: Path):
    program = """
async def main():
    async with journeyman.AsyncOpenAI(base_url=client.base_url, api_key="k") as other:
        await other.chat.completions.create(model="plain", messages=SAID)
        async for _ in await other.chat.completions.create(model="plain", messages=SAID, stream=True):
            pass
        os._exit(3)
asyncio.run(main())
"""
    run(upstream, program, expected=3)
    assert [call.state for call in spooled(home)] == ["complete", "complete"]


def test_death_in_the_middle_of_a_stream(upstream: Upstream, home: Path):
    run(upstream, "next(iter(ask('slow', stream=True))); os.kill(os.getpid(), 9)", expected=-9)
    (call,) = spooled(home)
    assert call.state is None
    assert call.answer.startswith(b"data:")


def test_exit_in_the_middle_of_a_stream(upstream: Upstream, home: Path):
    run(upstream, "stream = ask('slow', stream=True); next(iter(stream)); sys.exit(0)")
    assert [call.state for call in spooled(home)] == ["aborted_client"]


def test_workers_that_were_forked_after_the_first_call(upstream: Upstream, home: Path):
    """As gunicorn does with `preload`: a parent that has a spool, and children that share nothing with it."""
    program = """
ask(user="parent")
stream = ask("slow", stream=True)
next(iter(stream))
children = []
for number in range(4):
    child = os.fork()
    if not child:
        for _ in range(10):
            ask_in_child(f"child {number}")
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
stream.close()
ask(user="parent")
"""
    run(upstream, program)
    calls = spooled(home)
    users = sorted(str(json.loads(call.body).get("user")) for call in calls)
    assert users == sorted(["None", "parent", "parent", *(f"child {number}" for number in range(4) for _ in range(10))])
    assert [call.state for call in calls].count("complete") == 42
    assert [call.state for call in calls].count("aborted_client") == 1


def test_processes_of_multiprocessing(upstream: Upstream, home: Path):
    program = """
ask()
with multiprocessing.get_context("fork").Pool(3) as pool:
    pool.map(ask_in_child, ["child"] * 12)
"""
    run(upstream, program)
    assert [call.state for call in spooled(home)] == ["complete"] * 13


def test_importing_journeyman_stays_light(upstream: Upstream, home: Path):
    program = "import sys, journeyman\nprint([each for each in sys.modules if each.split('.')[0] in HEAVY])"
    heavy = {"openai", "httpx", "httpx2", "aiohttp", "requests", "pydantic", "sqlalchemy", "torch", "orjson"}
    command = [sys.executable, "-c", f"HEAVY = {heavy!r}\n{program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ingest_brings_it_into_the_store(upstream: Upstream, home: Path):
    said = [{"role": "user", "content": "What is the answer?" + " Really?" * 10_000}]
    with (
        journeyman.OpenAI(base_url=upstream.url, api_key="k", max_retries=0) as client,
        journeyman.session("s", person="p", tags={"a": "1"}),
    ):
        client.chat.completions.create(model="plain", messages=said)
        list(client.chat.completions.create(model="plain", messages=said, stream=True))
        list(client.responses.create(model="plain", input="hello", stream=True))
        with client.chat.completions.create(model="slow", messages=said, stream=True) as stream:
            next(iter(stream))
        journeyman.feedback("success", 1.0)
    assert upstream.calls[0][1]["messages"] == said
    result = CliRunner().invoke(app, ["ingest"], catch_exceptions=False)
    report = json.loads(result.output.splitlines()[1])
    assert (report["stored"], report["aside"], report["damaged"], report["open_calls"]) == (4, 0, 0, 0)
    with closing(open_store(Settings())) as store:
        found = list(store.find(Exchange, Filter()))
        (feedback,) = store.find(Feedback, Filter())
    found.sort(key=lambda exchange: exchange.id)
    assert [exchange.state for exchange in found] == ["complete", "complete", "complete", "aborted_client"]
    assert [exchange.api for exchange in found] == ["chat", "chat", "responses", "chat"]
    assert [exchange.model for exchange in found] == ["plain", "plain", "plain", "slow"]
    for exchange in found:
        assert (exchange.source, exchange.session, exchange.person) == ("client", "s", "p")
        assert exchange.tags == {"a": "1"}
        assert exchange.upstream == "127.0.0.1"
    for exchange in found[:3]:
        assert exchange.reply is not None
        assert exchange.reply.content == "The answer is 42."
    assert feedback.session == "s"
