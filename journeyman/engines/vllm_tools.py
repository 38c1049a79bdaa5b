"""Teaches vLLM to read `<tool_call>name{"argument": 1}</tool_call>`, as models write calls under our template.

vLLM loads this file by its path, in an environment where Journeyman need not be installed; hence it stands alone. It
reads by the rule of `journeyman.rendering.tool_calls`: the arguments end where their JSON does, the closing marker must
follow, and what is no call of a tool that was offered stays in the text.
"""

import json
import re
import sys
from collections.abc import Collection
from typing import Any

NAME = "journeyman"
OPENING, CLOSING = "<tool_call>", "</tool_call>"
_HEAD = re.compile(r"\s*(?:([\w.-]+)\s*)?(?=\{)")
_SPACE = re.compile(r"[ \t\n\r]*")
_JSON = json.JSONDecoder()


def read_calls(text: str, offered: Collection[str] | None = None) -> tuple[str, list[tuple[str, str]]]:
    """The words of a reply, and its calls of `offered` tools (None: any): name, and arguments as they were written."""
    calls: list[tuple[str, str]] = []
    words: list[str] = []
    read = at = 0
    while (opened := text.find(OPENING, at)) >= 0:
        called, at = _marked(text, opened + len(OPENING))
        if called is not None and (offered is None or called[0] in offered):
            calls.append(called)
            words.append(text[read:opened])
            read = at
    return "".join([*words, text[read:]]), calls


def words_until(text: str) -> int:
    """Where text that is still being written may turn into a call: its end when it cannot."""
    opened = text.find(OPENING)
    if opened >= 0:
        return opened
    held = next((n for n in range(len(OPENING) - 1, 0, -1) if text.endswith(OPENING[:n])), 0)
    return len(text) - held


def _marked(text: str, start: int) -> tuple[tuple[str, str] | None, int]:
    """The call behind an opening marker, if there is one, and where to read on: nowhere behind JSON that is broken."""
    head = _HEAD.match(text, start)
    if head is None:
        return None, start
    try:
        _, end = _JSON.raw_decode(text, head.end())
    except (ValueError, RecursionError):
        return None, len(text)
    closed = _end_of(_SPACE.match(text, end), end)
    if not text.startswith(CLOSING, closed):
        return None, end
    return (head[1], text[head.end() : end]) if head[1] else None, closed + len(CLOSING)


def _end_of(found: re.Match[str] | None, otherwise: int) -> int:
    return found.end() if found else otherwise


def _offered(request: Any) -> set[str] | None:
    """The names of a request's tools; None when it says nothing of them."""
    tools = getattr(request, "tools", None)
    return {tool.function.name for tool in tools} if tools else None


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
            words, calls = read_calls(model_output, _offered(request))
            told = [ToolCall(type="function", function=FunctionCall(name=n, arguments=a)) for n, a in calls]
            return ExtractedToolCallInformation(
                tools_called=bool(told), tool_calls=told, content=(words or None) if told else model_output
            )

        def extract_tool_calls_streaming(
            self, previous_text: str, current_text: str, delta_text: str,
            previous_token_ids: Any, current_token_ids: Any, delta_token_ids: Any, request: Any,
        ) -> Any:  # fmt: skip
            """What the newest piece adds: words that can be no call any more, and calls that are complete."""
            end = words_until(current_text)
            words, self._words_told = current_text[self._words_told : end], max(self._words_told, end)
            calls = read_calls(current_text, _offered(request))[1] if CLOSING in current_text else []
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
