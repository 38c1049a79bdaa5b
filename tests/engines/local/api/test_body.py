"""Each argument of a chat completion is used, or refused by its name."""

import time

import pytest

from journeyman.engines.local.api.adapters import LoadBody
from journeyman.engines.local.api.body import read_as, read_body
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.errors import InvalidInput

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 7),
        ("messages", []),
        ("messages", "hi"),
        ("messages.0.role", [{"role": "robot", "content": "hi"}]),
        ("messages.0", ["hi"]),
        ("tools.0.function", [{"type": "function"}]),
        ("tools", "f"),
        ("tool_choice", "required"),
        ("tool_choice", "sometimes"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("tool_choice", {"type": "function"}),
        ("tool_choice", {"type": "allowed_tools"}),
        ("parallel_tool_calls", "maybe"),
        ("n", 0),
        ("n", 10**9),
        ("n", 1.5),
        ("stop", ""),
        ("stop", ["", "a"]),
        ("stop", 5),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", 5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -2),
        ("top_k", 1.5),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("min_p", float("nan")),
        ("seed", "x"),
        ("max_tokens", 0),
        ("max_completion_tokens", -1),
        ("logprobs", "many"),
        ("top_logprobs", 21),
        ("prompt_logprobs", -1),
        ("prompt_logprobs", 21),
        ("frequency_penalty", 2.5),
        ("frequency_penalty", float("nan")),
        ("presence_penalty", -3),
        ("repetition_penalty", 0),
        ("repetition_penalty", float("inf")),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"-5": 1}),
        ("logit_bias", {"five": 1}),
        ("logit_bias", {"5": float("nan")}),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": True}}),
        ("response_format", "json"),
        ("priority", 2),
        ("priority", -1),
        ("timeout", 0),
        ("timeout", float("inf")),
        ("store", True),
        ("stream", "maybe"),
        ("best_of", 2),
        ("functions", []),
        ("reasoning_effort", "low"),
        ("service_tier", "flex"),
        ("min_tokens", 2),
        ("chat_template_kwargs", {}),
    ],
)
def test_an_argument_that_cannot_be_honoured_is_named(field, value):
    with pytest.raises(InvalidInput) as caught:
        read_body(PLAIN | {field.split(".")[0]: value})
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stop": ["a", ""]}, "stop.1: String should have at least 1 character"),
        ({"tool_choice": "sometimes"}, "tool_choice: Input should be 'auto', 'none' or 'required'"),
        ({"logit_bias": {"five": 1}}, "logit_bias.five: Input should be a valid integer"),
        ({"top_k": 1.5}, "top_k: Input should be a valid integer"),
        ({"temperature": float("nan")}, "temperature: Input should be a finite number"),
        ({"timeout": float("inf")}, "timeout: Input should be a finite number"),
    ],
)
def test_what_is_wrong_is_said_in_the_clients_words(arguments, words):
    with pytest.raises(InvalidInput) as caught:
        read_body(PLAIN | arguments)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("parsed", [None, [], "text", 5, {}])
def test_a_body_that_is_no_request(parsed):
    with pytest.raises(InvalidInput):
        read_body(parsed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"top_logprobs": 3}, "logprobs=true"),
        ({"stream_options": {"include_usage": True}}, "stream=true"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "does not know this argument"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "give one of the two"),
        ({"prompt_logprobs": 1, "stream": True}, "leave out stream"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "not there; tools: f"),
        ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "ends where its form does"),
        ({"ignore_eos": True, "tools": [TOOL], "tool_choice": "required"}, "ends where its form does"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        read_body(PLAIN | arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
        {"tools": [TOOL], "tool_choice": "auto"},
        {"frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}},
        {"response_format": {"type": "text"}},
        {"metadata": {"a": 1}, "user": "u"},
        {"temperature": None, "stop": None, "seed": None, "tools": None},
        {"seed": -(2**80)},
        {"store": False, "service_tier": "auto", "stop_token_ids": [], "ignore_eos": False, "priority": 0},
        {"top_k": -1},
        {"safety_identifier": "s", "prompt_cache_key": "k", "reasoning_effort": None},
    ],
    ids=str,
)
def test_defaults_that_clients_spell_out_are_taken(arguments):
    read_body(PLAIN | arguments)


def test_both_names_of_the_limit():
    assert read_body(PLAIN | {"max_tokens": 5}).limit == 5
    assert read_body(PLAIN | {"max_completion_tokens": 6}).limit == 6
    assert read_body(PLAIN).limit is None


def test_every_sampling_field_reaches_the_rule():
    fields = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "frequency_penalty": 0.2,
        "presence_penalty": -0.3, "repetition_penalty": 1.1,
    }  # fmt: skip
    rule = read_body(PLAIN | fields | {"logit_bias": {"5": -100}, "seed": 3}).rule(1)
    assert rule == SamplingRule(**fields, logit_bias={5: -100.0}, seed="3/1")
    assert read_body(PLAIN).rule(0) == SamplingRule()
    assert read_body(PLAIN | {"top_k": -1}).rule(0).top_k == 0


def test_what_a_reply_may_call_and_what_the_model_is_shown():
    tools = [TOOL, {"type": "function", "function": {"name": "g"}}]

    def names(choice):
        body = read_body(PLAIN | {"tools": tools, "tool_choice": choice})
        return [[tool.function.name for tool in some] for some in (body.offered, body.callable)], body.forces_a_call

    assert names("auto") == ([["f", "g"], ["f", "g"]], False)
    assert names("none") == ([[], []], False)
    assert names("required") == ([["f", "g"], ["f", "g"]], True)
    assert names({"type": "function", "function": {"name": "g"}}) == ([["f", "g"], ["g"]], True)


def test_the_schema_of_the_answer():
    assert read_body(PLAIN).answer_schema is None
    assert read_body(PLAIN | {"response_format": {"type": "text"}}).answer_schema is None
    assert read_body(PLAIN | {"response_format": {"type": "json_object"}}).answer_schema == {"type": "object"}
    named = {"name": "n", "schema": {"type": "string"}, "strict": True}
    body = read_body(PLAIN | {"response_format": {"type": "json_schema", "json_schema": named}})
    assert body.answer_schema == {"type": "string"}


def test_a_timeout_is_counted_from_now():
    assert read_body(PLAIN).deadline is None
    before = time.monotonic()
    deadline = read_body(PLAIN | {"timeout": 100}).deadline
    assert before + 100 <= deadline <= time.monotonic() + 100


def test_choices_have_seeds_of_their_own_that_neighbouring_seeds_do_not_share():
    seeds = [read_body(PLAIN | {"seed": seed}).rule(choice).seed for seed in range(4) for choice in range(4)]
    assert len(set(seeds)) == 16
    assert read_body(PLAIN).rule(0).seed is None


@pytest.mark.parametrize("parsed", [{}, {"lora_name": "a"}, {"lora_name": "", "lora_path": "x"}, [], {"lora_path": 5}])
def test_an_adapter_is_loaded_by_name_and_folder(parsed):
    with pytest.raises(InvalidInput):
        read_as(LoadBody, parsed)


@pytest.mark.parametrize("name", ["", "two words", "a.b", "ü", "x" * 65, 'f{"a":1}', "\ud800"])
def test_a_function_has_a_name_by_openais_rule(name):
    tools = [{"type": "function", "function": {"name": "fine-1_A"}}, {"type": "function", "function": {"name": name}}]
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    assert read_body(asked | {"tools": tools[:1]}).tools
    with pytest.raises(InvalidInput, match=r"tools\.1\.function\.name"):
        read_body(asked | {"tools": tools})
