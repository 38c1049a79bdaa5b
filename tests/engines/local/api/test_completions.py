"""Plain completions as the stock `openai` client sees them."""

import json
import math

import openai
import pytest

from journeyman.rendering.chat import ChatTokenizer

PROMPT = "hello, world! please transfer"


@pytest.fixture
def client(served):
    with served.client as client:
        yield client


@pytest.fixture
def complete(client):
    def completed(prompt=PROMPT, model="tiny", **arguments):
        return client.completions.create(model=model, prompt=prompt, **{"temperature": 0, "max_tokens": 8} | arguments)

    return completed


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return ChatTokenizer(tiny)


def test_a_completion_is_the_models_greedy_continuation(complete, tokenizer, reference):
    for model, adapter in (("tiny", None), ("green", "green")):
        answer = complete(model=model, extra_body={"return_token_ids": True})
        (choice,) = answer.choices
        prompt = tokenizer.encode(PROMPT)
        assert choice.prompt_token_ids == prompt
        assert choice.token_ids == reference.greedy(prompt, adapter, 8)
        assert choice.text == tokenizer.decode(choice.token_ids)
        assert choice.finish_reason == "length"
        assert (answer.object, answer.model) == ("text_completion", model)
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), 8)


def test_sixteen_tokens_are_written_unless_told_otherwise(complete):
    assert complete(max_tokens=openai.omit).usage.completion_tokens == 16


def test_ids_and_several_prompts_are_taken_in_every_shape(complete, tokenizer):
    texts = [PROMPT, "the balance"]
    ids = [tokenizer.encode(text) for text in texts]
    said = [complete(text).choices[0].text for text in texts]
    assert complete(ids[0]).choices[0].text == said[0]
    for prompts in (texts, ids):
        answer = complete(prompts)
        assert [choice.text for choice in answer.choices] == said
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.usage.prompt_tokens == len(ids[0]) + len(ids[1])
        assert answer.usage.completion_tokens == 16


def test_choices_of_several_prompts_stand_in_order(complete):
    apart = [complete(prompt, n=2, temperature=1, seed=4) for prompt in (PROMPT, "the")]
    together = complete([PROMPT, "the"], n=2, temperature=1, seed=4)
    assert [choice.text for choice in together.choices] == [choice.text for one in apart for choice in one.choices]
    assert len({choice.text for choice in together.choices}) == 4


def test_a_stream_is_the_whole_completion_in_pieces(complete):
    arguments = {"n": 2, "temperature": 1, "seed": 3, "max_tokens": 20, "echo": True, "logprobs": 1}
    whole = complete(**arguments)
    chunks = list(complete(stream=True, stream_options={"include_usage": True}, **arguments))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    for choice in whole.choices:
        pieces = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert len(pieces) > 5
        assert "".join(piece.text for piece in pieces) == choice.text
        assert [piece.finish_reason for piece in pieces if piece.finish_reason] == [choice.finish_reason]
        assert pieces[-1].logprobs.tokens == choice.logprobs.tokens


def test_echo_with_logprobs_scores_the_prompt(complete, tokenizer, reference):
    prompt = tokenizer.encode(PROMPT)
    answer = complete(echo=True, logprobs=2, max_tokens=0)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (PROMPT, "length")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), 0)
    found = answer.choices[0].logprobs
    assert "".join(found.tokens) == PROMPT
    assert (found.token_logprobs[0], found.top_logprobs[0]) == (None, None)
    rows = reference.logprobs(prompt)
    for row, id, logprob, tops in zip(rows, prompt[1:], found.token_logprobs[1:], found.top_logprobs[1:], strict=False):
        assert math.isclose(row[id], logprob, abs_tol=1e-4)
        assert max(tops.values()) == pytest.approx(float(row.max()), abs=1e-4)
        assert 2 <= len(tops) <= 3
    for token, offset in zip(found.tokens, found.text_offset, strict=True):
        assert PROMPT[offset:].startswith(token)


def test_echo_puts_prompt_and_reply_together(complete):
    said = complete().choices[0].text
    answer = complete(echo=True, logprobs=0).choices[0]
    assert answer.text == PROMPT + said
    assert answer.logprobs.top_logprobs is None
    assert len(answer.logprobs.tokens) == len(answer.logprobs.token_logprobs) == len(answer.logprobs.text_offset)


def test_logprobs_without_echo_are_those_of_the_reply(complete):
    answer = complete(logprobs=3).choices[0]
    assert len(answer.logprobs.tokens) == 8
    for token, logprob, tops in zip(
        answer.logprobs.tokens, answer.logprobs.token_logprobs, answer.logprobs.top_logprobs, strict=True
    ):
        assert tops[token] == logprob == max(tops.values()), "greedy"
    assert complete().choices[0].logprobs is None


def test_best_of_returns_the_likeliest_and_counts_them_all(complete):
    arguments = {"temperature": 1.5, "seed": 8, "max_tokens": 6, "extra_body": {"return_token_ids": True}}
    everyone = complete(n=5, **arguments).choices

    def mean(choice):
        return sum(choice.token_logprobs) / len(choice.token_logprobs)

    best = sorted(everyone, key=mean, reverse=True)[:2]
    answer = complete(n=2, best_of=5, **arguments)
    assert [choice.text for choice in answer.choices] == [choice.text for choice in best]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens == sum(len(choice.token_ids) for choice in everyone)


def test_stop_strings_end_a_completion(complete):
    said = complete(max_tokens=20).choices[0].text
    stop = said[6:9]
    choice = complete(max_tokens=20, stop=[stop, "never there"]).choices[0]
    assert (choice.text, choice.finish_reason) == (said[: said.index(stop)], "stop")


REFUSED = {
    "a suffix": ({"suffix": "x"}, "suffix"),
    "best_of below n": ({"n": 3, "best_of": 2}, "best_of"),
    "a stream of the best": ({"best_of": 2, "stream": True}, "best_of"),
    "no tokens and no echo": ({"max_tokens": 0}, "echo"),
    "many empty choices": ({"max_tokens": 0, "echo": True, "n": 2}, "max_tokens"),
    "too many logprobs": ({"logprobs": 6}, "logprobs"),
    "an unknown argument": ({"extra_body": {"magic": 1}}, "magic: the local engine does not know"),
    "an empty prompt": ({"prompt": ""}, "empty"),
    "an empty prompt of several": ({"prompt": ["a", ""]}, "number 1 is empty"),
    "no prompt at all": ({"prompt": []}, "prompt"),
    "ids beyond the vocabulary": ({"prompt": [5, 10**9]}, "not in the vocabulary"),
    "ids below zero": ({"prompt": [-1]}, "prompt"),
    "a mixture": ({"prompt": ["a", 5]}, "prompt"),
    "a bias on nothing": ({"logit_bias": {"99999": 1}}, "not in the vocabulary"),
    "a bias that is too strong": ({"logit_bias": {"5": 101}}, "logit_bias"),
    "a stop of no length": ({"stop": ""}, "stop"),
    "half a character": ({"prompt": "\ud83d"}, ""),
    "too many at once": ({"prompt": ["a"] * 65, "n": 2}, "at most 128"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_reason(served, name):
    arguments, words = REFUSED[name]
    extra = arguments.pop("extra_body", {}) if "extra_body" in arguments else {}
    status, content = served.post("/v1/completions", {"model": "tiny", "prompt": "a", **arguments, **extra})
    assert status == 400, content
    assert words in json.loads(content)["error"]["message"]
    assert json.loads(content)["error"]["type"] == "invalid_request_error"


def test_an_unknown_model_is_not_found(complete):
    with pytest.raises(openai.NotFoundError, match="blue, green, red, tiny"):
        complete(model="purple")


def test_a_prompt_that_leaves_no_room_is_refused(complete):
    with pytest.raises(openai.BadRequestError) as caught:
        complete([5] * 512)
    assert caught.value.code == "context_length_exceeded"


def test_every_token_of_every_candidate_is_counted_once(served, complete):
    before = served.get("/v1/served?limit=0")["last"]
    usage = complete(["the", "the balance"], n=1, best_of=3, temperature=1, extra_headers={"x-request-id": "c"}).usage
    entries = served.get(f"/v1/served?after={before}")["entries"]
    assert len(entries) == 6
    assert {entry["request"] for entry in entries} == {"c"}
    assert sum(entry["prompt"] for entry in entries) == usage.prompt_tokens
    assert sum(entry["completion"] for entry in entries) == usage.completion_tokens
    assert sum(entry["cached"] for entry in entries) == usage.prompt_tokens_details.cached_tokens
