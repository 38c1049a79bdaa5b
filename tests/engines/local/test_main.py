"""The real process: `python -m journeyman.engines.local`."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from openai import OpenAI

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
    process = spawn("--precision", "float32", "--exit-with-stdin", "--threads", "1", "--slots", "2", "--context", "64")
    url = ready(process)
    with urllib.request.urlopen(f"{url}/healthz", timeout=WAIT) as answer:
        assert json.loads(answer.read())["precision"] == "torch.float32"
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=WAIT) as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=3, temperature=0
        )
    assert answer.usage.completion_tokens == 3
    process.stdin.close()
    assert process.wait(WAIT) == 0


def test_asked_to_stop_it_does_not_wait_for_ever_for_a_reply(spawn):
    process = spawn("--context", "500")
    url = ready(process)
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=WAIT) as client:
        stream = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hi"}], n=100, stream=True
        )
        next(iter(stream))
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
