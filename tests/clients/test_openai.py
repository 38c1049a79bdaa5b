"""The package openai in its three lines, unmodified, through the gateway: every call works, and is kept as it was."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.client.test_lines import interpreter_with
from tests.clients.provider import ARGUMENTS, OBJECT, TEXT
from tests.clients.serving import KEY, Serving

ROOT = Path(__file__).parent.parent.parent
OLDER = [pytest.mark.clients, pytest.mark.slow]
ERROR = {"message": "said by the provider", "type": "their_type", "code": "their_code"}
TOOLS = ["text", "tool"]


class Run(NamedTuple):
    line: str
    results: dict[str, Any]
    served: Serving


@pytest.fixture(scope="module", params=["3", *(pytest.param(line, marks=OLDER) for line in ("1", "2"))])
def ran(request: pytest.FixtureRequest, served: Serving) -> Run:
    """All calls of the program, made by one line of the package."""
    line = request.param
    python = sys.executable if line == "3" else interpreter_with(line)
    command = [str(python), "-W", "error", "-m", "tests.clients.openai_program", served.v1, KEY, line]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["version"].startswith(f"{line}.")
    return Run(line, results, served)


# By scenario: what the program saw, the API, and of each call in the store what it replied.
EXPECTED = {
    "chat_async": (TEXT, "chat", [TEXT]),
    "stream": ([TEXT, []], "chat", [TEXT]),
    "stream_with_usage": ([17], "chat", [TEXT]),
    "stream_async": (TEXT, "chat", [TEXT]),
    "tools": ([ARGUMENTS, TEXT], "chat", ["get_weather", TEXT]),
    "stream_of_tools": (ARGUMENTS, "chat", ["get_weather"]),
    "structured": ({"city": "Paris", "degrees": 21}, "chat", [OBJECT]),
    "completions": (TEXT, "completions", [TEXT]),
    "responses": (TEXT, "responses", [TEXT]),
    "responses_stream": (TEXT, "responses", [TEXT]),
    "responses_tools": ([ARGUMENTS, TEXT], "responses", ["get_weather", TEXT]),
}


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_call_works_and_is_in_the_store(ran, scenario):
    seen, api, replies = EXPECTED[scenario]
    if ran.results[scenario] is None:
        assert (ran.line, api) == ("1", "responses"), "only this line has no such API"
        pytest.skip("openai 1.60 has no Responses API")
    assert ran.results[scenario] == seen
    exchanges = ran.served.exchanges(f"{ran.line}/{scenario}", len(replies))
    for exchange, reply in zip(exchanges, replies, strict=True):
        assert (exchange.api, exchange.state, exchange.status) == (api, "complete", 200)
        # The messages of the others are put together in chat's form.
        assert exchange.fidelity == ("exact" if api == "chat" else "reconstructed")
        assert (exchange.model, exchange.upstream, exchange.served) == ("acme/small", "acme", "small")
        assert (exchange.usage.prompt_tokens, exchange.usage.completion_tokens) == (12, 5)
        assert exchange.project == "shop"
        calls = exchange.reply.tool_calls or ()
        assert [call.function.name for call in calls] or [exchange.reply.text] == [reply]
        assert all((call.function.arguments, call.function.name) == (ARGUMENTS, reply) for call in calls)
        assert bool(calls) == (reply == "get_weather")
        assert [tool.function.name for tool in exchange.tools] == ["get_weather"] * ("tools" in scenario)
        question = "The weather:" if api == "completions" else "What is the weather"
        assert exchange.messages[0].text.startswith(question) or exchange.messages[1].text.startswith(question)


@pytest.mark.parametrize("api", ["tools", "responses_tools"])
def test_a_tools_result_is_kept_with_the_call_that_it_answers(ran, api):
    if ran.results[api] is None:
        pytest.skip("openai 1.60 has no Responses API")
    _, second = ran.served.exchanges(f"{ran.line}/{api}", 2)
    asked, called, result = second.messages
    assert (asked.role, called.role, result.role, result.text) == ("user", "assistant", "tool", "21")
    assert [call.id for call in called.tool_calls] == [result.tool_call_id] == ["call_1"]


def test_a_call_keeps_its_sampling_and_its_id_comes_back(ran):
    text, total, id = ran.results["chat"]
    [exchange] = ran.served.exchanges(f"{ran.line}/chat", 1)
    assert (text, total, id) == (TEXT, 17, exchange.id)
    assert exchange.sampling.temperature == 0.5
    assert exchange.source == "gateway"


def test_instructions_of_a_response_are_the_system_message(ran):
    if ran.results["responses"] is None:
        pytest.skip("openai 1.60 has no Responses API")
    [exchange] = ran.served.exchanges(f"{ran.line}/responses", 1)
    assert [(message.role, message.text) for message in exchange.messages] == [
        ("system", "Be brief."),
        ("user", "What is the weather?"),
    ]


def test_embeddings_are_kept(ran):
    assert ran.results["embeddings"] == [0.5, 0.25]
    [exchange] = ran.served.exchanges(f"{ran.line}/embeddings", 1)
    assert (exchange.api, exchange.state, exchange.usage.prompt_tokens) == ("embeddings", "complete", 12)


def test_errors_arrive_as_the_package_knows_them(ran):
    assert ran.results["refused_by_the_provider"] == ["their_code", ERROR]
    [exchange] = ran.served.exchanges(f"{ran.line}/refused_by_the_provider", 1)
    assert (exchange.state, exchange.status, exchange.error) == ("failed", 429, "said by the provider")
    assert ran.results["no_such_model"] == ["model_not_found", "model"]
    assert ran.results["wrong_key"] == "invalid_api_key"
    assert ran.served.exchanges(f"{ran.line}/no_such_model", 0) == []
    assert ran.served.exchanges(f"{ran.line}/wrong_key", 0) == []


def test_the_listing_is_read(ran):
    assert ran.results["listing"] == ["acme/*", "claude/*", "nowhere/*", "open/*"]


def test_the_gateways_key_never_reaches_the_provider(ran):
    headers = [call.headers for call in ran.served.provider.calls]
    assert headers
    assert KEY not in json.dumps(headers)
    assert not any(name.startswith("x-journeyman-") for told in headers for name in told)
