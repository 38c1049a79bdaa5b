"""Which names the engine answers to, and how they come and go."""

import json
import shutil

import openai
import pytest
from safetensors.torch import load_file, save_file

from journeyman.engines.base_model import write_base
from journeyman.rendering.chat import ChatTokenizer
from tests.tiny import write_lora, write_model

HELLO = [{"role": "user", "content": "hello, world!"}]


@pytest.fixture
def client(served):
    with served.client as client:
        yield client


@pytest.fixture
def say(client):
    def said(model="tiny", **arguments):
        arguments = {"temperature": 0, "max_tokens": 12} | arguments
        return client.chat.completions.create(model=model, messages=HELLO, **arguments).choices[0].message.content

    return said


@pytest.fixture
def load(served):
    def loaded(name, folder, **options):
        return served.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder), **options})

    return loaded


@pytest.fixture
def unload(served):
    return lambda name: served.post("/v1/unload_lora_adapter", {"lora_name": name})


def test_the_base_model_and_its_adapters_are_listed(client):
    base, *adapters = client.models.list()
    assert (base.id, base.parent, base.max_model_len) == ("tiny", None, 512)
    assert [model.id for model in adapters] == ["red", "green", "blue"]
    assert {model.parent for model in adapters} == {"tiny"}
    assert all(model.created > 10**9 for model in adapters)


def test_one_model_is_described_also_when_its_name_has_a_slash(client, load, unload, loras):
    assert client.models.retrieve("red").id == "red"
    assert load("team/red@3", loras["red"])[0] == 200
    assert client.models.retrieve("team/red@3").parent == "tiny"
    unload("team/red@3")
    with pytest.raises(openai.NotFoundError, match="blue, green, red, tiny"):
        client.models.retrieve("team/red@3")


def test_adapters_are_loaded_and_unloaded_by_name(load, unload, say, tiny, tmp_path):
    assert load("new", write_lora(tmp_path / "new", tiny, 9))[0] == 200
    assert say("new") != say()
    assert unload("new")[0] == 200
    with pytest.raises(openai.NotFoundError):
        say("new")
    status, content = unload("new")
    assert status == 404
    assert "blue, green, red" in content


def test_a_name_keeps_its_weights_unless_it_is_replaced_in_place(load, unload, say, loras):
    assert load("same", loras["red"])[0] == 200
    assert load("same", loras["red"])[0] == 200, "the same again is no change"
    status, content = load("same", loras["green"])
    assert status == 400
    assert "load_inplace" in json.loads(content)["error"]["message"]
    assert say("same") == say("red")
    assert load("same", loras["green"], load_inplace=True)[0] == 200
    assert say("same") == say("green") != say("red")
    unload("same")


def test_a_reply_that_is_being_written_ends_under_the_weights_it_began_with(client, load, unload, say, loras):
    assert load("same", loras["red"])[0] == 200
    expected = say("red", max_tokens=200)
    stream = iter(
        client.chat.completions.create(model="same", messages=HELLO, temperature=0, max_tokens=200, stream=True)
    )
    pieces = [next(stream)]
    assert load("same", loras["green"], load_inplace=True)[0] == 200
    assert unload("same")[0] == 200
    pieces += stream
    assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces) == expected


def test_an_adapter_may_not_take_the_base_models_name(load, loras):
    status, content = load("tiny", loras["red"])
    assert status == 400
    assert "base model" in content


def test_an_adapter_that_is_not_there_cannot_be_loaded(load, tmp_path):
    status, content = load("x", tmp_path / "nowhere")
    assert status == 400
    assert "there is no folder" in content


def test_an_adapter_of_a_base_that_changed_since_is_not_answered_for(load, client, tiny, tmp_path):
    folder = write_lora(tmp_path / "old", tiny, 9)
    write_base(folder, tiny)
    assert load("old", folder)[0] == 200, "its base is the one that is served"
    other = write_model(tmp_path / "other", seed=5)
    write_base(folder, other)
    status, content = load("newer", folder)
    assert status == 400
    assert "tiny is not the other that adapter newer was trained on" in content
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("newer")


def test_an_adapter_is_asked_under_the_template_it_learned_with(load, unload, client, tiny, tmp_path):
    folder = write_lora(tmp_path / "own", tiny, 10)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}")
    assert load("own", folder)[0] == 200
    answer = client.chat.completions.create(
        model="own", messages=HELLO, max_tokens=1, extra_body={"return_token_ids": True}
    )
    text = ChatTokenizer(tiny).decode(answer.prompt_token_ids, keep_special=True)
    assert text == "<|im_start|>[hello, world!]"
    unload("own")


def test_adapters_are_taken_from_the_store_only_where_there_is_one(serve, loras, tmp_path):
    store, outside = tmp_path / "store", tmp_path / "elsewhere"
    shutil.copytree(loras["red"], store / "red")
    shutil.copytree(loras["red"], outside)
    (store / "link").symlink_to(outside)
    served = serve(adapter_store=store)

    def load(folder):
        return served.post("/v1/load_lora_adapter", {"lora_name": "x", "lora_path": str(folder)})

    for folder in (outside, store / ".." / "elsewhere", store / "link", "/", "\0"):
        status, content = load(folder)
        assert status == 400, content
        assert "not inside the folder" in json.loads(content)["error"]["message"]
    assert load(store / "red")[0] == 200


@pytest.fixture
def wild(load, unload, tiny, tmp_path):
    """An adapter whose numbers are finite and whose products are not."""
    folder = write_lora(tmp_path / "wild", tiny, 3)
    file = folder / "adapter_model.safetensors"
    save_file({name: value * 1e30 for name, value in load_file(file).items()}, file)
    assert load("wild", folder)[0] == 200
    yield "wild"
    unload("wild")


def test_an_error_in_the_middle_of_a_stream_is_an_event_and_no_done(served, wild):
    body = {"model": wild, "messages": HELLO, "stream": True}
    status, content = served.post("/v1/chat/completions", body)
    assert status == 200
    assert '"error"' in content
    assert "not finite" in content
    assert "[DONE]" not in content
    assert '"finish_reason":"' not in content
    status, content = served.post("/v1/chat/completions", body | {"stream": False})
    assert status == 500
    assert json.loads(content)["error"]["type"] == "server_error"


def test_files_of_an_adapter_may_not_lead_out_of_the_store_by_links(serve, tiny, tmp_path):
    store, secret = tmp_path / "store", write_lora(tmp_path / "secret", tiny, 3)
    store.mkdir()
    inside = write_lora(store / "inside", tiny, 4)
    (store / "folder").symlink_to(secret)
    (store / "linked").mkdir()
    for file in secret.iterdir():
        (store / "linked" / file.name).symlink_to(file)
    (store / "alias").symlink_to(inside)
    served = serve(adapter_store=store)
    for name, status in (("folder", 400), ("linked", 400), ("alias", 200), ("inside", 200)):
        answer = served.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(store / name)})
        assert answer[0] == status, (name, answer)
    assert served.model.adapters["alias"].folder == inside.resolve()


def test_a_name_has_a_length(load, loras):
    status, content = load("x" * 257, loras["red"])
    assert status == 400
    assert "lora_name" in content


def test_a_template_that_is_no_text_is_refused(load, tiny, tmp_path):
    folder = write_lora(tmp_path / "odd", tiny, 4)
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe{{ x }}")
    status, content = load("odd", folder)
    assert status == 400
    assert "no text in UTF-8" in content


def test_an_adapter_that_learned_under_another_tokenizer_is_refused(load, unload, loras, tiny, tmp_path):
    folder = shutil.copytree(loras["red"], tmp_path / "own")
    written = json.loads((tiny / "tokenizer.json").read_text())
    words = written["model"]["vocab"]

    def loaded(changed):
        (folder / "tokenizer.json").write_text(json.dumps(changed))
        status, content = load("own", folder)
        unload("own")
        return status, content

    assert loaded(written)[0] == 200, "the same, written otherwise"
    padding = {"id": len(words) + 9, "content": "[PAD]", "special": True, "normalized": False}
    padding |= dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    assert loaded(written | {"added_tokens": [*written["added_tokens"], padding]})[0] == 200
    swapped = words | {"a": words["b"], "b": words["a"]}
    status, content = loaded(written | {"model": written["model"] | {"vocab": swapped}})
    assert status == 400
    assert "learned under another tokenizer than that of" in content
    (folder / "tokenizer.json").write_text("{")
    assert load("own", folder)[0] == 400
