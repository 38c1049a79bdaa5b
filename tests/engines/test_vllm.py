"""How vLLM is started, and how its plugin reads tool calls; the real one is asked in `test_conformance.py`."""

import itertools
import json
import sys
from pathlib import Path

import pytest

from journeyman.config import Settings
from journeyman.engines.vllm import check_vllm, vllm_process
from journeyman.engines.vllm_tools import read_calls, words_until
from journeyman.errors import InvalidInput
from journeyman.rendering.chat import TOOL_TEMPLATE


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()

    def made(template):
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return made


def command(model, **settings):
    return vllm_process(model, "tiny", Settings(home=model.parent, **settings)).command


def test_what_journeyman_relies_on_is_asked_for(model):
    words = command(model("{{ messages }}"), vllm_python=Path("/env/bin/python"), vllm_rank=32, vllm_adapters=4)
    server = words[words.index("--") + 1 :]
    assert server[:3] == ("/env/bin/python", "-m", "vllm.entrypoints.openai.api_server")
    told = dict(itertools.pairwise(server))
    assert told["--served-model-name"] == "tiny"
    assert told["--max-lora-rank"] == "32"
    assert told["--max-loras"] == "4"
    assert told["--logprobs-mode"] == "raw_logprobs"
    assert told["--generation-config"] == "vllm"
    assert told["--load-format"] == "safetensors"
    assert told["--port"] == "{port}"
    assert json.loads(told["--structured-outputs-config"])["disable_any_whitespace"] is True
    assert "--tool-call-parser" not in told


def test_what_the_settings_choose_is_not_chosen_twice(model):
    given = ["--tool-call-parser", "x", "--structured-outputs-config={}"]
    words = command(model(TOOL_TEMPLATE.read_text()), vllm_arguments=given)
    assert words[-3:] == tuple(given)
    assert not {"--tool-parser-plugin", "--structured-outputs-config"} & set(words)


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        (TOOL_TEMPLATE.read_text(), "journeyman"),
        ('write <tool_call>{"name": …}</tool_call>', "hermes"),
        ("<tool_call>\n<function=name>\n<parameter=key>", "qwen3_coder"),
        ("<|python_tag|>", "llama3_json"),
    ],
)
def test_tool_calls_are_read_in_the_style_of_the_template(model, template, parser):
    words = command(model(template))
    assert words[words.index("--tool-call-parser") + 1] == parser


@pytest.mark.parametrize("argument", ["--port", "--port=8000", "--enable-lora", "--logprobs-mode"])
def test_arguments_that_are_ours_are_refused(model, argument):
    with pytest.raises(InvalidInput, match="set by Journeyman"):
        command(model(""), vllm_arguments=[argument])


def test_a_rank_that_vllm_does_not_know_is_refused(model):
    with pytest.raises(InvalidInput, match="vllm_rank"):
        command(model(""), vllm_rank=17)


def test_an_interpreter_without_vllm_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(InvalidInput, match="there is no vLLM for"):
        check_vllm(Settings(vllm_python=Path(sys.executable)))
    with pytest.raises(InvalidInput, match="cannot be run"):
        check_vllm(Settings(vllm_python=tmp_path / "python"))


@pytest.mark.parametrize(
    ("text", "words", "calls"),
    [
        ("Hello", "Hello", []),
        ('<tool_call>find{"a": [1, "}"]}</tool_call>', "", [("find", '{"a": [1, "}"]}')]),
        ('Well <tool_call>a{}</tool_call><tool_call>b {"x":1}', 'Well <tool_call>b {"x":1}', [("a", "{}")]),
        ('<tool_call>a{"x":"</tool_call><tool_call>b{}</tool_call>"}', None, []),
        ("<tool_call>find{oops}</tool_call>", "<tool_call>find{oops}</tool_call>", []),
        ("<tool_call>find", "<tool_call>find", []),
    ],
)
def test_the_plugin_reads_calls_and_keeps_what_is_none(text, words, calls):
    assert read_calls(text) == (text if words is None else words, calls)


@pytest.mark.parametrize(
    ("text", "end"), [("Hello", 5), ("Hello <to", 6), ("Hi <tool_call>x", 3), ("a < b", 5), ("a <", 2)]
)
def test_words_are_held_back_that_may_be_the_beginning_of_a_call(text, end):
    assert words_until(text) == end
