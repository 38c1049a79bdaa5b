"""The real process: `python -m journeyman.engines.local`."""

import json
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from openai import APIError, OpenAI

from journeyman.engines.local.__main__ import main
from tests.engines.local.conftest import WAIT


@pytest.fixture
def spawn(tiny):
    started = []

    def spawned(*options):
        command = [sys.executable, "-m", "journeyman.engines.local", "--model", str(tiny), "--name", "tiny", *options]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield spawned
    for process in started:
        process.kill()
        process.wait(WAIT)
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def ready(process):
    word, _, url = process.stdout.readline().strip().partition(" ")
    assert word == "ready", process.stderr.read()
    return url


def test_it_serves_and_ends_when_its_input_closes(spawn):
    process = spawn("--precision", "float32", "--exit-with-stdin", "--threads", "1", "--rows", "2", "--context", "64")
    url = ready(process)
    with urllib.request.urlopen(f"{url}/healthz", timeout=WAIT) as answer:
        assert json.loads(answer.read())["precision"] == "float32"
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=WAIT) as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=3, temperature=0
        )
    assert answer.usage.completion_tokens == 3
    process.stdin.close()
    assert process.wait(WAIT) == 0


def long_stream(client, **options):
    """A reply under way that will not end soon by itself."""
    hello = [{"role": "user", "content": "hi"}]
    options["extra_body"] = {"ignore_eos": True}
    stream = client.chat.completions.create(model="tiny", messages=hello, stream=True, **options)
    next(iter(stream))
    return stream


def status(url):
    with urllib.request.urlopen(f"{url}/healthz", timeout=WAIT) as answer:
        return json.loads(answer.read())["status"]


@pytest.mark.parametrize("way", ["a signal", "a request"])
def test_asked_to_stop_it_finishes_what_runs_and_ends(spawn, way):
    process = spawn("--context", "300", "--precision", "float32")
    url = ready(process)
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=WAIT, max_retries=0) as client:
        stream = long_stream(client, max_tokens=200)
        if way == "a signal":
            process.send_signal(signal.SIGTERM)
        else:
            urllib.request.urlopen(urllib.request.Request(f"{url}/drain", method="POST"), timeout=WAIT).close()
        *_, last = stream
        assert last.choices[0].finish_reason == "length"
    assert process.wait(WAIT) == 0
    assert process.stderr.read() == ""


def test_asked_to_stop_it_does_not_wait_for_ever_for_a_reply(spawn):
    process = spawn("--context", "500", "--drain-seconds", "0.2", "--precision", "float32")
    url = ready(process)
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=WAIT) as client:
        stream = long_stream(client, n=100)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(APIError, match="shutting down"):
            list(stream)
    assert process.wait(WAIT) == 0


def test_asked_twice_it_ends_at_once(spawn):
    process = spawn("--context", "500", "--precision", "float32")
    url = ready(process)
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=WAIT) as client:
        stream = long_stream(client, n=100)
        process.send_signal(signal.SIGTERM)
        while status(url) != "draining":
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT)
        stream.close()
    assert process.returncode is not None


def test_a_model_that_cannot_be_loaded_is_one_line_and_an_exit_code(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["engine", "--model", str(tmp_path / "empty"), "--name", "tiny"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("empty: config.json is missing")
