"""Tool calls as models write them, read back into OpenAI's shape.

Each model has its own way, known by its chat template:

- `signature`: `<tool_call>name{"argument": 1}</tool_call>`, our SmolLM2 template;
- `tagged`: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, Hermes, Qwen, SmolLM3 and whoever follows them;
  or a list of such objects between the markers, SmolLM2 of 1.7B;
- `xml`: `<tool_call><function=name><parameter=argument>value</parameter></function></tool_call>`, Qwen3-Coder;
- `bare`: nothing but `{"name": …, "parameters": {…}}`, perhaps behind `<|python_tag|>`, Llama 3.

What cannot be read stays in the text, and so does a call of a tool that was not offered: nothing is lost, and nothing
is invented. Arguments of JSON are the very characters that the model wrote; they end where their JSON does, and only
then must the closing marker follow, so that a marker inside of a string is nothing but words.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from journeyman.records import FunctionCall, Message, Tool, ToolCall, new_id
from journeyman.rendering import xml_calls

Offered = Mapping[str, dict[str, Any] | None]
"""The tools that there are: the JSON Schema of the arguments, by name."""

OPENING, CLOSING = "<tool_call>", "</tool_call>"
PYTHON_TAG = "<|python_tag|>"
_HEAD = re.compile(r"\s*(?:(?P<name>[\w.-]+)\s*(?=\{)|(?=[{\[]))")
"""What stands before the JSON of a marked call: the tool's name, or nothing where the JSON says it."""
_JSON = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class CallStyle:
    """One way of writing calls: how to read it, and how it is written when a call is forced."""

    name: Literal["signature", "tagged", "xml", "bare"]

    @property
    def opening(self) -> str:
        """What words cannot contain, because a call begins with it; empty where a call is all that there is."""
        return "" if self.name == "bare" else OPENING

    def around(self, function: str) -> tuple[str, str]:
        """What is written before and after the arguments of a call to `function`."""
        named = json.dumps(function, ensure_ascii=False)
        if self.name == "signature":
            return f"{OPENING}{function}", CLOSING
        if self.name == "tagged":
            return f'{OPENING}\n{{"name": {named}, "arguments": ', f"}}\n{CLOSING}"
        if self.name == "xml":
            return f"{OPENING}\n<function={function}>\n", f"</function>\n{CLOSING}"
        return f'{{"name": {named}, "parameters": ', "}"

    def read(self, text: str, offered: Offered | None = None) -> Message:
        """The assistant message that a model's text stands for; `offered` are the tools that there are (None: any)."""
        if self.name == "bare":
            called = _described(text.strip().removeprefix(PYTHON_TAG).strip())
            if called is None or (offered is not None and called.name not in offered):
                return Message(role="assistant", content=text)
            return Message(role="assistant", content=None, tool_calls=(_call(called),))
        return _read_marked(text, offered, _xml_marked if self.name == "xml" else _marked)

    def certain(self, text: str) -> int:
        """How much of a text that is still being written can no longer turn out to be a tool call."""
        if self.name == "bare":
            start = text.lstrip()
            return 0 if not start or start[0] == "{" or _overlaps(PYTHON_TAG, start) else len(text)
        opened = text.find(OPENING)
        if opened >= 0:
            return opened
        for length in range(min(len(OPENING) - 1, len(text)), 0, -1):
            if text.endswith(OPENING[:length]):
                return len(text) - length
        return len(text)


def offered_of(tools: Sequence[Tool]) -> Offered:
    """The tools as readers of replies ask for them."""
    return {tool.function.name: tool.function.parameters for tool in tools}


@lru_cache(64)
def style_of(template: str) -> CallStyle:
    """The style of the model that this chat template belongs to."""
    if "<function=" in template and "<parameter=" in template:
        return CallStyle("xml")
    if PYTHON_TAG in template or ('"parameters":' in template and OPENING not in template):
        return CallStyle("bare")
    if "<tool_call>name{" in template:
        return CallStyle("signature")
    return CallStyle("tagged")


_Reads = Callable[[str, int, Offered], tuple[list[FunctionCall], int]]
"""The calls behind an opening marker, if there are any, and where to read on."""


def _read_marked(text: str, offered: Offered | None, calls_at: _Reads) -> Message:
    calls: list[ToolCall] = []
    words: list[str] = []
    read = at = 0
    while (opened := text.find(OPENING, at)) >= 0:
        called, at = calls_at(text, opened + len(OPENING), offered or {})
        if called and (offered is None or all(each.name in offered for each in called)):
            calls += map(_call, called)
            words.append(text[read:opened])
            read = at
    said = "".join([*words, text[read:]])
    if not calls:
        return Message(role="assistant", content=said)
    return Message(role="assistant", content=said or None, tool_calls=tuple(calls))


def _xml_marked(text: str, start: int, offered: Offered) -> tuple[list[FunctionCall], int]:
    called, at = xml_calls.read_call(text, start, offered)
    return [called] if called else [], at


def _marked(text: str, start: int, _offered: Offered) -> tuple[list[FunctionCall], int]:
    """Behind JSON that cannot be read nothing else is: nobody knows which of its markers stand inside of a string."""
    head = _HEAD.match(text, start)
    if head is None:
        return [], start
    try:
        _, end = _JSON.raw_decode(text, head.end())
    except (ValueError, RecursionError):
        return [], len(text)
    closed = _skip(text, end)
    if not text.startswith(CLOSING, closed):
        return [], end
    written = text[head.end() : end]
    if head["name"]:
        return [FunctionCall(name=head["name"], arguments=written)], closed + len(CLOSING)
    described = [_described(each) for each in (_items(written) if written[0] == "[" else [written])]
    called = [each for each in described if each is not None]
    return called if len(called) == len(described) else [], closed + len(CLOSING)


def _call(called: FunctionCall) -> ToolCall:
    return ToolCall(id=f"call_{new_id()[-12:]}", type="function", function=called)


def _described(written: str) -> FunctionCall | None:
    """`{"name": …, "arguments": {…}}`, with `parameters` as another name of the arguments."""
    if not _is_object(written):
        return None
    members = dict(_members(written))
    name = json.loads(members.get("name", "null"))
    arguments = members.get("arguments", members.get("parameters", "{}"))
    if not isinstance(name, str):
        return None
    if arguments.startswith('"'):
        # Some models write the object as a string: what stands in it is what they mean.
        arguments = json.loads(arguments)
    return FunctionCall(name=name, arguments=arguments) if _is_object(arguments) else None


def _members(written: str) -> Iterator[tuple[str, str]]:
    """Names and values of a JSON object that is known to be one, each value as it is written."""
    at = _skip(written, 1)
    while written[at] == '"':
        name, at = _JSON.raw_decode(written, at)
        start = _skip(written, _skip(written, at) + 1)
        _, at = _JSON.raw_decode(written, start)
        yield name, written[start:at]
        at = _skip(written, at)
        if written[at] == ",":
            at = _skip(written, at + 1)


def _items(written: str) -> Iterator[str]:
    """The values of a JSON list that is known to be one, each as it is written."""
    at = _skip(written, 1)
    while written[at] != "]":
        _, end = _JSON.raw_decode(written, at)
        yield written[at:end]
        at = _skip(written, end)
        if written[at] == ",":
            at = _skip(written, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _overlaps(marker: str, start: str) -> bool:
    return marker.startswith(start) or start.startswith(marker)
