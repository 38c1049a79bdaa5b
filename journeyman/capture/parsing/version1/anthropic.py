"""Anthropic's messages, told in the shapes of chats; `finish_reason` is their `stop_reason`, in their own words.

Text stays content, `tool_use` becomes a tool call, `tool_result` a tool message, thinking `reasoning_content`. Blocks
of an assistant that say more than that (signatures of thinking, server tools) stay with it, as they came, in `blocks`.
"""

from typing import Any

import orjson

from journeyman.capture.parsing.events import read_events
from journeyman.capture.parsing.reading import Json, Notes
from journeyman.capture.parsing.version1.answer import Answer, Asked, error_of, named, read_object
from journeyman.capture.parsing.version1.shapes import count, read_message, read_sampling, read_tools, text, tool_call

_APART = frozenset(("model", "messages", "system", "tools", "stream", "metadata"))
_INTO: dict[str, str] = {"partial_json": "input", "citation": "citations"}
"""Fields of a block that its deltas call otherwise."""
_TOOL_USE = frozenset(("type", "id", "name", "input"))
_TOOL_RESULT = frozenset(("type", "tool_use_id", "content"))
_TOOL = frozenset(("type", "name", "description", "input_schema", "parameters"))


def read_request(body: Json, notes: Notes) -> Asked:
    """The system prompt and the conversation, the tools, and how to sample."""
    messages: list[Json] = []
    if (system := body.get("system")) is not None:
        messages.append(read_message({"role": "system", "content": _content(system)}, notes))
    sent = body.get("messages")
    for message in sent if type(sent) is list else [] if sent is None else [sent]:
        messages += _messages(message, notes)
    sampling = read_sampling(body, _APART, notes)
    offered = body.get("tools")
    tools, others = read_tools([_tool(tool) for tool in offered] if type(offered) is list else offered, notes)
    if others:
        sampling["other_tools"] = others
    return Asked(messages, tools, sampling)


def read_whole(data: bytes, notes: Notes) -> Answer:
    """An answer that is one JSON object; ValueError when it is none."""
    return _read(read_object(data, notes), True, None, notes)


def read_stream(stream: bytes, notes: Notes) -> Answer:
    """An answer that came in events."""
    events = read_events(stream, notes)
    joining = _Joining(events.unreadable)
    for event in events.objects:
        joining.add(event)
    return _read(joining.message(), joining.stopped, joining.unreadable, notes)


class _Joining:
    """Joins events into the message that they amount to."""

    def __init__(self, unreadable: str | None) -> None:
        self.unreadable = unreadable
        self.stopped = False
        self._message: Json = {"content": []}
        self._blocks: dict[int, Json] = {}
        self._pieces: dict[tuple[int, str], list[Any]] = {}

    def add(self, event: Json) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            self._add_delta(event.get("index"), event.get("delta"))
        elif kind == "content_block_start":
            index, block = event.get("index"), event.get("content_block")
            if type(index) is int and type(block) is dict:
                self._blocks[index] = block
            else:
                self.unreadable = self.unreadable or "a block of an event is not a JSON object with an index"
        elif kind == "message_start":
            if type(message := event.get("message")) is dict:
                self._message |= message
        elif kind == "message_delta":
            for part in (event.get("delta"), {"usage": event.get("usage")}):
                self._update(part)
        elif kind == "message_stop":
            self.stopped = True
        elif kind == "error":
            self._message["error"] = event.get("error") or "the upstream told of an error without a word"

    def message(self) -> Json:
        """What was joined, as the body of a whole answer."""
        for (index, name), pieces in self._pieces.items():
            block = self._blocks[index]
            if name == "citations":
                block[name] = [*(block.get(name) or ()), *pieces]
            elif name == "input":
                block[name] = "".join(pieces)
            else:
                block[name] = (text(block.get(name)) or "") + "".join(pieces)
        if self._blocks:
            self._message["content"] = [self._blocks[index] for index in sorted(self._blocks)]
        return self._message

    def _update(self, part: Any) -> None:
        for name, value in part.items() if type(part) is dict else ():
            before = self._message.get(name)
            if type(value) is dict and type(before) is dict:
                before.update({key: each for key, each in value.items() if each is not None})
            elif value is not None:
                self._message[name] = value

    def _add_delta(self, index: Any, delta: Any) -> None:
        if type(index) is not int or index not in self._blocks or type(delta) is not dict:
            self.unreadable = self.unreadable or "a delta of an event belongs to no block"
            return
        for name, value in delta.items():
            if name == "type" or value is None:
                continue
            into = _INTO.get(name) or name
            if type(value) is str or into == "citations":
                self._pieces.setdefault((index, into), []).append(value)
            else:
                self.unreadable = self.unreadable or f"the {name} of an event is not text"


def _read(body: Json, stopped: bool, unreadable: str | None, notes: Notes) -> Answer:
    error = error_of(body)
    blocks = body.get("content")
    if error is None and type(blocks) is not list:
        unreadable = unreadable or "it has no content"
    finish = text(body.get("stop_reason"))
    choices = []
    if type(blocks) is list and (blocks or finish):
        choices = [{"message": _assistant(blocks, {}, notes), "finish_reason": finish, "tokens": None}]
    finished = stopped and finish is not None and unreadable is None
    return named(Answer(choices, _usage(body.get("usage")), finished, error, unreadable), body)


def _usage(sent: Any) -> tuple[int, int, int] | None:
    """All that was read counts as prompt, whether from the cache, into it or past it."""
    if type(sent) is not dict:
        return None
    cached = count(sent.get("cache_read_input_tokens"))
    prompt = count(sent.get("input_tokens")) + cached + count(sent.get("cache_creation_input_tokens"))
    return prompt, count(sent.get("output_tokens")), cached


def _messages(sent: Any, notes: Notes) -> list[Json]:
    """A message; one with results of tools is several: each result, and what the user says between them."""
    if type(sent) is not dict:
        return [read_message(sent, notes)]
    content, role = sent.get("content"), sent.get("role")
    others = {name: value for name, value in sent.items() if name not in ("role", "content") and value is not None}
    if type(content) is not list:
        return [read_message(sent, notes)]
    if role == "assistant":
        return [_assistant(content, others, notes)]
    made: list[Json] = []
    said: list[Any] = []
    for block in content:
        if type(block) is dict and block.get("type") == "tool_result":
            if said:
                made.append(read_message({**sent, "content": _content(said)}, notes))
                said = []
            made.append(_tool_result(block, notes))
        else:
            said.append(block)
    if said or not made:
        made.append(read_message({**sent, "content": _content(said)}, notes))
    return made


def _tool_result(block: Json, notes: Notes) -> Json:
    content = block.get("content")
    message = {
        "role": "tool",
        "content": "" if content is None else _content(content),
        "tool_call_id": block.get("tool_use_id"),
    }
    return read_message(message | {name: value for name, value in block.items() if name not in _TOOL_RESULT}, notes)


def _assistant(blocks: list[Any], others: Json, notes: Notes) -> Json:
    content: list[Any] = []
    calls: list[Json] = []
    thoughts: list[str] = []
    kept: list[Any] = []
    for block in blocks:
        kind = block.get("type") if type(block) is dict else None
        if kind == "text" and type(block.get("text")) is str:
            content.append(block)
        elif kind == "tool_use" and type(block.get("name")) is str:
            extra = {name: value for name, value in block.items() if name not in _TOOL_USE and value is not None}
            calls.append(tool_call(block.get("id"), block["name"], _arguments(block.get("input")), notes) | extra)
        elif kind == "thinking" and type(block.get("thinking")) is str:
            thoughts.append(block["thinking"])
            kept.append(block)
        else:
            kept.append(block)
    message: Json = {"role": "assistant"}
    if content:
        message["content"] = _content(content)
    if calls:
        message["tool_calls"] = calls
    message |= others
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if kept:
        message["blocks"] = kept
    return read_message(message, notes, "assistant")


def _content(content: Any) -> Any:
    """Content as chats have it: a single block of plain text is its text."""
    if type(content) is not list:
        return content
    parts = [
        {name: value for name, value in part.items() if value is not None} if type(part) is dict else part
        for part in content
    ]
    if len(parts) == 1 and type(parts[0]) is dict and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _arguments(sent: Any) -> str:
    """Arguments as JSON in one spelling, so that those of a stream and their repetition are the same."""
    if type(sent) is str:
        try:
            sent = orjson.loads(sent or b"{}")
        except ValueError:
            return str(sent)
    return orjson.dumps({} if sent is None else sent).decode()


def _tool(tool: Any) -> Any:
    """A tool of the caller's own as chats have it; one of the server's as it is."""
    if type(tool) is not dict or tool.get("type") not in (None, "custom") or "input_schema" not in tool:
        return tool
    function = {name: tool[name] for name in ("name", "description") if tool.get(name) is not None}
    function["parameters"] = tool["input_schema"]
    function |= {name: value for name, value in tool.items() if name not in _TOOL and value is not None}
    return {"type": "function", "function": function}
