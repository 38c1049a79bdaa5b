"""Embeddings as the stock `openai` client sees them."""

import json
import math

import openai
import pytest
import torch

from journeyman.engines.local.api import embeddings
from journeyman.rendering.chat import ChatTokenizer
from tests.engines.local.conftest import load_plain

TEXTS = ["hello, world!", "the balance of the account", "x"]


@pytest.fixture
def client(served):
    with served.client as client:
        yield client


@pytest.fixture(scope="module")
def expected(tiny):
    """What transformers computes: the mean of the last hidden states, of length 1."""
    network, tokenizer = load_plain(tiny).model, ChatTokenizer(tiny)

    @torch.no_grad()
    def pooled(text):
        states = network(torch.tensor([tokenizer.encode(text)])).last_hidden_state[0]
        return torch.nn.functional.normalize(states.mean(0), dim=0)

    return [pooled(text) for text in TEXTS]


def test_an_embedding_is_the_mean_of_the_last_hidden_states(client, tiny, expected):
    answer = client.embeddings.create(model="tiny", input=TEXTS)
    assert [item.index for item in answer.data] == [0, 1, 2]
    for item, vector in zip(answer.data, expected, strict=True):
        assert torch.tensor(item.embedding) == pytest.approx(vector, abs=1e-4)
    tokens = sum(len(ChatTokenizer(tiny).encode(text)) for text in TEXTS)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


def test_the_forms_of_input_and_output_agree(client, tiny):
    ids = [ChatTokenizer(tiny).encode(text) for text in TEXTS]
    plain = client.embeddings.create(model="tiny", input=TEXTS, encoding_format="float")
    for input in (TEXTS, ids):
        answer = client.embeddings.create(model="tiny", input=input, encoding_format="base64")
        assert isinstance(answer.data[0].embedding, str), "asked for by name, it is left as it is"
    for one in (TEXTS[0], ids[0]):
        (item,) = client.embeddings.create(model="tiny", input=one, dimensions=64).data
        assert item.embedding == pytest.approx(plain.data[0].embedding, abs=1e-5)
        assert math.isclose(sum(value * value for value in item.embedding), 1, abs_tol=1e-5)


def test_many_texts_are_computed_in_groups_and_come_back_in_order(client, monkeypatch):
    texts = [f"text number {number}" for number in range(20)]
    whole = client.embeddings.create(model="tiny", input=texts)
    monkeypatch.setattr(embeddings, "TOKENS_AT_ONCE", 30)
    grouped = client.embeddings.create(model="tiny", input=texts)
    for one, other in zip(whole.data, grouped.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-5)


def test_an_adapter_has_embeddings_of_its_own(client):
    base, red = (client.embeddings.create(model=name, input="hello").data[0].embedding for name in ("tiny", "red"))
    assert base != pytest.approx(red, abs=1e-3)


def test_what_was_read_is_counted(served, client):
    before = served.get("/v1/served")
    used = client.embeddings.create(model="green", input=TEXTS, extra_headers={"x-request-id": "e-1"}).usage
    (entry,) = served.get(f"/v1/served?after={before['last']}")["entries"]
    assert (entry["request"], entry["adapter"], entry["prompt"]) == ("e-1", "green", used.prompt_tokens)
    assert entry["completion"] == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": ""}, "empty"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "number 1 is empty"),
        ({"input": [[5], [10**9]]}, "not in the vocabulary"),
        ({"input": ["a"] * 2049}, "at most 2048"),
        ({"input": "a", "dimensions": 8}, "have 64"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": [5] * 513}, "513 tokens"),
        ({"input": "a", "truncate": True}, "does not know"),
    ],
)
def test_what_cannot_be_used_is_refused(served, body, words):
    status, content = served.post("/v1/embeddings", {"model": "tiny", **body})
    assert status == 400
    assert words in json.loads(content)["error"]["message"]


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="purple", input="a")
