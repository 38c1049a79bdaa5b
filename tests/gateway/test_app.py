"""The routes that are not the hot path."""

import asyncio

import pytest

from journeyman.records import Feedback


async def test_health_tells_the_engine_and_the_captures(gateway, engine, http):
    status, health = await http("GET", f"{gateway.url}/healthz")
    assert status == 200
    assert health["status"] == "ok"
    assert health["engine"] == {"name": "tiny", "failure": None}
    assert (health["spool"]["calls"], health["spool"]["dropped_calls"]) == (0, 0)
    engine.failure = "it ended"
    _, health = await http("GET", f"{gateway.url}/healthz")
    assert (health["status"], health["engine"]["failure"]) == ("degraded", "it ended")


@pytest.mark.parametrize("value", [1, 0.25, True, -3])
async def test_feedback_is_stored(gateway, store, http, value):
    body = {"session": "s1", "name": "success", "value": value, "reason": "paid"}
    status, answer = await http("POST", f"{gateway.url}/v1/feedback", body)
    assert status == 201
    assert await asyncio.to_thread(gateway.gateway.settle, 10)
    kept = store.get(Feedback, answer["id"])
    assert (kept.session, kept.name, kept.value, kept.reason, kept.by) == ("s1", "success", value, "paid", "api")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "success", "value": 1}, "session"),
        ({"session": "s", "value": 1}, "name"),
        ({"session": "s", "name": "success", "value": "1"}, "value"),
        ({"session": "s", "name": "success", "value": 1, "extra": 1}, "extra"),
        ("not an object", "the body"),
    ],
)
async def test_bad_feedback_is_refused_and_not_stored(gateway, store, http, body, says):
    status, answer = await http("POST", f"{gateway.url}/v1/feedback", body)
    assert status == 400
    assert says in answer["error"]["message"]
    assert not store.find(Feedback)


@pytest.mark.parametrize(("method", "path", "expected"), [("GET", "/v1/nothing", 404), ("DELETE", "/v1/models", 405)])
async def test_an_unknown_route_says_which_exist(gateway, http, method, path, expected):
    status, answer = await http(method, f"{gateway.url}{path}")
    assert status == expected
    assert "POST /v1/chat/completions" in answer["error"]["message"]
