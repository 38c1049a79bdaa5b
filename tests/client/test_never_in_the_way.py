"""Whatever is broken on our side, the program's calls and their errors are those of the stock client."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import journeyman
from journeyman.client import calls, decoding, faults
from tests.client.spooled import records, spooled
from tests.client.upstream import Upstream

SAID: Any = [{"role": "user", "content": "What is the answer?"}]


@pytest.fixture(autouse=True)
def no_faults_yet() -> Iterator[None]:
    faults.counts.clear()
    yield
    faults.counts.clear()


def everything(make: Any, upstream: Upstream) -> list[Any]:
    """What a program sees of a whole answer, a stream, an early end, and three kinds of failure."""
    seen: list[Any] = []
    with make(base_url=upstream.url, api_key="k", max_retries=0) as client:
        create = client.chat.completions.create
        seen.append(create(model="plain", messages=SAID))
        seen.append(list(create(model="gzip", messages=SAID, stream=True)))
        with create(model="slow", messages=SAID, stream=True) as stream:
            seen.append(next(iter(stream)))
        for model, stream in (("cut-2", True), ("cut-9", False), ("silent", False), ("status-401", False)):
            try:
                answer = create(model=model, messages=SAID, stream=stream)
                seen.append(list(answer) if stream else answer)
            except Exception as error:
                seen.append((type(error), str(error), type(error.__cause__)))
    return seen


def test_a_home_that_cannot_be_written(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("JOURNEYMAN_HOME", str(file))
    assert everything(journeyman.OpenAI, upstream) == everything(openai.OpenAI, upstream)
    report = calls.report()["spools"][str(file)]
    assert (report["dropped_calls"], report["calls"]) == (7, 0)
    assert "Not a directory" in report["last_error"]


def test_a_settings_file_that_is_wrong(upstream: Upstream, home: Path):
    home.mkdir()
    (home / "journeyman.toml").write_text("= nonsense")
    assert everything(journeyman.OpenAI, upstream) == everything(openai.OpenAI, upstream)
    assert len(spooled(home)) == 7


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
def test_a_disk_that_is_full(upstream: Upstream, home: Path):
    """A file that may not grow beyond some size stands in for the disk: the system refuses to write on, mid-call."""
    program = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))
import journeyman, openai
from journeyman.client import calls
from tests.client.test_never_in_the_way import everything

class At:
    url = {upstream.url!r}

assert everything(journeyman.OpenAI, At) == everything(openai.OpenAI, At)
report = calls.report()["spools"][{str(home)!r}]
assert report["dropped_calls"] and report["write_errors"], report
assert calls.report()["faults"] == {{}}, calls.report()
"""
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert 0 < len(spooled(home)) < 7


@pytest.mark.parametrize("method", ["start", "chunk", "end", "flush"])
def test_a_spool_with_a_bug(
    method: str, upstream: Upstream, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from journeyman.capture.spool import Spool

    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("a bug of ours")

    expected = everything(openai.OpenAI, upstream)
    monkeypatch.setattr(Spool, method, broken)
    with caplog.at_level(logging.WARNING):
        assert everything(journeyman.OpenAI, upstream) == expected
    monkeypatch.undo()
    assert faults.counts["ZeroDivisionError"] > 1
    warned = [line for line in caplog.messages if "a bug of ours" in line]
    assert len(warned) == 1
    assert "The call itself is untouched" in warned[0]


@pytest.mark.parametrize("broken", ["api_of", "begin"])
def test_a_hook_with_a_bug(broken: str, upstream: Upstream, home: Path, monkeypatch: pytest.MonkeyPatch):
    from journeyman.client import httpx_calls

    def bug(*arguments: Any) -> None:
        raise RuntimeError("a bug of ours")

    expected = everything(openai.OpenAI, upstream)
    monkeypatch.setattr(httpx_calls, broken, bug)
    assert everything(journeyman.OpenAI, upstream) == expected
    assert faults.counts == {"RuntimeError": 7}


def test_an_answer_in_an_unknown_encoding_passes(home: Path):
    def answer(request: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(b"\x00\x01\x02")
        return httpx.Response(200, headers={"content-encoding": "strange"}, stream=stream)

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        journeyman.capture(),
        client.stream("POST", "http://a/v1/chat/completions", json={"model": "m"}) as response,
    ):
        assert response.read() == b"\x00\x01\x02"
    (call,) = spooled(home)
    assert (call.answer, call.state) == (b"\x00\x01\x02", "complete")
    assert faults.counts == {"ValueError": 1}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "bare deflate", "zstd", "gzip, zstd"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_encodings_are_undone_part_by_part(encoding: str, size: int):
    import gzip
    import zlib

    import zstandard

    text = b"data: {}\n\n" * 500
    bare = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "bare deflate": bare.compress(text) + bare.flush(),
        "zstd": zstandard.compress(text),
        "gzip, zstd": zstandard.compress(gzip.compress(text)),
    }[encoding]
    decode = decoding.decoder(encoding.removeprefix("bare "))
    assert decode is not None
    assert b"".join(decode(packed[at : at + size]) for at in range(0, len(packed), size)) == text


def test_feedback(home: Path):
    assert journeyman.feedback("success", 1.0, exchange_id="e")
    with journeyman.session("s"):
        assert journeyman.feedback("tone", label="rude", correction="Good day.", turn=2)
    with pytest.raises(ValueError, match="what the feedback is about"):
        journeyman.feedback("success", 1.0)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"value: (nan|inf) compares with no other score"):
            journeyman.feedback("success", value, exchange_id="e")
    from journeyman.capture.feedback import handle_feedback

    first, second = (handle_feedback(about, body)[0] for what, about, body in records(home) if what == "feedback")
    assert (first.exchange_id, first.value, first.by) == ("e", 1.0, "program")
    assert (second.session, second.turn, second.label) == ("s", 2, "rude")
    assert second.correction.content == "Good day."


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, in a process of its own."""
    root = str(Path(__file__).parent.parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
