"""Tries, fallbacks and timeouts by a route's rule; and that nothing is tried again without one."""

import asyncio
import time

import aiohttp
import openai
import pytest

from journeyman.config import Provider, RouteRule
from journeyman.gateway.tries import Plan, Routes
from journeyman.records import UsageEntry
from tests.gateway.conftest import whole

HI = [{"role": "user", "content": "Hi"}]
DOWN = whole({"error": {"message": "overloaded"}}, 503)


@pytest.fixture
def route(settings):
    """Write a rule for the name `support`."""

    def set_rule(*targets, **rule):
        settings.routes["support"] = RouteRule(targets=list(targets), **({"backoff": 0.01} | rule))

    return set_rule


async def ask(gateway, model="support", **more):
    async with gateway.client() as client:
        return await client.chat.completions.create(model=model, messages=HI, **more)


def in_turn(upstream, *answers):
    """Each request gets the next answer."""
    left = list(answers)

    async def answer(request, asked):
        return await left.pop(0)(request, asked)

    upstream.answer = answer


GOOD = whole({"choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]})


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
async def test_a_failed_try_is_repeated_and_recorded(route, serving, store, engine, upstream, status):
    route("acme/m", retries=2)
    in_turn(upstream, whole({"error": {"message": "not now"}}, status), GOOD)
    async with serving(store, engine) as gateway:
        assert (await ask(gateway)).choices[0].message.content == "ok"
        exchange = await gateway.exchange()
    assert (exchange.state, exchange.model, exchange.upstream, exchange.status) == ("complete", "support", "acme", 200)
    [attempt] = exchange.attempts
    assert (attempt.upstream, attempt.served, attempt.status, attempt.error) == ("acme", "m", status, "not now")
    assert attempt.latency > 0
    assert len(upstream.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
async def test_what_would_fail_again_is_not_repeated(route, serving, store, engine, upstream, status):
    route("acme/m", "open/other")
    upstream.answer = whole({"error": {"message": "no"}}, status)
    async with serving(store, engine) as gateway:
        with pytest.raises(openai.APIStatusError) as caught:
            await ask(gateway)
        assert caught.value.status_code == status
    assert len(upstream.asked) == 1


async def test_the_next_target_is_asked_when_the_first_has_failed_and_the_last_failure_comes_back(
    route, serving, store, engine, upstream
):
    route("nowhere/a", "acme/b", "open/c", retries=1)
    in_turn(upstream, DOWN, DOWN, GOOD)
    async with serving(store, engine) as gateway:
        assert (await ask(gateway)).choices[0].message.content == "ok"
        upstream.answer = DOWN
        with pytest.raises(openai.InternalServerError, match="overloaded"):
            await ask(gateway)
        failed, good = await gateway.exchanges(2)
    assert [each.upstream for each in good.attempts] == ["nowhere", "nowhere", "acme", "acme"]
    assert (good.upstream, good.served, good.state) == ("open", "c", "complete")
    assert (failed.state, failed.status, failed.upstream, len(failed.attempts)) == ("failed", 503, "open", 5)
    assert [asked["model"] for asked in upstream.asked] == ["b", "b", "c", "b", "b", "c", "c"]


async def test_a_target_that_is_gone_is_passed_over(route, serving, store, engine, upstream):
    route("no-such-adapter", "acme/b")
    upstream.answer = GOOD
    async with serving(store, engine) as gateway:
        assert (await ask(gateway)).choices[0].message.content == "ok"
    assert [asked["model"] for asked in upstream.asked] == ["b"]


async def test_an_engine_behind_a_provider_answers_and_is_booked_once(route, serving, store, engine, upstream):
    route("acme/b", "tiny", retries=0)
    in_turn(upstream, DOWN, whole(upstream.completion({"content": "mine"})))
    async with serving(store, engine) as gateway:
        assert (await ask(gateway)).choices[0].message.content == "mine"
        exchange = await gateway.exchange()
        await gateway.gateway.ledger.catch_up()
    assert (exchange.upstream, exchange.served) == ("engine", "tiny")
    [entry] = store.find(UsageEntry)
    assert (entry.request, entry.upstream, entry.usage.total_tokens) == (exchange.id, "engine", 15)


async def test_a_silent_first_target_costs_its_timeout_only(route, serving, store, engine, upstream):
    async def silent(request, asked):
        await asyncio.Event().wait()

    route("acme/a", "acme/b", retries=0, first_byte_timeout=0.3)
    in_turn(upstream, silent, GOOD)
    async with serving(store, engine) as gateway:
        began = time.monotonic()
        assert (await ask(gateway)).choices[0].message.content == "ok"
        assert time.monotonic() - began >= 0.3
        exchange = await gateway.exchange()
    assert "no answer within 0.3 s" in exchange.attempts[0].error


async def test_a_stream_that_fails_before_its_first_byte_is_tried_again_and_never_after(
    route, serving, store, engine, upstream
):
    route("acme/a", retries=1)
    cut = [upstream.streamed(upstream.hello[:passed], cut=True) for passed in (0, 2)]
    in_turn(upstream, cut[0], upstream.streamed(upstream.hello), cut[1])
    async with serving(store, engine) as gateway:
        asked = {"model": "support", "messages": HI, "stream": True}
        url = f"{gateway.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as client:
            async with client.post(url, json=asked) as answer:
                assert b"Hel" in await answer.read()
            async with client.post(url, json=asked) as answer:
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()
        broken, good = await gateway.exchanges(2)
    assert (good.state, len(good.attempts)) == ("complete", 1)
    assert (broken.state, broken.attempts) == ("truncated_upstream", ())
    assert len(upstream.asked) == 3


async def test_retry_after_is_respected_and_a_long_one_means_the_next_target(route, serving, store, engine, upstream):
    route("acme/a", "acme/b", retries=1)
    in_turn(upstream, whole({"error": "wait"}, 429, {"retry-after": "1"}), GOOD,
            whole({"error": "wait"}, 429, {"retry-after": "3600"}), GOOD)  # fmt: skip
    async with serving(store, engine) as gateway:
        began = time.monotonic()
        await ask(gateway)
        assert time.monotonic() - began >= 1.0
        began = time.monotonic()
        await ask(gateway)
        assert time.monotonic() - began < 60, "nobody waits for an hour"
    assert [asked["model"] for asked in upstream.asked] == ["a", "a", "a", "b"]


async def test_without_a_rule_nothing_that_may_have_been_computed_is_repeated(gateway, upstream):
    async def broken(request, asked):
        request.transport.abort()
        await asyncio.sleep(0.05)

    upstream.answer = broken
    with pytest.raises(openai.InternalServerError, match="broke off"):
        await ask(gateway, "acme/m")
    upstream.answer = DOWN
    with pytest.raises(openai.InternalServerError, match="overloaded"):
        await ask(gateway, "acme/m")
    assert len(upstream.asked) == 2
    with pytest.raises(openai.InternalServerError, match="cannot be reached"):
        await ask(gateway, "nowhere/m")
    unreached, *_ = await gateway.exchanges(3)
    assert len(unreached.attempts) == 1


async def test_a_timeout_of_the_route_cuts_a_silent_stream(route, serving, store, engine, upstream):
    route("acme/a", timeout=0.3, retries=0)
    upstream.answer = upstream.streamed(upstream.hello[:2], hold=asyncio.Event())
    async with serving(store, engine) as gateway, aiohttp.ClientSession() as client:
        asked = {"model": "support", "messages": HI, "stream": True}
        with pytest.raises(aiohttp.ClientError):
            async with client.post(f"{gateway.url}/v1/chat/completions", json=asked) as answer:
                await answer.read()
        exchange = await gateway.exchange()
    assert (exchange.state, exchange.reply.text) == ("truncated_upstream", "Hel")
    assert "silent for 0.3 s" in exchange.error


def test_plans():
    routes = Routes({"a": RouteRule(targets=["x", "y"]), "b": RouteRule(retries=0)})
    assert routes.plan("a").names == ("x", "y")
    assert (routes.plan("b").names, routes.plan("b").tries) == (("b",), 1)
    assert (routes.plan("c"), routes.plan("c").tries) == (Plan(("c",)), 2)
    pauses = [routes.plan("a").pause(number) for number in range(9)]
    assert all(0.125 <= pause <= 8 for pause in pauses)
    assert routes.plan("a").pause(0, 20.0) == 20.0
    assert routes.plan("a").pause(0, 31.0) is None


async def test_a_provider_of_anthropics_kind_gets_its_key_its_way_and_extra_headers(settings, serving, store, upstream):
    settings.providers["claude"] = Provider(
        base_url=f"{upstream.url}/v1", api_key="sk-ant", api="anthropic", headers={"anthropic-beta": "x"}
    )
    async with serving(store, None) as gateway:
        await ask(gateway, "claude/opus")
    assert upstream.headers[0]["x-api-key"] == "sk-ant"
    assert upstream.headers[0]["anthropic-beta"] == "x"
    assert "authorization" not in upstream.headers[0]
