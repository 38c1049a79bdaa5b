"""Tokenize and detokenize, as vLLM's clients call them."""

import json

import pytest

from journeyman.records import Message
from journeyman.rendering.chat import ChatTokenizer

HELLO = [{"role": "user", "content": "hello, world!"}]
TOOL = {"type": "function", "function": {"name": "balance", "parameters": {"properties": {"account": {}}}}}


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return ChatTokenizer(tiny)


@pytest.fixture
def ask(served):
    def asked(path, **body):
        status, content = served.post(path, body)
        return status, json.loads(content)

    return asked


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_text_goes_to_ids_and_back(ask, tokenizer, prefix):
    text = "hello, grün 🙂<|im_end|>"
    status, found = ask(f"{prefix}/tokenize", prompt=text, model="red")
    assert status == 200
    assert found["tokens"] == tokenizer.encode(text)
    assert (found["count"], found["max_model_len"]) == (len(found["tokens"]), 512)
    assert found["token_strs"] is None
    assert ask(f"{prefix}/detokenize", tokens=found["tokens"]) == (200, {"prompt": text})


def test_messages_become_what_the_model_is_asked(ask, served, tokenizer):
    _, found = ask("/tokenize", messages=HELLO, tools=[TOOL])
    answer = served.client.chat.completions.create(
        model="tiny", messages=HELLO, tools=[TOOL], max_tokens=1, extra_body={"return_token_ids": True}
    )
    assert found["tokens"] == answer.prompt_token_ids
    assert ask("/tokenize", messages=HELLO)[1]["tokens"] == tokenizer.prompt([Message.model_validate(HELLO[0])])


def test_the_tokens_can_be_seen(ask):
    _, found = ask("/tokenize", prompt="the balance", return_token_strs=True)
    assert "".join(found["token_strs"]).replace("Ġ", " ") == "the balance"
    assert len(found["token_strs"]) == found["count"]


def test_nothing_has_no_tokens(ask):
    assert ask("/tokenize", prompt="")[1]["tokens"] == []
    assert ask("/detokenize", tokens=[]) == (200, {"prompt": ""})


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/tokenize", {}, "either prompt or messages"),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "either prompt or messages"),
        ("/tokenize", {"prompt": "a", "tools": [TOOL]}, "tools"),
        ("/tokenize", {"prompt": "\ud83d"}, "half a character"),
        ("/tokenize", {"messages": HELLO, "add_generation_prompt": False}, "add_generation_prompt"),
        ("/tokenize", {"messages": HELLO, "add_special_tokens": True}, "add_special_tokens"),
        ("/detokenize", {"tokens": [10**30]}, "not in the vocabulary"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
    ],
)
def test_what_cannot_be_used_is_refused(ask, path, body, words):
    status, found = ask(path, **body)
    assert status == 400
    assert words in found["error"]["message"]


def test_an_unknown_model_is_not_found(ask):
    status, found = ask("/tokenize", model="purple", prompt="a")
    assert status == 404
    assert found["error"]["code"] == "model_not_found"
