"""Teaches vLLM to read `<tool_call>name{"argument": 1}</tool_call>`, as models write calls under our template.

vLLM loads this file by its path, in an environment where Journeyman need not be installed; hence it stands alone. What
cannot be read as a call stays in the text.
"""

import json
import re
import sys
from typing import Any

NAME = "journeyman"
OPENING = "<tool_call>"
_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_SIGNATURE = re.compile(r"([\w.-]+)\s*(\{.*\})", re.DOTALL)


def read_calls(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The words of a reply, and its calls as name and arguments, these as they were written."""
    calls: list[tuple[str, str]] = []
    words: list[str] = []
    end = 0
    for found in _CALL.finditer(text):
        signature = _SIGNATURE.fullmatch(found.group(1).strip())
        if signature is None or not _is_object(signature[2]):
            continue
        words.append(text[end : found.start()])
        calls.append((signature[1], signature[2]))
        end = found.end()
    return "".join([*words, text[end:]]), calls


def words_until(text: str) -> int:
    """Where text that is still being written may turn into a call: its end when it cannot."""
    opened = text.find(OPENING)
    if opened >= 0:
        return opened
    held = next((n for n in range(len(OPENING) - 1, 0, -1) if text.endswith(OPENING[:n])), 0)
    return len(text) - held


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _register() -> None:
    from vllm.entrypoints.generate.base.protocol import (
        DeltaFunctionCall,
        DeltaMessage,
        DeltaToolCall,
        ExtractedToolCallInformation,
        FunctionCall,
        ToolCall,
    )
    from vllm.renderers.chat_utils import make_tool_call_id
    from vllm.tool_parsers.abstract_tool_parser import ToolParser, ToolParserManager

    class JourneymanToolParser(ToolParser):  # type: ignore[misc]
        """Whole replies are read at once; of a stream, calls are told when each is complete."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._words_told = 0

        def extract_tool_calls(self, model_output: str, request: Any) -> Any:
            """The words and the calls of a whole reply."""
            words, calls = read_calls(model_output)
            told = [ToolCall(type="function", function=FunctionCall(name=n, arguments=a)) for n, a in calls]
            return ExtractedToolCallInformation(
                tools_called=bool(told), tool_calls=told, content=(words or None) if told else model_output
            )

        def extract_tool_calls_streaming(
            self, previous_text: str, current_text: str, delta_text: str, *ids_and_request: Any, **named: Any
        ) -> Any:
            """What the newest piece adds: words that can be no call any more, and calls that are complete."""
            end = words_until(current_text)
            words, self._words_told = current_text[self._words_told : end], max(self._words_told, end)
            closed = current_text[: current_text.rfind("</tool_call>") + len("</tool_call>")]
            calls = read_calls(closed)[1] if "</tool_call>" in current_text else []
            added = [
                DeltaToolCall(
                    index=index,
                    type="function",
                    id=make_tool_call_id(),
                    function=DeltaFunctionCall(name=name, arguments=arguments).model_dump(exclude_none=True),
                )
                for index, (name, arguments) in enumerate(calls)
                if index >= len(self.prev_tool_call_arr)
            ]
            # vLLM compares these two when the stream ends, and adds what seems to be missing.
            for name, arguments in calls[len(self.prev_tool_call_arr) :]:
                self.prev_tool_call_arr.append({"name": name, "arguments": arguments})
                self.streamed_args_for_tool.append(arguments)
            if not words and not added:
                return None
            return DeltaMessage(content=words or None, **({"tool_calls": added} if added else {}))

    ToolParserManager.register_module(NAME, module=JourneymanToolParser)


if "vllm" in sys.modules:
    _register()
