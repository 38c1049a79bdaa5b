"""Health, counters, overload, and an orderly end."""

import asyncio
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from journeyman.engines.local.api import metrics
from journeyman.engines.local.api.answers import MOST_BYTES
from journeyman.engines.local.counters import Counters
from tests.engines.local.conftest import WAIT

HELLO = [{"role": "user", "content": "hello, world!"}]
TO_THE_LAST_TOKEN = {"ignore_eos": True}
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


@pytest.fixture
def client(served):
    with served.client as client:
        yield client


def read(text):
    """Samples of Prometheus' text format by name and labels; every line must be one, or a comment."""
    samples = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            samples[name, labels] = float(value)
    return samples


def test_health_says_how_it_computes(served):
    health = served.get("/healthz")
    assert (health["status"], health["model"], health["precision"]) == ("ok", "tiny", "float32")
    assert health["kernels"] in ("c", "torch")
    assert health["path"] in ("native", "transformers")


def test_an_engine_that_hangs_does_not_say_that_it_is_well(serve):
    served = serve()
    hangs, release = threading.Event(), threading.Event()
    served.engine._scheduler.call(lambda model: (hangs.set(), release.wait(WAIT)))
    assert hangs.wait(WAIT)
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{served.url}/healthz", timeout=0.3)
    release.set()
    assert served.get("/healthz")["status"] == "ok"


def test_metrics_are_prometheus_text_and_count(served, client):
    def scrape():
        with urllib.request.urlopen(f"{served.url}/metrics", timeout=WAIT) as answer:
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            return read(answer.read().decode())

    before = scrape()
    used = client.chat.completions.create(model="red", messages=HELLO, max_tokens=5, temperature=0).usage
    after = scrape()

    def grown(name, labels=None):
        return after[f"journeyman_engine_{name}", labels] - before[f"journeyman_engine_{name}", labels]

    assert grown("generated_tokens_total") == used.completion_tokens == 5
    assert grown("choices_ended_total", 'reason="length"') == 1
    assert grown("time_to_first_token_seconds_count") == 1
    assert grown("time_to_first_token_seconds_bucket", 'le="+Inf"') == 1
    assert grown("prompt_tokens_computed_total") + grown("prompt_tokens_cached_total") >= used.prompt_tokens - 1
    assert after["journeyman_engine_adapters_registered", None] == 3
    assert not any(labels and "red" in labels for _, labels in after), "no label names a tenant"


def test_a_histogram_adds_up():
    counters = Counters()
    for seconds in (0.001, 0.3, 0.3, 100):
        counters.time_first_token(seconds)
    samples = read(metrics.exposition(counters))
    name = "journeyman_engine_time_to_first_token_seconds"
    assert samples[f"{name}_bucket", 'le="0.01"'] == 1
    assert samples[f"{name}_bucket", 'le="0.5"'] == 3
    assert samples[f"{name}_bucket", 'le="30.0"'] == 3
    assert samples[f"{name}_bucket", 'le="+Inf"'] == samples[f"{name}_count", None] == 4
    assert samples[f"{name}_sum", None] == pytest.approx(100.601)


def test_what_was_served_can_be_followed_and_adds_up(served, client):
    start = served.get("/v1/served?after=0&limit=0")
    totals = served.get("/v1/counters")["totals"]
    wanted = {"model": "blue", "messages": HELLO, "max_tokens": 3, "n": 2, "extra_headers": {"x-request-id": "call-7"}}
    usage = client.chat.completions.create(**wanted).usage
    found = served.get(f"/v1/served?after={start['last']}&totals=true")
    assert "totals" not in start
    entries = found["entries"]
    assert [entry["number"] for entry in entries] == [start["last"] + 1, start["last"] + 2]
    assert {(entry["request"], entry["adapter"]) for entry in entries} == {("call-7", "blue")}
    assert sum(entry["prompt"] for entry in entries) == usage.prompt_tokens
    assert sum(entry["completion"] for entry in entries) == usage.completion_tokens
    assert (found["epoch"], found["missed"]) == (start["epoch"], 0)
    before = totals["adapters"].get("blue", {"requests": 0, "completion": 0})
    after = found["totals"]["adapters"]["blue"]
    assert after["requests"] - before["requests"] == 2
    assert after["completion"] - before["completion"] == usage.completion_tokens
    page = served.get(f"/v1/served?after={start['last']}&limit=1")
    assert page["entries"] == entries[:1]


BAD = ["after=-1", "after=x", "limit=1.5", f"after={'9' * 5000}", "limit=", "after=²", "totals=x"]


@pytest.mark.parametrize("query", BAD)
def test_numbers_that_are_none_are_refused(served, query):
    with pytest.raises(urllib.error.HTTPError) as caught:
        served.get(f"/v1/served?{urllib.parse.quote(query, safe='=&')}")
    with caught.value as error:
        assert error.code == 400


def test_a_body_beyond_reason_is_refused(served):
    status, content = served.post("/v1/completions", b" " * (MOST_BYTES + 1))
    assert status == 413
    assert json.loads(content)["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chats", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 405), ("PUT", "/", 404)],
)
def test_wrong_paths_and_methods_are_errors_in_openais_shape(served, method, path, status):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(served.url + path, method=method), timeout=WAIT)
    with caught.value as error:
        assert error.code == status
        content = json.loads(error.read())["error"]
        assert (content["type"], content["code"]) == ("invalid_request_error", "unknown_url")
        assert path in content["message"]
        assert (error.headers["allow"] is not None) == (status == 405)


def slow_down(served, monkeypatch):
    """Every step lasts long enough: the long reply must not have ended before the others are there."""
    forward = served.model.forward

    def slowly(*arguments):
        time.sleep(0.02)
        return forward(*arguments)

    monkeypatch.setattr(served.model, "forward", slowly)


def test_who_finds_the_queue_full_is_told_when_to_come_back(serve, monkeypatch):
    served = serve(rows=1, queue=2)
    slow_down(served, monkeypatch)
    with served.client as client:
        stream = client.chat.completions.create(
            model="tiny", messages=HELLO, n=3, max_tokens=400, stream=True, extra_body=TO_THE_LAST_TOKEN
        )
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="tiny", messages=HELLO)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert caught.value.code == "overloaded"
        stream.close()
    assert served.get("/v1/counters")["gauges"]["rejected"] == 1


def test_people_who_wait_go_before_rollouts(serve, monkeypatch):
    served = serve(rows=1)
    slow_down(served, monkeypatch)

    def asked(name, **body):
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, **body}
        with served.client as client:
            client.chat.completions.create(**body, extra_headers={"x-request-id": name})

    with served.client as client, ThreadPoolExecutor(3) as threads:
        hog = client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=400, stream=True, extra_body=TO_THE_LAST_TOKEN
        )
        next(iter(hog))
        for number, (name, priority) in enumerate({"rollout": 1, "person": 0, "other rollout": 1}.items(), start=1):
            threads.submit(asked, name, extra_body={"priority": priority})
            served.wait_for("/v1/counters", lambda found, number=number: found["gauges"]["waiting"] == number)
        hog.close()
    entries = served.get("/v1/served")["entries"]
    assert [entry["request"] for entry in entries][-3:] == ["person", "rollout", "other rollout"]


def test_a_drain_finishes_what_runs_and_takes_nothing_new(serve, monkeypatch):
    served = serve()
    slow_down(served, monkeypatch)
    ended = []

    def wait_for_the_end():
        ended.append(asyncio.run_coroutine_threadsafe(served.engine.drained(WAIT), served.loop).result(WAIT))

    waiting = threading.Thread(target=wait_for_the_end)
    waiting.start()
    with served.client as client:
        stream = iter(client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=150, stream=True, extra_body=TO_THE_LAST_TOKEN
        ))  # fmt: skip
        next(stream)
        status, content = served.post("/drain", {})
        assert (status, json.loads(content)) == (202, {"status": "draining", "running": 1})
        assert served.get("/healthz")["status"] == "draining"
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="tiny", messages=HELLO)
        assert caught.value.status_code == 503
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert not ended
        *_, last = stream
        assert last.choices[0].finish_reason in ("stop", "length")
        waiting.join(WAIT)
        assert ended
        assert served.get("/v1/served")["last"] == 1


def test_a_drain_waits_for_whoever_follows_the_counts(serve, monkeypatch):
    served = serve()
    monkeypatch.setattr("journeyman.engines.local.api.server.READ_SECONDS", WAIT)
    assert served.get("/v1/served")["entries"] == []
    with served.client as client:
        client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=2)
    served.post("/drain", {})
    ending = asyncio.run_coroutine_threadsafe(served.engine.drained(WAIT), served.loop)
    with pytest.raises(TimeoutError):
        ending.result(0.3)
    assert len(served.get("/v1/served")["entries"]) == 1
    ending.result(WAIT)


def test_what_does_not_end_in_time_is_cut_off_with_an_error(serve):
    served = serve()
    with served.client as client:
        stream = iter(
            client.chat.completions.create(
                model="tiny", messages=HELLO, n=32, stream=True, extra_body={"ignore_eos": True}
            )
        )
        next(stream)
        served.post("/drain", {})
        asyncio.run_coroutine_threadsafe(served.engine.drained(0.05), served.loop).result(WAIT)
        with pytest.raises(openai.APIError, match="shutting down"):
            list(stream)


LONG = {
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 400, "n": 40, "ignore_eos": True},
    "/v1/completions": {"prompt": ["hello", "world"], "max_tokens": 400, "n": 20, "ignore_eos": True},
}


@pytest.mark.parametrize("path", LONG)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_hangs_up_frees_what_it_held(served, path, stream):
    host, port = served.url.removeprefix("http://").split(":")
    before = served.get("/v1/served?limit=0")["last"]
    sent = json.dumps({"model": "tiny", "stream": stream, **LONG[path]}).encode()
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(sent)}\r\n\r\n"
        connection.sendall(head.encode() + sent)
        if stream:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        served.wait_for("/v1/counters", lambda counters: counters["gauges"]["running"] > 0)
    served.wait_for("/v1/served?limit=0", lambda counted: counted["last"] == before + 40)
    entries = served.get(f"/v1/served?after={before}")["entries"]
    assert {entry["ended"] for entry in entries} == {"cancelled"}
    assert all(entry["completion"] < 400 for entry in entries)


def test_a_fault_of_ours_is_an_error_in_openais_shape_too(served, monkeypatch):
    def broken(counters):
        raise ArithmeticError("nothing adds up")

    monkeypatch.setattr(metrics, "exposition", broken)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{served.url}/metrics", timeout=WAIT)
    with caught.value as error:
        assert error.code == 500
        content = json.loads(error.read())["error"]
        assert content["type"] == "server_error"
        assert "nothing adds up" in content["message"]
