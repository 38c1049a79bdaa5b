"""Tool calls as models write them, read back into OpenAI's shape.

Understood: `<tool_call>name{"argument": 1}</tool_call>` (our SmolLM2 template), and Hermes' and Qwen's
`<tool_call>{"name": …, "arguments": {…}}</tool_call>`. What cannot be read stays in the text: nothing is lost,
and nothing is invented.
"""

import json
import re
from typing import Any

from journeyman.records import FunctionCall, Message, ToolCall, new_id

OPENING = "<tool_call>"
_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_SIGNATURE = re.compile(r"(?P<name>[\w.-]+)\s*(?P<arguments>\{.*\})", re.DOTALL)


def read_reply(text: str) -> Message:
    """The assistant message that a model's text stands for."""
    calls: list[ToolCall] = []
    words: list[str] = []
    end = 0
    for found in _CALL.finditer(text):
        function = _function(found.group(1).strip())
        if function is None:
            continue
        words.append(text[end : found.start()])
        calls.append(ToolCall(id=f"call_{new_id()[-12:]}", type="function", function=function))
        end = found.end()
    words.append(text[end:])
    said = "".join(words)
    if not calls:
        return Message(role="assistant", content=said)
    return Message(role="assistant", content=said or None, tool_calls=tuple(calls))


def may_hold_call(text: str) -> int:
    """Where text that is still being written may turn into a tool call: its end when it cannot."""
    opened = text.find(OPENING)
    if opened >= 0:
        return opened
    for length in range(min(len(OPENING) - 1, len(text)), 0, -1):
        if text.endswith(OPENING[:length]):
            return len(text) - length
    return len(text)


def _function(written: str) -> FunctionCall | None:
    signature = _SIGNATURE.fullmatch(written)
    if signature is not None and _is_object(signature["arguments"]):
        return FunctionCall(name=signature["name"], arguments=signature["arguments"])
    try:
        parsed: Any = json.loads(written)
    except ValueError:
        return None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("name"), str):
        return None
    arguments = parsed.get("arguments", parsed.get("parameters", {}))
    if isinstance(arguments, str) and _is_object(arguments):
        return FunctionCall(name=parsed["name"], arguments=arguments)
    if not isinstance(arguments, dict):
        return None
    return FunctionCall(name=parsed["name"], arguments=json.dumps(arguments, ensure_ascii=False))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
