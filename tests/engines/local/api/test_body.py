"""Each argument of a chat completion is used, or refused by its name."""

import pytest

from journeyman.engines.local.api.body import LoadBody, read_as, read_body
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
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("parallel_tool_calls", False),
        ("n", 0),
        ("n", 10**9),
        ("n", 1.5),
        ("stop", ""),
        ("stop", ["", "a"]),
        ("stop", 5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("seed", "x"),
        ("max_tokens", 0),
        ("max_completion_tokens", -1),
        ("logprobs", "many"),
        ("top_logprobs", 21),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"5": 1}),
        ("response_format", {"type": "json_object"}),
        ("stream", "maybe"),
        ("best_of", 2),
        ("functions", []),
        ("reasoning_effort", "low"),
    ],
)
def test_an_argument_that_cannot_be_honoured_is_named(field, value):
    with pytest.raises(InvalidInput) as caught:
        read_body(PLAIN | {field.split(".")[0]: value})
    assert str(caught.value).startswith(field)


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
    ],
    ids=str,
)
def test_defaults_that_clients_spell_out_are_taken(arguments):
    read_body(PLAIN | arguments)


def test_both_names_of_the_limit():
    assert read_body(PLAIN | {"max_tokens": 5}).limit == 5
    assert read_body(PLAIN | {"max_completion_tokens": 6}).limit == 6
    assert read_body(PLAIN).limit is None


def test_choices_have_seeds_of_their_own_that_neighbouring_seeds_do_not_share():
    seeds = [read_body(PLAIN | {"seed": seed}).rule(choice).seed for seed in range(4) for choice in range(4)]
    assert len(set(seeds)) == 16
    assert read_body(PLAIN).rule(0).seed is None


@pytest.mark.parametrize("parsed", [{}, {"lora_name": "a"}, {"lora_name": "", "lora_path": "x"}, [], {"lora_path": 5}])
def test_an_adapter_is_loaded_by_name_and_folder(parsed):
    with pytest.raises(InvalidInput):
        read_as(LoadBody, parsed)
