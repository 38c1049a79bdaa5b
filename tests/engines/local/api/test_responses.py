"""The Responses API as the stock `openai` client sees it."""

import json

import openai
import pytest
from pydantic import BaseModel

from journeyman.engines.local.api.response_body import read_response_body
from journeyman.engines.local.api.response_input import to_messages
from journeyman.engines.local.request import Request
from journeyman.rendering.chat import ChatTokenizer

TOOL = {
    "type": "function",
    "name": "balance",
    "description": "What is left.",
    "parameters": {"type": "object", "properties": {"account": {"type": "string"}}, "required": ["account"]},
}
HELLO = [{"role": "user", "content": "hello, world!"}]


@pytest.fixture
def client(served):
    with served.client as client:
        yield client


@pytest.fixture
def respond(client):
    def responded(input="hello, world!", model="tiny", **arguments):
        arguments = {"temperature": 0, "max_output_tokens": 12} | arguments
        return client.responses.create(model=model, input=input, **arguments)

    return responded


@pytest.fixture
def script(tiny, monkeypatch):
    """A random model says nothing of interest: its reply is written for it, everything behind it is the real road."""

    def scripted(text):
        ids = [*ChatTokenizer(tiny).encode(text), 2]

        def accept(self, token, logprob, alternatives, plain=Request.accept):
            return plain(self, ids[len(self.reply)], logprob, alternatives)

        monkeypatch.setattr(Request, "accept", accept)

    return scripted


def events_of(stream):
    """Every event of a stream; their numbers have no gap."""
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def test_a_response_is_what_a_chat_completion_would_say(client, respond):
    for model in ("tiny", "green"):
        chat = client.chat.completions.create(model=model, messages=HELLO, temperature=0, max_tokens=12)
        answer = respond(model=model)
        assert answer.output_text == chat.choices[0].message.content
        assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (chat.usage.prompt_tokens, 12)
        assert answer.model == model
        assert answer.error is None


def test_the_answer_says_what_was_asked(respond):
    answer = respond(metadata={"a": "b"}, tools=[TOOL], instructions="be brief", top_p=0.5)
    assert (answer.metadata, answer.instructions, answer.top_p) == ({"a": "b"}, "be brief", 0.5)
    assert answer.tools[0].name == "balance"
    assert (answer.store, answer.parallel_tool_calls, answer.tool_choice) == (False, True, "auto")


def test_a_stream_is_the_whole_response_in_pieces(respond):
    whole = respond()
    events = events_of(respond(stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 3
    assert "".join(deltas) == whole.output_text == events[-1].response.output_text
    assert events[-1].response.usage == whole.usage
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


def test_the_clients_own_stream_helper_reads_it(client, script):
    script("Hello to you.")
    with client.responses.stream(model="tiny", input="hello") as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert said == final.output_text == "Hello to you."
    assert final.status == "completed"


def test_a_tool_call_is_an_item_of_its_own(respond, script):
    script('Let me look.<tool_call>balance{"account": "grün 🙂"}</tool_call>')
    answer = respond(tools=[TOOL], max_output_tokens=200)
    said, called = answer.output
    assert (said.type, said.content[0].text) == ("message", "Let me look.")
    assert (called.type, called.name, called.arguments) == ("function_call", "balance", '{"account": "grün 🙂"}')
    assert answer.status == "completed"
    events = events_of(respond(tools=[TOOL], max_output_tokens=200, stream=True))
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert (done.name, done.arguments) == ("balance", called.arguments)
    assert [item.type for item in events[-1].response.output] == ["message", "function_call"]
    assert events[-1].type == "response.completed"


def test_thoughts_are_an_item_of_their_own_and_counted(respond, script):
    script("<think>Who is it?</think>Hello.")
    answer = respond(max_output_tokens=200)
    thought, said = answer.output
    assert (thought.type, thought.content[0].text.strip()) == ("reasoning", "Who is it?")
    assert (said.type, answer.output_text.strip()) == ("message", "Hello.")
    assert 0 < answer.usage.output_tokens_details.reasoning_tokens < answer.usage.output_tokens
    events = events_of(respond(max_output_tokens=200, stream=True))
    thoughts = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(thoughts).strip() == "Who is it?"
    assert [item.type for item in events[-1].response.output] == ["reasoning", "message"]


def test_a_conversation_goes_on_with_what_was_answered(respond, script, tiny, served):
    script('<think>Hm.</think>Let me look.<tool_call>balance{"account": "a"}</tool_call>')
    first = respond(tools=[TOOL], max_output_tokens=200)
    call = next(item for item in first.output if item.type == "function_call")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "12"}
    items = [*HELLO, *(item.model_dump(exclude_none=True) for item in first.output), output]
    messages = to_messages("be brief", read_response_body({"model": "tiny", "input": items}).input)
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2].text == "Let me look."
    assert messages[2].wire()["reasoning_content"].strip() == "Hm."
    assert messages[2].tool_calls[0].function.arguments == '{"account": "a"}'
    assert messages[3].tool_call_id == call.call_id == messages[2].tool_calls[0].id
    assert respond(items, tools=[TOOL], max_output_tokens=100).status == "completed"


def test_calls_without_words_and_turns_in_a_row_are_told_apart():
    def call(id):
        return {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}

    def said(text):
        return {"role": "assistant", "content": text}

    items = [call("a"), call("b"), said("one"), said("two"), call("c"), {"role": "developer", "content": "x"}]
    messages = to_messages(None, read_response_body({"model": "tiny", "input": items}).input)
    assert [(message.role, message.text, len(message.tool_calls or ())) for message in messages] == [
        ("assistant", "", 2), ("assistant", "one", 0), ("assistant", "two", 1), ("system", "x", 0),
    ]  # fmt: skip


def test_text_may_be_held_to_a_schema(client, respond):
    class Answer(BaseModel):
        colour: bool

    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    answer = respond(text=wanted, max_output_tokens=100, temperature=1)
    assert answer.status == "completed"
    assert json.loads(answer.output_text)["a"] in (1, 2)
    parsed = client.responses.parse(model="tiny", input="hello", text_format=Answer, max_output_tokens=300)
    assert isinstance(parsed.output_parsed, Answer)


def test_a_call_may_be_demanded(respond):
    account = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"], "additionalProperties": False}
    tool = TOOL | {"parameters": account}
    for choice in ("required", {"type": "function", "name": "balance"}):
        arguments = {"tool_choice": choice, "parallel_tool_calls": False, "max_output_tokens": 300}
        answer = respond(tools=[tool], **arguments)
        (called,) = [item for item in answer.output if item.type == "function_call"]
        assert (called.name, json.loads(called.arguments)) == ("balance", {"a": "x"})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"previous_response_id": "resp_1"}, "keeps no responses"),
        ({"store": True}, "keeps no responses"),
        ({"background": True}, "while you wait"),
        ({"conversation": "c"}, "keeps no conversations"),
        ({"include": ["message.output_text.logprobs"]}, "nothing more to include"),
        ({"reasoning": {"effort": "low"}}, "how long this model thinks"),
        ({"truncation": "auto"}, "truncation"),
        ({"tool_choice": "required"}, "there are no tools"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"magic": 1}, "does not know"),
        ({"input": "\ud83d"}, "half a character"),
    ],
)
def test_what_this_engine_does_not_do_is_refused_with_its_reason(served, body, words):
    status, content = served.post("/v1/responses", {"model": "tiny", "input": "hello", **body})
    assert status == 400, content
    assert words in json.loads(content)["error"]["message"]


def test_what_asks_for_nothing_special_is_accepted(served):
    body = {"store": False, "background": False, "include": [], "previous_response_id": None, "max_output_tokens": 1}
    assert served.post("/v1/responses", {"model": "tiny", "input": "hello", **body})[0] == 200


def test_an_unknown_model_is_not_found(respond):
    with pytest.raises(openai.NotFoundError):
        respond(model="purple")


def test_a_fault_in_the_middle_of_a_stream_ends_in_a_failed_response(respond, monkeypatch):
    def broken(self, token, logprob, alternatives, plain=Request.accept):
        if len(self.reply) == 4:
            raise ArithmeticError("nothing adds up")
        return plain(self, token, logprob, alternatives)

    monkeypatch.setattr(Request, "accept", broken)
    events = events_of(respond(stream=True))
    assert events[-1].type == "response.failed"
    assert "nothing adds up" in events[-1].response.error.message
