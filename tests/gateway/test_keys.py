"""Callers' keys: who is let in, what for, how soon that changes, and what a look costs."""

import asyncio
import hashlib
import threading
import time
from datetime import timedelta

import aiohttp
import pytest
from pydantic import SecretStr

from journeyman.config import Provider
from journeyman.errors import NotFound, UpstreamFailed
from journeyman.gateway.asgi import error_body
from journeyman.gateway.call import ANONYMOUS, fingerprint
from journeyman.gateway.keys import MOST_REMEMBERED, Keys, Unauthorized, has_keys, hash_of, new_key
from journeyman.records import ApiKey, Exchange, KeyRevocation, Limits, now
from journeyman.store.memory import MemoryStore

KEY = "jm-one-key-of-many"


class CountingStore(MemoryStore):
    """A real store that counts how often it is asked, and can be away or slow."""

    def __init__(self):
        super().__init__()
        self.asked, self.away, self.slow = 0, False, 0.0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def find(self, *arguments, **named):
        self.asked += 1
        time.sleep(self.slow)
        assert self.goes_on.wait(60)
        if self.away:
            raise ConnectionError("postgresql://anna:secret@db is away")
        return super().find(*arguments, **named)


@pytest.fixture
def store():
    return CountingStore()


@pytest.fixture
async def opened():
    """`await opened(store)` gives keys that look at the store until the test ends."""
    started = []

    async def start(store):
        keys = Keys(store)
        started.append(keys)
        await keys.start()
        return keys

    yield start
    for keys in started:
        await keys.close()


def kept(key=KEY, **fields):
    return ApiKey(name="anna", hash=hash_of(key), fingerprint=hash_of(key)[:12], **fields)


def bearer(key=KEY):
    return f"Bearer {key}"


async def refused(keys, authorization):
    with pytest.raises(Unauthorized) as caught:
        await keys.check(authorization)
    return caught.value


async def within_a_second(what):
    for _ in range(100):
        try:
            if await what():
                return
        except Unauthorized:
            pass
        await asyncio.sleep(0.01)
    raise AssertionError("it took longer than a second")


def test_new_keys_are_long_and_differ_and_their_hash_is_the_plain_one():
    keys = {new_key() for _ in range(500)}
    assert len(keys) == 500
    assert all(key.startswith("jm-") and len(key) == 46 and key[3:].isalnum() for key in keys)
    key = keys.pop()
    assert hash_of(key) == hashlib.sha256(key.encode()).hexdigest()


async def test_a_fingerprint_is_the_one_of_the_ledger(store, opened):
    store.put(kept())
    caller = await (await opened(store)).check(bearer())
    assert caller.fingerprint == fingerprint(bearer()) == hash_of(KEY)[:12]


async def test_without_keys_everybody_may_call_as_before(store, opened):
    keys = await opened(store)
    assert not keys.configured()
    assert not has_keys(store)
    assert (await keys.check(None)).fingerprint == ANONYMOUS
    anyone = await keys.check("Bearer whatever")
    assert (anyone.fingerprint, anyone.known, anyone.metered) == (fingerprint("Bearer whatever"), False, False)


async def test_a_key_brings_what_it_allows(store, opened):
    limits = Limits(tokens_per_minute=5)
    store.put(kept(project="bank", aliases=("support",), limits=limits, durable=True, on_hang_up="drain"))
    keys = await opened(store)
    assert keys.configured()
    assert has_keys(store)
    caller = await keys.check(bearer())
    assert (caller.name, caller.project, caller.aliases, caller.limits) == ("anna", "bank", {"support"}, limits)
    assert (caller.durable, caller.on_hang_up, caller.known, caller.metered) == (True, "drain", True, True)
    assert await keys.check(f"bearer   {KEY} ") == caller


@pytest.mark.parametrize("limits", [Limits(), Limits(requests_per_minute=3)])
async def test_a_key_whose_tokens_are_free_is_not_metered(store, opened, limits):
    store.put(kept(limits=limits))
    assert not (await (await opened(store)).check(bearer())).metered


async def test_whatever_is_wrong_with_a_key_the_words_are_the_same(store, opened):
    gone = kept("jm-gone")
    store.put(kept(), gone, KeyRevocation(fingerprint=gone.fingerprint, by="test"))
    store.put(kept("jm-old", expires=now() - timedelta(seconds=1)))
    keys = await opened(store)
    given = [
        None, "", "Bearer", "Bearer ", KEY, f"Basic {KEY}", bearer("jm-none"), bearer("jm-gone"), bearer("jm-old"),
        bearer(KEY.upper()), bearer(f"{KEY}x"), bearer(hash_of(KEY)), bearer("x" * 100_000), bearer("\xff\x00"),
    ]  # fmt: skip
    for _ in range(2):
        errors = [await refused(keys, each) for each in given]
        assert len({(str(error), error.status, error.code) for error in errors}) == 1
    assert errors[0].status == 401
    assert error_body(errors[0])["error"]["code"] == "invalid_api_key"
    assert error_body(errors[0], "messages")["error"]["type"] == "authentication_error"
    assert keys.report()["refused"] == 2 * len(given)


async def test_a_key_expires_while_it_is_in_use(store, opened):
    expires = now() + timedelta(seconds=3)
    store.put(kept(expires=expires))
    keys = await opened(store)
    assert (await keys.check(bearer())).known
    await asyncio.sleep((expires - now()).total_seconds() + 0.05)
    await refused(keys, bearer())


async def test_a_new_key_is_good_at_once_and_a_revoked_one_bad_within_a_second(store, opened):
    store.put(kept("jm-first"))
    keys = await opened(store)
    await refused(keys, bearer())
    store.put(kept())
    await within_a_second(lambda: keys.check(bearer()))
    fresh = kept("jm-fresh")
    store.put(fresh)
    assert (await keys.check(bearer("jm-fresh"))).known, "its first call waits for a look at the store"
    store.put(KeyRevocation(fingerprint=fresh.fingerprint, by="test"))

    async def is_refused():
        try:
            await keys.check(bearer("jm-fresh"))
        except Unauthorized:
            return True
        return False

    await within_a_second(is_refused)
    assert (await keys.check(bearer())).known


async def test_the_first_key_shuts_everybody_else_out_within_a_second_and_its_end_opens_nothing(store, opened):
    keys = await opened(store)
    assert not (await keys.check("Bearer stranger")).known
    store.put(kept())

    async def is_shut():
        try:
            await keys.check("Bearer stranger")
        except Unauthorized:
            return True
        return False

    await within_a_second(is_shut)
    store.put(KeyRevocation(fingerprint=kept().fingerprint, by="test"))
    await asyncio.sleep(0.8)
    await refused(keys, None)
    await refused(keys, bearer())


async def test_keys_that_are_forgotten_are_bad_as_well(store, opened):
    from journeyman.records import Filter

    store.put(kept(), kept("jm-other"))
    keys = await opened(store)
    assert (await keys.check(bearer())).known
    store.forget(ApiKey, Filter.parse(f"fingerprint = {kept().fingerprint}"))

    async def is_refused():
        try:
            await keys.check(bearer())
        except Unauthorized:
            return True
        return False

    await within_a_second(is_refused)
    assert (await keys.check(bearer("jm-other"))).known


async def test_more_keys_than_a_page_are_all_known(store, opened):
    store.put(*(kept(f"jm-{number}") for number in range(2500)))
    keys = await opened(store)
    assert keys.report()["keys"] == 2500
    store.put(*(kept(f"jm-{number}") for number in range(2500, 2510)))
    assert (await keys.check(bearer("jm-2509"))).known
    assert (await keys.check(bearer("jm-0"))).known


async def test_a_store_that_is_away_keeps_no_known_key_out(store, opened):
    store.put(kept())
    keys = await opened(store)
    store.away = True
    await asyncio.sleep(0.7)
    assert (await keys.check(bearer())).known, "not remembered, but known"
    await refused(keys, bearer("jm-none"))
    said = keys.report()["last_error"]
    assert "known go on" in said
    assert "secret" not in said
    store.away = False
    await asyncio.sleep(0.7)
    assert keys.report()["last_error"] is None


async def test_until_the_store_has_told_the_keys_nobody_is_let_in(store, opened):
    store.put(kept())
    store.away = True
    keys = await opened(store)
    with pytest.raises(UpstreamFailed) as caught:
        await keys.check(None)
    assert (caught.value.status, caught.value.retry_after) == (503, 0.5)
    store.away = False
    assert (await keys.check(bearer())).known


async def test_a_slow_store_holds_up_nobody_who_is_known(store, opened):
    store.put(kept())
    keys = await opened(store)
    await keys.check(bearer())
    store.goes_on.clear()
    stranger = asyncio.create_task(refused(keys, bearer("jm-none")))
    try:
        await asyncio.sleep(0.05)
        for _ in range(100):
            await keys.check(bearer())
        assert not stranger.done()
    finally:
        store.goes_on.set()
    await stranger


async def test_a_crowd_of_strangers_asks_the_store_a_few_times_and_fills_no_memory(store, opened):
    store.put(kept())
    keys = await opened(store)
    before, began = store.asked, time.monotonic()
    await asyncio.gather(*(refused(keys, bearer(f"jm-{number}")) for number in range(MOST_REMEMBERED + 500)))
    looks = (time.monotonic() - began) / 0.1 + 2
    assert store.asked - before <= 2 * looks
    assert len(keys._seen) <= MOST_REMEMBERED
    asked = store.asked
    began = time.monotonic()
    for _ in range(200):
        await refused(keys, bearer("jm-10400"))
    assert time.monotonic() - began < 2, "known to be bad: nobody is asked"
    assert store.asked - asked <= 12
    assert (await keys.check(bearer())).known


async def test_a_known_key_is_checked_in_microseconds(store, opened):
    store.put(*(kept(f"jm-{number}") for number in range(1000)), kept())
    keys = await opened(store)
    header = bearer()
    await keys.check(header)
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(1000):
            await keys.check(header)
        best = min(best, (time.perf_counter() - began) / 1000)
    assert best < 5e-6, f"{best * 1e6:.1f} µs"


async def test_a_key_may_ask_for_its_own_models_alone(store, opened):
    store.put(kept(aliases=("support", "acme/*", "other/one")), kept("jm-all"))
    keys = await opened(store)
    caller = await keys.check(bearer())
    for model in ("support", "acme/gpt", "acme/a/b", "other/one"):
        keys.allows(caller, model)
    for model in ("suppor", "supportx", "acme", "other/two", "", "x" * 100_000):
        with pytest.raises(NotFound) as caught:
            keys.allows(caller, model)
        body = error_body(caught.value)["error"]
        assert (caught.value.status, body["code"], body["param"]) == (404, "model_not_found", "model")
        assert "there is: acme/*, other/one, support" in body["message"]
        assert len(body["message"]) < 300
    keys.allows(await keys.check(bearer("jm-all")), "anything")


async def test_a_key_sees_its_own_models_alone(store, opened):
    store.put(kept(aliases=("support", "other/one")), kept("jm-acme", aliases=("acme/*",)), kept("jm-all"))
    keys = await opened(store)
    names = ("support", "secret-adapter", "acme/*", "other/*")
    listing = [{"id": name, "object": "model"} for name in names]

    async def seen(key):
        return [entry["id"] for entry in keys.visible(await keys.check(bearer(key)), listing)]

    assert await seen(KEY) == ["support", "other/one"]
    assert await seen("jm-acme") == ["acme/*"]
    assert await seen("jm-all") == list(names)


PLANTED = "sk-planted-0123456789"


async def test_a_providers_key_is_in_no_log_record_error_or_screen(
    serving, settings, upstream, http, store, tmp_path, caplog
):
    caplog.set_level("DEBUG")
    for provider in settings.providers.values():
        provider.api_key = SecretStr(PLANTED)
    settings.providers["wrong"] = Provider(base_url="http://127.0.0.1:1/v1", api_key=PLANTED)
    settings.providers["odd"] = Provider(base_url="http://no such host/v1", api_key=PLANTED)
    asked = {"messages": [{"role": "user", "content": "Hi"}]}
    failing = [
        upstream.whole({"error": {"message": "Incorrect API key provided"}}, status=401),
        upstream.whole({"error": {"message": "oops"}}, status=500),
        upstream.streamed(upstream.hello[:2], cut=True),
        upstream.whole(upstream.completion({"content": "Hello"})),
    ]
    seen = []
    async with serving(store, None) as gateway, aiohttp.ClientSession() as session:
        for model in ("acme/m", "nowhere/m", "wrong/m", "odd/m", "none", "acme/../m"):
            for answer in failing:
                upstream.answer = answer
                for stream in (False, True):
                    body = {**asked, "model": model, "stream": stream}
                    async with session.post(f"{gateway.url}/v1/chat/completions", json=body) as response:
                        try:
                            seen.append(str(response.headers) + await response.text())
                        except aiohttp.ClientError as error:
                            seen.append(str(error))
        for path in ("healthz", "metrics", "v1/models", "v1/usage/totals", "v1/nothing"):
            async with session.get(f"{gateway.url}/{path}") as response:
                seen.append(await response.text())
        await asyncio.to_thread(gateway.gateway.settle)
        assert any(headers["authorization"] == f"Bearer {PLANTED}" for headers in upstream.headers), "it was sent"
    records = store.find(Exchange)
    assert len(records) >= 8
    seen += [record.model_dump_json() for record in records]
    seen += [repr(settings), str(settings), settings.model_dump_json(), caplog.text]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [each for each in seen if PLANTED in each]
    assert not [each for each in files if PLANTED.encode() in each]
