"""Programs with in-process capture that fork, end without a word, or live through a clock that goes back."""

import asyncio
import os
import sys
import textwrap

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


@pytest.mark.parametrize("what", PROGRAMS)
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
