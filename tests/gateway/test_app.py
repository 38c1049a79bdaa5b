"""The routes that are not the hot path."""

import asyncio

import aiohttp
import pytest

from journeyman.gateway.keys import hash_of
from journeyman.records import ApiKey, Feedback


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


async def test_what_concerns_the_whole_installation_is_told_here_and_elsewhere_to_keys_alone(gateway, store):
    """A proxy on the same machine says so by its headers, and is elsewhere too."""
    hash = hash_of("jm-secret")
    store.put(ApiKey(name="anna", hash=hash, fingerprint=hash[:12]))
    far = {"x-forwarded-for": "203.0.113.9"}
    with_key = {**far, "authorization": "Bearer jm-secret"}
    async with aiohttp.ClientSession() as client:

        async def asked(path, headers):
            async with client.get(f"{gateway.url}{path}", headers=headers) as answer:
                return answer.status, await answer.text()

        for _ in range(40):
            status, _ = await asked("/metrics", far)
            if status == 401:
                break
            await asyncio.sleep(0.05)
        assert status == 401, "the key is known within a second"
        assert (await asked("/v1/usage/totals", far))[0] == 401
        assert await asked("/healthz", far) == (200, '{"status":"ok"}')
        assert (await asked("/metrics", {}))[0] == 200
        assert (await asked("/metrics", with_key))[0] == 200
        assert '"spool"' in (await asked("/healthz", with_key))[1]
