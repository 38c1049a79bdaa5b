"""Brings messages, tools, sampling and tokens into the store's shapes, and keeps what does not fit beside them.

Whatever these functions return validates as records. What was sent and fits no field of a message stays with it under
`as_sent`. Fields are in the order in which records write them, and null ones are dropped, so that a reply and its
repetition in the next request are the same message.
"""

from typing import Any, get_args

import orjson

from journeyman.capture.parsing.reading import Json, Notes
from journeyman.records.message import Role

ROLES = frozenset(get_args(Role))
_PLAIN = ("role", "content")
"""The fields of most messages, in their order."""
_MESSAGE = frozenset(("role", "content", "tool_calls", "tool_call_id", "name"))
_CALL = frozenset(("type", "id", "function", "index"))
_FUNCTION = frozenset(("name", "arguments"))
_NUMBER, _INTEGER = (int, float), (int,)
_SAMPLING: dict[str, tuple[type, ...]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "max_tokens": _INTEGER,
    "seed": _INTEGER,
    "n": _INTEGER,
    "stop": (str,),
}


def read_messages(sent: Any, notes: Notes) -> list[Json]:
    """The messages of a chat request."""
    if type(sent) is not list:
        sent = [] if sent is None else [sent]
    messages: list[Json] = []
    for message in sent:
        if (
            type(message) is dict
            and tuple(message) == _PLAIN
            and type(message["content"]) is str
            and type(role := message["role"]) is str
            and role in ROLES
        ):
            messages.append(message)
        else:
            messages.append(read_message(message, notes))
    return messages


def read_message(sent: Any, notes: Notes, default: str = "user") -> Json:
    """One message; `default` is its role where it has none that we know."""
    if type(sent) is not dict:
        notes.changed = True
        return {"role": default, "as_sent": sent}
    misfits: Json = {}
    message: Json = {"role": _role(sent.get("role"), default, misfits)}
    content = sent.get("content")
    if type(content) is str:
        message["content"] = content
    elif content is not None and (parts := _parts(content, misfits)) is not None:
        message["content"] = parts
    if (calls := sent.get("tool_calls")) and (fitting := _tool_calls(calls, misfits, notes)):
        message["tool_calls"] = fitting
    for name in ("tool_call_id", "name"):
        if type(value := sent.get(name)) is str:
            message[name] = value
        elif value is not None:
            misfits[name] = value
    if len(message) < len(sent):
        for name, value in sent.items():
            if value is not None and name not in _MESSAGE and (value or name != "annotations"):
                message[name] = value
    if misfits:
        notes.changed = True
        message["as_sent"] = misfits
    return message


def tool_call(id: Any, name: str, arguments: Any, notes: Notes, **others: Any) -> Json:
    """A tool call; arguments that were not sent as text are written as JSON."""
    if type(arguments) is not str:
        notes.changed = True
        arguments = orjson.dumps({} if arguments is None else arguments).decode()
    if type(id) is not str:
        notes.changed = True
        id = ""
    return {"type": "function", "id": id, "function": {"name": name, "arguments": arguments}, **others}


def read_tools(sent: Any, notes: Notes) -> tuple[list[Json], list[Any]]:
    """The functions that were offered, and whatever else was offered with them."""
    if type(sent) is not list:
        return [], [] if sent is None else [sent]
    tools: list[Json] = []
    others: list[Any] = []
    for tool in sent:
        (tools if type(tool) is dict and tool.get("type") == "function" and _is_function(tool) else others).append(tool)
    notes.changed = notes.changed or bool(others)
    return tools, others


def read_sampling(body: Json, apart: frozenset[str], notes: Notes) -> Json:
    """Every field of a body that was given, without those that are kept apart."""
    sampling: Json = {}
    misfits: Json = {}
    for name, value in body.items():
        if value is None or name in apart:
            continue
        if name in _SAMPLING and not _is_sampling(name, value):
            misfits[name] = value
        else:
            sampling[name] = value
    if misfits:
        notes.changed = True
        sampling["as_sent"] = misfits
    return sampling


def read_tokens(prompt: Any, reply: Any, logprobs: Any) -> Json | None:
    """Only a whole account counts: the prompt's ids, the reply's, and one logprob for each of these."""
    if type(prompt) is not list or type(reply) is not list or type(logprobs) is not list:
        return None
    if len(reply) != len(logprobs) or not {*map(type, logprobs)} <= {float, int}:
        return None
    if not {*map(type, prompt), *map(type, reply)} <= {int}:
        return None
    return {"prompt": prompt, "reply": reply, "logprobs": logprobs}


def count(value: Any) -> int:
    """A number of tokens; 0 where none is told."""
    return value if type(value) is int and 0 <= value < 1 << 62 else 0


def text(value: Any) -> str | None:
    """The value if it says something in words."""
    return value if type(value) is str and value else None


def _role(sent: Any, default: str, misfits: Json) -> str:
    if type(sent) is str and sent in ROLES:
        return sent
    if sent is not None:
        misfits["role"] = sent
    # What older programs call the answer of a function.
    return "tool" if sent == "function" else default


def _parts(content: Any, misfits: Json) -> list[Json] | None:
    if type(content) is not list:
        misfits["content"] = content
        return None
    if all(type(part) is dict and type(part.get("text", "")) is str for part in content):
        return content
    misfits["content"] = content
    return [part for part in content if type(part) is dict and type(part.get("text", "")) is str]


def _tool_calls(calls: Any, misfits: Json, notes: Notes) -> list[Json]:
    read, others = [], []
    for call in calls if type(calls) is list else [calls]:
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict or type(function.get("name")) is not str or not _is_typed(call):
            others.append(call)
            continue
        made = tool_call(call.get("id"), function["name"], function.get("arguments"), notes)
        if len(function) > 2:
            made["function"] |= {name: value for name, value in function.items() if name not in _FUNCTION}
        if len(call) > 3:
            made |= {name: value for name, value in call.items() if name not in _CALL and value is not None}
        read.append(made)
    if others:
        misfits["tool_calls"] = others
    return read


def _is_typed(call: Json) -> bool:
    return call.get("type") in ("function", None, "")


def _is_function(tool: Json) -> bool:
    function = tool.get("function")
    return (
        type(function) is dict
        and type(function.get("name")) is str
        and type(function.get("description")) in (str, type(None))
        and type(function.get("parameters")) in (dict, type(None))
    )


def _is_sampling(name: str, value: Any) -> bool:
    if name == "stop" and type(value) is list:
        return all(type(each) is str for each in value)
    return type(value) in _SAMPLING[name]
