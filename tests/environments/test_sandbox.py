"""Code of others: what it may not do, with bubblewrap and without, and which limit stops it."""

import contextlib
import logging
import socket
from pathlib import Path
from uuid import uuid4

import pytest

from journeyman.environments import sandbox
from journeyman.environments.sandbox import SandboxLimits, call_sandboxed, python_command, run_sandboxed
from journeyman.errors import ProgramFailed, Refused

HAS_BUBBLEWRAP = sandbox._has_bubblewrap()
isolated = pytest.mark.skipif(not HAS_BUBBLEWRAP, reason="NOT TESTED: apt install bubblewrap")
QUICK = SandboxLimits(seconds=4, cpu_seconds=1, memory_mb=256, processes=8, output_mb=0.1)


@pytest.fixture(params=["bubblewrap", "limits alone"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways, where the machine has both."""
    if request.param == "bubblewrap" and not HAS_BUBBLEWRAP:
        pytest.skip("NOT TESTED: apt install bubblewrap")
    monkeypatch.setattr(sandbox, "_has_bubblewrap", lambda: request.param == "bubblewrap")
    return request.param == "bubblewrap"


async def python(code: str, **options):
    return await run_sandboxed(python_command("-S", "-c", code), limits=QUICK, **options)


async def test_it_answers_and_says_how_it_ran(either: bool) -> None:
    result = await python("import sys; print(sys.stdin.read().upper())", given=b"hello")
    assert (result.code, result.out, result.ended, result.isolated) == (0, b"HELLO\n", "by itself", either)


async def test_what_lists_a_set_says_the_same_each_time(either: bool) -> None:
    code = "import sys; print(list({chr(number) for number in range(97, 123)}), sys.path[0] == '')"
    first, *others = [await python(code) for _ in range(3)]
    assert first.out.endswith(b"False\n")
    assert {each.out for each in others} == {first.out}


def still_running(code: str) -> list[str]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [each.parent.name] if code.encode() in each.read_bytes() else []
    return found


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("while True: pass", "processor time"),
        ("import time; time.sleep(60)", "time"),
        ("print('x' * 10**7)", "output"),
        ("import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(30)\n    time.sleep(0.002)", "processes"),
    ],
    ids=["loop", "sleep", "output", "forks"],
)
async def test_what_takes_too_much_is_stopped_with_all_it_started(either: bool, code: str, ended: str) -> None:
    seconds = 1.5 if ended == "time" else 30
    limits = QUICK.model_copy(update={"seconds": seconds})
    code += f"\n# {uuid4().hex}"  # Words that no other process has.
    result = await run_sandboxed(python_command("-S", "-c", code), limits=limits)
    assert result.ended == ended
    assert result.code != 0 or ended == "output"
    assert len(result.out) < 1 << 20
    assert not still_running(code)


async def test_memory_ends(either: bool) -> None:
    result = await python("x = []\nwhile True: x.append(bytearray(1 << 24))")
    assert result.ended == "memory" or b"MemoryError" in result.errors
    assert result.code != 0


@isolated
async def test_there_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('reached')"
        inside = await python(code)
        assert inside.isolated
        assert (inside.out, b"refused" in inside.errors or b"unreachable" in inside.errors) == (b"", True)
        monkeypatch.setattr(sandbox, "_has_bubblewrap", lambda: False)
        assert (await python(code)).out == b"reached\n"


@isolated
async def test_it_sees_and_writes_only_what_it_was_given(tmp_path: Path) -> None:
    secret, mine = tmp_path / "secret.txt", tmp_path / "mine"
    secret.write_text("hush")
    mine.mkdir()
    code = """
import os, sys
for path in sys.argv[1:]:
    try:
        if path.endswith("secret.txt"):
            print(open(path).read())
        open(path, "a").write("!")
        print("wrote")
    except OSError as error:
        print(type(error).__name__)
print(sorted(os.environ), os.path.exists("/root/.bashrc"), len([p for p in os.listdir("/proc") if p.isdigit()]) < 5)
"""
    paths = [str(secret), "/usr/bin/x", "/etc/passwd", "/tmp/x", str(mine / "x")]
    result = await run_sandboxed(
        python_command("-S", "-c", code, *paths), limits=QUICK, writable=mine
    )  # fmt: skip
    lines = result.out.decode().splitlines()
    assert lines[0] == "FileNotFoundError", result.errors
    assert lines[1:5] == ["OSError", "FileNotFoundError", "wrote", "wrote"]
    assert "JOURNEYMAN" not in lines[5]
    assert lines[5].endswith("False True")
    assert (secret.read_text(), (mine / "x").read_text()) == ("hush", "!")


async def test_a_function_is_called_and_its_failures_have_words(either: bool, tmp_path: Path) -> None:
    code = tmp_path / "tools.py"
    code.write_text("def add(a, b):\n    print('noise')\n    return {'sum': a + b}\n\ndef odd():\n    return {1, 2}\n")
    assert await call_sandboxed(code, "add", {"a": 1, "b": 2}) == {"sum": 3}
    with pytest.raises(ProgramFailed, match=r"(?s)add of tools\.py failed: .*TypeError"):
        await call_sandboxed(code, "add", {"a": 1, "b": "x"})
    with pytest.raises(ProgramFailed, match="not JSON serializable"):
        await call_sandboxed(code, "odd", {})
    with pytest.raises(ProgramFailed, match="cannot be found"):
        await run_sandboxed(["no-such-program"])


async def test_without_bubblewrap_it_is_loud_or_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(sandbox, "_has_bubblewrap", lambda: False)
    sandbox._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not (await python("pass")).isolated
    assert "CODE OF OTHERS RUNS WITH LIMITS ALONE" in caplog.text
    unwritten = tmp_path / "left"
    wrote = await python(f"with open({str(unwritten)!r}, 'w') as file: file.write('x')")
    assert (wrote.code != 0, unwritten.stat().st_size) == (True, 0)
    with pytest.raises(Refused, match="apt install bubblewrap"):
        await python("pass", isolation="required")
