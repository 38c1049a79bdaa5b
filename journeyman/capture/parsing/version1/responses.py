"""OpenAI's responses, told in the shapes of chats.

Instructions become a system message. What an assistant says or does in a row (reasoning, words, calls) is one assistant
message; its items that a chat has no field for stay with it, as they came, in `items`, and so do other such items.
`finish_reason` is the response's status, or why it is incomplete.
"""

from typing import Any

from journeyman.capture.parsing.events import event_data, read_events
from journeyman.capture.parsing.reading import Json, Notes, read_json
from journeyman.capture.parsing.version1.answer import Answer, Asked, error_of, named, read_object
from journeyman.capture.parsing.version1.shapes import count, read_message, read_sampling, read_tools, text, tool_call

_APART = frozenset(("model", "input", "instructions", "tools", "stream", "stream_options", "metadata"))
_LAST = ("response.completed", "response.incomplete", "response.failed")
_ITEM = frozenset(("type", "role", "content", "id", "status"))
_FUNCTION = ("name", "description", "parameters")
_TOOL = frozenset(("type", *_FUNCTION))


def read_request(body: Json, notes: Notes) -> Asked:
    """The instructions and the conversation, the tools, and how to sample; `previous_response_id` is kept there."""
    messages: list[Json] = []
    instructions = body.get("instructions")
    if type(instructions) is list:
        messages += _messages(instructions, notes)
    elif instructions is not None:
        messages.append(read_message({"role": "system", "content": instructions}, notes))
    sent = body.get("input")
    if type(sent) is list:
        messages += _messages(sent, notes)
    elif sent is not None:
        messages.append(read_message({"role": "user", "content": sent}, notes))
    sampling = read_sampling(body, _APART, notes)
    offered = body.get("tools")
    tools, others = read_tools([_tool(tool) for tool in offered] if type(offered) is list else offered, notes)
    if others:
        sampling["other_tools"] = others
    return Asked(messages, tools, sampling)


def read_whole(data: bytes, notes: Notes) -> Answer:
    """An answer that is one JSON object; ValueError when it is none."""
    return _read(read_object(data, notes), None, notes)


def read_stream(stream: bytes, notes: Notes) -> Answer:
    """An answer that came in events. The last one repeats all that the others said."""
    last = _last_event(stream, notes)
    if last is not None:
        return _read(last, None, notes)
    events = read_events(stream, notes)
    joining = _Joining(events.unreadable)
    for event in events.objects:
        joining.add(event)
    answer = _read(joining.response(), joining.unreadable, notes)
    answer.finished = answer.finished and joining.ended
    return answer


def _last_event(stream: bytes, notes: Notes) -> Json | None:
    """The response as the stream's own last event has it; None where that has not come, or says too little."""
    for data in [*event_data(stream)][:-3:-1]:
        try:
            event = read_json(data, notes)
        except ValueError:
            continue
        response = event.get("response") if type(event) is dict and event.get("type") in _LAST else None
        if type(response) is dict and response.get("output"):
            return response
    return None


class _Joining:
    """Joins events into the response that they amount to, as far as it came."""

    def __init__(self, unreadable: str | None) -> None:
        self.unreadable = unreadable
        self.ended = False
        self._response: Json = {}
        self._items: dict[int, Json] = {}
        self._whole: set[int] = set()

    def add(self, event: Json) -> None:
        kind = event.get("type")
        if kind == "error" or event.get("error"):
            self._response["error"] = event.get("error") or event
        elif type(kind) is not str:
            self.unreadable = self.unreadable or "an event does not say its type"
        elif type(response := event.get("response")) is dict:
            self._response |= {name: value for name, value in response.items() if value is not None}
            self.ended = self.ended or kind in _LAST
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._add_item(event.get("output_index"), event.get("item"), whole=kind.endswith("done"))
        elif kind.endswith(".delta"):
            self._add_delta(kind, event)

    def response(self) -> Json:
        """What was joined, as the body of a whole answer."""
        if not self._response.get("output"):
            self._response["output"] = [self._items[index] for index in sorted(self._items)]
        return self._response

    def _add_item(self, index: Any, item: Any, whole: bool) -> None:
        if type(index) is not int or type(item) is not dict:
            self.unreadable = self.unreadable or "an item of an event is not a JSON object with an index"
            return
        self._items[index] = item
        if whole:
            self._whole.add(index)

    def _add_delta(self, kind: str, event: Json) -> None:
        index, delta = event.get("output_index"), event.get("delta")
        item = self._items.get(index) if type(index) is int else None
        if item is None or type(delta) is not str or index in self._whole:
            return
        if kind == "response.function_call_arguments.delta":
            item["arguments"] = (text(item.get("arguments")) or "") + delta
        elif kind == "response.custom_tool_call_input.delta":
            item["input"] = (text(item.get("input")) or "") + delta
        elif kind in _PARTS:
            name, part_type, field, number = _PARTS[kind]
            _part(item, name, part_type, field, event.get(number))[field] += delta


_PARTS = {
    "response.output_text.delta": ("content", "output_text", "text", "content_index"),
    "response.refusal.delta": ("content", "refusal", "refusal", "content_index"),
    "response.reasoning_text.delta": ("content", "reasoning_text", "text", "content_index"),
    "response.reasoning_summary_text.delta": ("summary", "summary_text", "text", "summary_index"),
}
"""Where the pieces of an item's texts go: its list of parts, their type and field, and what numbers them."""


def _part(item: Json, name: str, part_type: str, field: str, number: Any) -> Json:
    parts = item.get(name)
    if type(parts) is not list:
        parts = item[name] = []
    number = number if type(number) is int else 0
    if number >= len(parts) or type(parts[number]) is not dict or type(parts[number].get(field)) is not str:
        parts.append({"type": part_type, field: ""})
        number = -1
    return parts[number]  # type: ignore[no-any-return]


def _read(body: Json, unreadable: str | None, notes: Notes) -> Answer:
    error = error_of(body)
    output = body.get("output")
    if type(output) is not list:
        if error is None:
            unreadable = unreadable or "it has no output"
        output = []
    status = text(body.get("status"))
    details = body.get("incomplete_details")
    finish = None
    if status == "completed":
        finish = status
    elif status == "incomplete":
        finish = (text(details.get("reason")) if type(details) is dict else None) or status
    choices = []
    if output or finish:
        group = _Group()
        for item in output:
            group.add(item, notes)
        choices = [{"message": group.message(), "finish_reason": finish, "tokens": None}]
    finished = finish is not None and unreadable is None
    return named(Answer(choices, _usage(body.get("usage")), finished, error, unreadable), body)


def _usage(sent: Any) -> tuple[int, int, int] | None:
    if type(sent) is not dict:
        return None
    details = sent.get("input_tokens_details")
    cached = count(details.get("cached_tokens")) if type(details) is dict else 0
    return count(sent.get("input_tokens")), count(sent.get("output_tokens")), cached


def _tool(tool: Any) -> Any:
    """A function tool as chats have it; another tool as it is."""
    if type(tool) is not dict or tool.get("type") != "function" or "function" in tool:
        return tool
    function = {name: tool[name] for name in _FUNCTION if tool.get(name) is not None}
    function |= {name: value for name, value in tool.items() if name not in _TOOL and value is not None}
    return {"type": "function", "function": function}


def _messages(items: list[Any], notes: Notes) -> list[Json]:
    messages: list[Json] = []
    group: _Group | None = None
    for item in items:
        if _is_assistants(item):
            group = group or _Group()
            group.add(item, notes)
            continue
        if group is not None:
            messages.append(group.message())
            group = None
        messages.append(_message(item, notes))
    if group is not None:
        messages.append(group.message())
    return messages


def _is_assistants(item: Any) -> bool:
    if type(item) is not dict:
        return False
    kind = item.get("type")
    if kind in (None, "message"):
        return bool(item.get("role") == "assistant")
    return type(kind) is str and (
        kind in ("reasoning", "mcp_list_tools", "mcp_approval_request") or kind[-5:] == "_call"
    )


def _message(item: Any, notes: Notes) -> Json:
    """An item that is not the assistant's."""
    if type(item) is not dict:
        return read_message(item, notes)
    kind = item.get("type")
    if kind in (None, "message"):
        others = {name: value for name, value in item.items() if name not in _ITEM}
        return read_message({"role": item.get("role"), "content": _content(item.get("content")), **others}, notes)
    if kind == "function_call_output":
        message = {"role": "tool", "content": _content(item.get("output")), "tool_call_id": item.get("call_id")}
        return read_message(message, notes)
    notes.changed = True
    call_id = item.get("call_id")
    if type(kind) is str and kind.endswith("_output") and type(call_id) is str:
        return {"role": "tool", "tool_call_id": call_id, "items": [item]}
    return {"role": "user", "items": [item]}


def _content(content: Any) -> Any:
    """Content as chats have it: a single part of plain text is its text."""
    if type(content) is not list:
        return content
    parts = [_content_part(part) for part in content]
    if len(parts) == 1 and type(parts[0]) is dict and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _content_part(part: Any) -> Any:
    if type(part) is not dict:
        return part
    kind = part.get("type")
    if kind in ("input_text", "output_text"):
        kept = {name: value for name, value in part.items() if value not in (None, [])}
        return kept | {"type": "text"}
    if kind == "input_image" and type(part.get("image_url")) is str:
        image = {"url": part["image_url"]}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    return part


class _Group:
    """What an assistant says and does in a row, as one message."""

    def __init__(self) -> None:
        self._content: list[Any] = []
        self._calls: list[Json] = []
        self._thoughts: list[str] = []
        self._refusals: list[str] = []
        self._items: list[Any] = []
        self._others: Json = {}

    def add(self, item: Any, notes: Notes) -> None:
        """Take one item in."""
        kind = item.get("type") if type(item) is dict else None
        if kind == "function_call" and type(item.get("name")) is str:
            self._calls.append(tool_call(item.get("call_id"), item["name"], item.get("arguments"), notes))
        elif kind == "message" or (kind is None and type(item) is dict and item.get("role") == "assistant"):
            self._others |= {name: value for name, value in item.items() if name not in _ITEM and value is not None}
            content = item.get("content")
            for part in content if type(content) is list else [] if content is None else [content]:
                self._add_part(part)
        else:
            if kind == "reasoning":
                self._thoughts += _thoughts(item)
            notes.changed = True
            self._items.append(item)

    def message(self) -> Json:
        """The message that all of it makes."""
        message: Json = {"role": "assistant"}
        if self._content:
            message["content"] = _content(self._content)
        if self._calls:
            message["tool_calls"] = self._calls
        message |= {name: value for name, value in self._others.items() if name not in message}
        if self._refusals:
            message["refusal"] = "".join(self._refusals)
        if self._thoughts:
            message["reasoning_content"] = "\n\n".join(self._thoughts)
        if self._items:
            message["items"] = self._items
        return read_message(message, Notes(), "assistant")

    def _add_part(self, part: Any) -> None:
        if type(part) is str:
            self._content.append({"type": "text", "text": part})
        elif type(part) is dict and part.get("type") == "refusal" and type(part.get("refusal")) is str:
            self._refusals.append(part["refusal"])
        else:
            self._content.append(part)


def _thoughts(item: Json) -> list[str]:
    """The texts of reasoning: its own, or the summary that is shown instead."""
    for name in ("content", "summary"):
        parts = item.get(name)
        found = [part["text"] for part in parts if _has_text(part)] if type(parts) is list else []
        if found:
            return found
    return []


def _has_text(part: Any) -> bool:
    return type(part) is dict and type(part.get("text")) is str
