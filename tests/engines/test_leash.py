"""A server that is not ours, on the leash: found when it serves, and ended with everything that it started."""

import asyncio
import os
import signal
import sys

import aiohttp
import pytest

from journeyman.engines.process import EngineProcess
from journeyman.errors import UpstreamFailed
from tests.engines.conftest import PROGRAM, until
from tests.engines.test_process import alive

LEASH = [sys.executable, "-m", "journeyman.engines.leash", "--grace", "0.5", "--"]
SERVER = [sys.executable, str(PROGRAM), "tiny", "someone", "{port}"]
# As vLLM does, it leaves a busy process behind when it is killed, and does not mind being asked to end.
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(600)"])
print("child", child.pid, file=sys.stderr, flush=True)
subprocess.run(sys.argv[1:])
"""


@pytest.fixture
def leashed(tmp_path):
    def made(command=SERVER, **options):
        return EngineProcess("tiny", [*LEASH, *command], tmp_path / "engine.log", **options)

    return made


def child_of(process):
    return int(process.log.read_text().split("child ")[1].split()[0])


async def test_it_is_ready_once_the_health_route_answers(leashed):
    async with leashed() as process:
        async with aiohttp.ClientSession() as client, client.get(f"{process.url}/health") as answer:
            assert answer.status == 200
        pid = process.pid
    assert not alive(pid)


async def test_everything_it_started_ends_with_it(leashed):
    async with leashed([sys.executable, "-c", STUBBORN, *SERVER], stop_timeout=5) as process:
        child = child_of(process)
        assert alive(child)
    await until(lambda: not running(child))


async def test_everything_it_started_ends_when_the_leash_is_killed(leashed):
    process = leashed([sys.executable, "-c", STUBBORN, *SERVER])
    await process.start()
    child = child_of(process)
    os.kill(process.pid, signal.SIGKILL)
    await process.ended()
    assert running(child)
    await process.stop()
    await until(lambda: not running(child))


async def test_everything_ends_when_our_side_of_the_pipe_closes(tmp_path):
    command = [*LEASH, sys.executable, "-c", STUBBORN, *SERVER]
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert (await process.stdout.readline()).startswith(b"ready http://127.0.0.1:")
    child = int(log.read_text().split("child ")[1].split()[0])
    process.stdin.close()
    await process.wait()
    await until(lambda: not running(child))


async def test_a_server_that_ends_by_itself_is_seen_to_have_ended(leashed):
    with pytest.raises(UpstreamFailed, match=r"exit status 3(.|\n)*no weights"):
        await leashed([sys.executable, "-c", "import sys; print('no weights'); sys.exit(3)"]).start()


def running(pid):
    """Whether the process does anything; one that was killed stays in the table until somebody collects it."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
