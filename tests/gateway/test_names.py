"""Aliases, adapters and the base model through the gateway: who answers, and that nothing else ever does."""

import asyncio
import json

import openai
import pytest

from journeyman.gateway import names
from journeyman.records import Promotion, Share
from journeyman.registry.adapters import register_adapter

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def train(store, tmp_path):
    """Write a tiny adapter folder and register it."""

    def trained(name, content=b"12345678", base="tiny"):
        folder = tmp_path / f"run-{name}-{content.hex()}"
        folder.mkdir()
        header = json.dumps({"a": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
        weights = len(header).to_bytes(8, "little") + header + content
        (folder / "adapter_model.safetensors").write_bytes(weights)
        (folder / "adapter_config.json").write_text("{}")
        return register_adapter(store, folder, home=tmp_path, name=name, base=base, rank=1, template="v1")

    return trained


async def ask(gateway, model):
    async with gateway.client() as client:
        return await client.chat.completions.create(model=model, messages=HI)


async def test_an_adapter_answers_by_name_and_by_id_and_is_loaded_once(gateway, upstream, train):
    adapter = train("support")
    for name in ("support", adapter.id, "support"):
        await ask(gateway, name)
    assert [asked["model"] for asked in upstream.asked] == [adapter.id] * 3
    assert upstream.loads == [{"lora_name": adapter.id, "lora_path": adapter.path}]
    exchange = (await gateway.exchanges(3))[-1]
    assert (exchange.model, exchange.served, exchange.adapter) == ("support", "tiny", adapter.id)


async def test_calls_at_the_same_moment_load_an_adapter_once(gateway, upstream, train):
    train("support")
    await asyncio.gather(*(ask(gateway, "support") for _ in range(5)))
    assert len(upstream.loads) == 1


async def test_a_promotion_takes_effect_within_a_second(gateway, upstream, store, train):
    first, second = train("a", b"1"), train("b", b"2")
    store.put(Promotion(alias="support", target=first.id))
    await ask(gateway, "support")
    store.put(Promotion(alias="support", target=second.id))
    await asyncio.sleep(1)
    await ask(gateway, "support")
    store.put(Promotion(alias="support", target="acme/gpt-4.1"))
    await asyncio.sleep(1)
    await ask(gateway, "support")
    assert [asked["model"] for asked in upstream.asked] == [first.id, second.id, "gpt-4.1"]


async def test_a_split_alias_answers_each_session_with_one_adapter(gateway, upstream, store, train):
    first, second = train("a", b"1"), train("b", b"2")
    split = (Share(target=first.id, weight=50), Share(target=second.id, weight=50))
    store.put(Promotion(alias="support", target=first.id, split=split))
    async with gateway.client() as client:
        for number in (*range(8), *range(8)):
            headers = {"x-journeyman-session": f"s{number}"}
            await client.chat.completions.create(model="support", messages=HI, extra_headers=headers)
    asked = [each["model"] for each in upstream.asked]
    assert asked[:8] == asked[8:]
    assert set(asked) == {first.id, second.id}
    answered = {exchange.session: exchange.adapter for exchange in await gateway.exchanges(16)}
    assert [answered[f"s{number}"] for number in range(8)] == asked[:8]


async def test_without_a_session_a_split_draws_each_call(gateway, upstream, store, train):
    first, second = train("a", b"1"), train("b", b"2")
    split = (Share(target=first.id, weight=50), Share(target=second.id, weight=50))
    store.put(Promotion(alias="support", target=first.id, split=split))
    for _ in range(24):
        await ask(gateway, "support")
    assert {each["model"] for each in upstream.asked} == {first.id, second.id}


async def test_an_alias_whose_adapter_is_gone_never_falls_back_to_the_base_model(gateway, upstream, store):
    store.put(Promotion(alias="tiny", target="0123456789abcdef"))
    with pytest.raises(openai.NotFoundError, match="roll back the alias"):
        await ask(gateway, "tiny")
    assert upstream.asked == []


async def test_an_engine_that_lost_an_adapter_is_given_it_again(gateway, upstream, train):
    adapter = train("support")
    await ask(gateway, "support")
    good = upstream.answer

    async def only_if_held(request, body):
        if body["model"] in upstream.held:
            return await good(request, body)
        return await upstream.whole({"error": {"message": "no such model"}}, 404)(request, body)

    upstream.answer = only_if_held
    upstream.held.clear()
    reply = await ask(gateway, "support")
    assert reply.choices[0].message.content == "Hello"
    assert len(upstream.loads) == 2
    assert adapter.id in upstream.held
    assert [exchange.state for exchange in await gateway.exchanges(2)] == ["complete", "complete"]


async def test_an_adapter_that_cannot_be_loaded_is_an_error(gateway, upstream, train):
    train("support")
    upstream.loadable = False
    with pytest.raises(openai.InternalServerError, match="rank 512 is too large"):
        await ask(gateway, "support")
    assert upstream.asked == []
    assert (await gateway.exchange()).state == "failed"


async def test_an_altered_adapter_is_refused(gateway, upstream, train, tmp_path):
    adapter = train("support")
    (tmp_path / "adapters" / f"support@{adapter.id}" / "adapter_config.json").write_text('{"r": 2}')
    with pytest.raises(openai.InternalServerError, match="altered or cut"):
        await ask(gateway, "support")
    assert (upstream.asked, upstream.loads) == ([], [])


async def test_an_adapter_of_another_base_is_refused(gateway, upstream, train):
    train("support", base="huge")
    with pytest.raises(openai.InternalServerError, match="trained on huge"):
        await ask(gateway, "support")
    assert upstream.loads == []


async def test_without_an_engine_providers_still_answer(store, serving, upstream, train):
    train("support")
    async with serving(store, None) as gateway:
        assert (await ask(gateway, "acme/m")).choices[0].message.content == "Hello"
        with pytest.raises(openai.InternalServerError, match="no engine runs here"):
            await ask(gateway, "support")
        with pytest.raises(openai.NotFoundError):
            await ask(gateway, "tiny")


async def test_a_name_in_use_survives_a_store_that_breaks(gateway, upstream, store, monkeypatch):
    await ask(gateway, "acme/m")

    def broken(*arguments, **named):
        raise OSError("disk gone")

    for method in ("find", "get", "count", "put"):
        monkeypatch.setattr(store, method, broken)
    await asyncio.sleep(0.6)
    assert (await ask(gateway, "acme/m")).choices[0].message.content == "Hello"
    with pytest.raises(openai.InternalServerError, match="cannot be looked up"):
        await ask(gateway, "acme/other")


async def test_models_lists_every_name(gateway, store, train):
    adapter = train("support")
    store.put(Promotion(alias="bank", target=adapter.id))
    async with gateway.client() as client:
        listed = {model.id: model.kind async for model in client.models.list()}
    providers = {"acme/*": "provider", "open/*": "provider", "nowhere/*": "provider"}
    assert listed == {"bank": "alias", "support": "adapter", "tiny": "base"} | providers


async def test_names_that_are_remembered_are_bounded(gateway, monkeypatch):
    monkeypatch.setattr(names, "MOST_KNOWN", 3)
    for number in range(9):
        await ask(gateway, f"open/m{number}")
    assert list(gateway.gateway._names._known) == ["open/m6", "open/m7", "open/m8"]
