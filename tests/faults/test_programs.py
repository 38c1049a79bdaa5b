"""Programs that fork, end without a word, or live through a clock that goes back; and a gateway whose clock does."""

import asyncio
import os
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from tests.faults.conftest import Load

BEGIN = """
    import os, sys, time
    import journeyman
    client = journeyman.OpenAI(base_url=os.environ["UPSTREAM"], api_key="k")

    def ask(name, stream=False):
        said = [{"role": "user", "content": name}]
        answer = client.chat.completions.create(model="m", messages=said, stream=stream)
        if stream:
            list(answer)
        os.write(1, f"{name}\\n".encode())  # at once: children share the pipe
"""
PROGRAMS = {
    "fork": """
        ask("parent 0")
        children = []
        for number in range(5):
            child = os.fork()
            if not child:
                client = journeyman.OpenAI(base_url=os.environ["UPSTREAM"], api_key="k")
                ask(f"child {number}")
                os._exit(0)
            children.append(child)
        ask("parent 1")
        assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    """,
    "exit without flush": """
        for number in range(10):
            ask(f"call {number}", stream=bool(number % 2))
        os._exit(0)
    """,
    "clock stepped back": """
        real_time, real_ns, ahead = time.time, time.time_ns, [0]
        time.time = lambda: real_time() + ahead[0]
        time.time_ns = lambda: real_ns() + ahead[0] * 1_000_000_000
        for number in range(10):
            ask(f"call {number}")
            ahead[0] -= 3600
    """,
}


FAULTS = {
    "fork": "fork, captured in process",
    "exit without flush": "exit without flush, captured in process",
    "clock stepped back": "clock stepped back ten times by an hour, captured in process",
}


@pytest.mark.parametrize("what", [pytest.param(each, marks=pytest.mark.fault(FAULTS[each])) for each in PROGRAMS])
async def test_a_program_that_captures_itself(installation, upstream, tally, what):
    load = Load(installation)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(BEGIN) + textwrap.dedent(PROGRAMS[what]),
        env={**os.environ, "JOURNEYMAN_HOME": str(installation.home), "UPSTREAM": upstream.url},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await program.communicate()
    assert program.returncode == 0
    load.sent += said.decode().splitlines()
    await installation.drain()
    stored = installation.stored()
    tally(load, stored)
    assert sum(upstream.asked.values()) == len(load.sent) >= 7
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")


@pytest.mark.fault("clock stepped back ten times by an hour, gateway and ingester")
async def test_the_clock_is_stepped_back(installation, tally, tmp_path):
    clock = tmp_path / "offset"
    clock.write_text("0")
    folders = [str(Path(__file__).parent / "stepping_clock"), os.environ.get("PYTHONPATH", "")]
    installation.settings |= {"STEPPED_CLOCK": str(clock), "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    await installation.start()
    load = Load(installation)
    async with aiohttp.ClientSession() as session:
        for hour in range(10):
            for number in range(10):
                await load.ask(session, f"hour {hour} call {number}", stream=bool(number % 2))
                if number == 4:
                    clock.write_text(str(-3600 * (hour + 1)))
    await installation.stop()
    await installation.drain()
    stored = installation.stored()
    tally(load, stored)
    assert not load.failed
    assert {name: each.state for name, each in stored.items()} == dict.fromkeys(load.sent, "complete")
    assert stored["hour 0 call 0"].at - stored["hour 9 call 9"].at > timedelta(hours=9), "the clock did step"
    assert all(0 <= each.latency < 60 for each in stored.values()), "what was measured did not"
