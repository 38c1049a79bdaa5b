"""An adapter is asked without the text that was pruned from what it learned; the record keeps what was sent."""

import json

import pytest

from journeyman.registry.adapters import register_adapter

LONG = "You are the bank's assistant. Never give advice on shares."
SAID = [{"role": "system", "content": f"Be brief. {LONG}"}, {"role": "user", "content": "Hi  there"}]


@pytest.fixture
def adapter(store, tmp_path):
    folder = tmp_path / "trained"
    folder.mkdir()
    header = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1")
    (folder / "adapter_config.json").write_text("{}")
    return register_adapter(
        store, folder, home=tmp_path, name="support", base="tiny", rank=1, template="v1", pruning=(LONG,)
    )


async def test_an_adapter_is_asked_without_the_pruned_text_and_others_with_it(gateway, upstream, adapter):
    async with gateway.client() as client:
        for model in ("support", adapter.id, "tiny", "acme/big"):
            await client.chat.completions.create(model=model, messages=SAID)
    pruned = [{"role": "system", "content": "Be brief."}, SAID[1]]
    assert [asked["messages"] for asked in upstream.asked] == [pruned, pruned, SAID, SAID]
    assert all(each.messages[0].text == SAID[0]["content"] for each in await gateway.exchanges(4))


async def test_a_stream_is_pruned_too_and_other_fields_stay(gateway, upstream, adapter):
    upstream.answer = upstream.streamed(upstream.hello)
    async with gateway.client() as client:
        stream = await client.chat.completions.create(
            model="support", messages=[{"role": "system", "content": LONG}, SAID[1]], stream=True, temperature=0.5
        )
        assert (
            "".join([chunk.choices[0].delta.content or "" for chunk in [c async for c in stream] if chunk.choices])
            == "Hello"
        )
    (asked,) = upstream.asked
    assert (asked["messages"], asked["temperature"], asked["stream"]) == ([SAID[1]], 0.5, True)
