"""The engine's process: started, watched, ended, and never left behind."""

import asyncio
import contextlib
import os
import signal
import sys

import pytest

from journeyman.engines.process import EngineProcess
from journeyman.errors import InvalidInput, UpstreamFailed

SERVES = "import sys; print('loading'); print('ready http://127.0.0.1:7', flush=True); sys.stdin.read()"


@pytest.fixture
def engine(tmp_path):
    def made(code, **options):
        return EngineProcess("tiny", [sys.executable, "-u", "-c", code], tmp_path / "logs" / "engine.log", **options)

    return made


async def until(holds):
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 10 s in vain")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_is_ready_at_the_address_it_prints_and_ends_with_us(engine):
    child = engine(SERVES)
    assert "not running" in child.failure
    async with child:
        assert child.url == "http://127.0.0.1:7"
        assert child.failure is None
        pid = child.pid
    assert not alive(pid)
    assert child.log.read_text() == "loading\n"


async def test_a_child_that_does_not_listen_to_its_input_is_terminated_and_then_killed(engine):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready http://x'); time.sleep(60)"
    async with engine(deaf, stop_timeout=0.2) as child:
        pid = child.pid
    assert not alive(pid)


async def test_a_child_that_ends_early_is_an_error_with_its_last_words(engine):
    with pytest.raises(UpstreamFailed, match=r"exit status 3(.|\n)*no weights here"):
        await engine("import sys; print('no weights here', file=sys.stderr); sys.exit(3)").start()


async def test_a_child_that_refuses_what_it_was_given_is_told_in_its_own_words(engine):
    code = "import sys; print('a warning', file=sys.stderr); print('no weights here', file=sys.stderr); sys.exit(2)"
    with pytest.raises(UpstreamFailed, match=r"^the engine of tiny did not start: no weights here\. Its log is \S+$"):
        await engine(code).start()


async def test_the_words_of_an_earlier_child_are_not_told_again(engine):
    for said in ("first", "second"):
        with pytest.raises(UpstreamFailed) as failed:
            await engine(f"import sys; print({said!r}, file=sys.stderr); sys.exit(3)").start()
    assert "second" in str(failed.value)
    assert "first" not in str(failed.value)


async def test_a_child_that_is_never_ready_is_stopped(engine):
    child = engine("import sys; print('thinking', flush=True); sys.stdin.read()", start_timeout=5)
    with pytest.raises(UpstreamFailed, match=r"waited 5 s(.|\n)*thinking"):
        await child.start()
    assert child.pid is None


async def test_a_child_that_dies_later_is_noticed(engine):
    async with engine(SERVES) as child:
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: child.failure)
        assert "exit status -9" in child.failure


async def test_a_child_that_talks_a_lot_is_not_blocked(engine):
    talks = "import sys; print('ready http://x'); print('x' * 500_000); print('end'); sys.stdin.read()"
    async with engine(talks) as child:
        await until(lambda: child.log.read_text().endswith("end\n"))


async def test_cancelling_the_start_leaves_no_child(engine):
    child = engine("import sys; sys.stdin.read()")
    starting = asyncio.create_task(child.start())
    await until(lambda: child.pid)
    pid = child.pid
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    assert not alive(pid)


async def test_the_child_dies_when_its_parent_is_killed(tmp_path):
    parent = f"""
import asyncio, sys
from pathlib import Path
from journeyman.engines.process import EngineProcess
async def main():
    child = EngineProcess("tiny", [sys.executable, "-c", {SERVES!r}], Path({str(tmp_path)!r}) / "log")
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE)
    pid = int(await process.stdout.readline())
    assert alive(pid)
    process.kill()
    await process.wait()
    await until(lambda: not alive(pid))


@pytest.mark.parametrize("argument", ["--precision", "--prec=int8", "--model=x", "--port", "--adapters", "--exit-with"])
def test_an_argument_of_the_local_engine_that_is_ours_is_refused(argument, tmp_path):
    with pytest.raises(InvalidInput, match=r"local_arguments: --.* is set by Journeyman"):
        EngineProcess.local(tmp_path, "tiny", tmp_path, arguments=["--rows", "8", argument])
    assert EngineProcess.local(tmp_path, "tiny", tmp_path, arguments=["--rows", "8"]).command[-2:] == ("--rows", "8")
