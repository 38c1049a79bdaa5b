"""A response as it grows: its output items, and the events that tell a client of each change."""

import time
from collections.abc import Sequence
from typing import Any, Literal

from journeyman.engines.local.api.response_body import ResponseBody
from journeyman.engines.local.api.texts import offsets
from journeyman.engines.local.request import Request
from journeyman.errors import JourneymanError
from journeyman.records import ToolCall, new_id

Kind = Literal["reasoning", "message"]
Event = dict[str, Any]


class ResponseWriter:
    """Writes one response. Every method returns the events that a stream sends; a whole answer needs only the end."""

    def __init__(self, body: ResponseBody, request: Request) -> None:
        self._body, self._request = body, request
        self._id, self._created = f"resp_{new_id()}", int(time.time())
        self._events = 0
        self._output: list[dict[str, Any]] = []
        self._open: Kind | None = None
        self._item, self._text = "", ""
        self._thoughts = ""

    def begin(self) -> list[Event]:
        """The response exists and is being written."""
        response = self.response("in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def add(self, kind: Kind, text: str) -> list[Event]:
        """More thoughts, or more words."""
        if not text:
            return []
        events = [] if self._open == kind else [*self._close(), *self._begin_item(kind)]
        self._text += text
        return [*events, self._part(f"{_STEM[kind]}.delta", delta=text, **_LOGPROBS[kind])]

    def end(self, calls: Sequence[ToolCall]) -> list[Event]:
        """Nothing more will be said; what remains are the calls, and the response as a whole."""
        events = self._close()
        for call in calls:
            events += self._call(call)
        if not self._output:
            events += [*self._begin_item("message"), *self._close()]
        status = self.status
        return [*events, self._event(f"response.{status}", response=self.response(status))]

    def fail(self, error: JourneymanError) -> list[Event]:
        """The reply broke off: its beginning stands, and the response says that it failed."""
        response = self.response("failed") | {"error": {"code": "server_error", "message": str(error)}}
        return [self._event("response.failed", response=response)]

    @property
    def status(self) -> str:
        """How a response that has ended is called."""
        return "incomplete" if self._request.finish_reason == "length" else "completed"

    def response(self, status: str) -> dict[str, Any]:
        """The `response` object as it is now."""
        body = self._body
        shortened = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": body.model,
            "output": list(self._output),
            "usage": None if status in ("in_progress", "failed") else self._usage(),
            "error": None,
            "incomplete_details": shortened,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata,
            "parallel_tool_calls": body.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "background": False,
            "temperature": body.temperature,
            "top_p": body.top_p,
            "text": body.text.model_dump(by_alias=True, exclude_none=True),
            "tools": [tool.model_dump() for tool in body.tools],
            "tool_choice": body.tool_choice if isinstance(body.tool_choice, str) else body.tool_choice.model_dump(),
            "truncation": body.truncation,
            "service_tier": "default",
            "user": body.user,
        }

    def _begin_item(self, kind: Kind) -> list[Event]:
        self._open, self._item, self._text = kind, f"{_PREFIX[kind]}_{new_id()}", ""
        item = self._described(kind, "in_progress", [])
        added = self._event("response.output_item.added", output_index=len(self._output), item=item)
        return [added, self._part("response.content_part.added", part=_content(kind, ""))]

    def _close(self) -> list[Event]:
        kind = self._open
        if kind is None:
            return []
        events = [
            self._part(f"{_STEM[kind]}.done", text=self._text, **_LOGPROBS[kind]),
            self._part("response.content_part.done", part=_content(kind, self._text)),
        ]
        whole = "incomplete" if self._request.finish_reason == "length" else "completed"
        item = self._described(kind, whole, [_content(kind, self._text)])
        self._open = None
        if kind == "reasoning":
            self._thoughts = self._text
        return [*events, self._finished(item)]

    def _call(self, call: ToolCall) -> list[Event]:
        self._item = f"fc_{new_id()}"
        place = {"item_id": self._item, "output_index": len(self._output)}
        item = {"id": self._item, "type": "function_call", "call_id": call.id, "name": call.function.name}
        begun = item | {"arguments": "", "status": "in_progress"}
        arguments = call.function.arguments
        stem = "response.function_call_arguments"
        return [
            self._event("response.output_item.added", output_index=len(self._output), item=begun),
            self._event(f"{stem}.delta", delta=arguments, **place),
            self._event(f"{stem}.done", arguments=arguments, name=call.function.name, **place),
            self._finished(item | {"arguments": arguments, "status": "completed"}),
        ]

    def _finished(self, item: dict[str, Any]) -> Event:
        self._output.append(item)
        return self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _described(self, kind: Kind, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        of_kind: dict[str, Any] = {"role": "assistant"} if kind == "message" else {"summary": []}
        return {"id": self._item, "type": kind, "status": status, "content": content, **of_kind}

    def _part(self, event: str, /, **values: Any) -> Event:
        place = {"item_id": self._item, "output_index": len(self._output), "content_index": 0}
        return self._event(event, **place, **values)

    def _event(self, event: str, /, **values: Any) -> Event:
        self._events += 1
        return {"type": event, "sequence_number": self._events - 1, **values}

    def _usage(self) -> dict[str, Any]:
        prompt, reply = len(self._request.prompt), len(self._request.reply)
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": self._request.cached},
            "output_tokens": reply,
            "output_tokens_details": {"reasoning_tokens": self._count_thoughts()},
            "total_tokens": prompt + reply,
        }

    def _count_thoughts(self) -> int:
        """How many of the reply's tokens begin before its thoughts end."""
        if not self._thoughts:
            return 0
        tokenizer, reply = self._request.tokenizer, self._request.reply
        end = tokenizer.decode(reply).find(self._thoughts) + len(self._thoughts)
        return sum(offset < end for offset in offsets(tokenizer, reply, keep_special=False))


_STEM: dict[Kind, str] = {"message": "response.output_text", "reasoning": "response.reasoning_text"}
_LOGPROBS: dict[Kind, dict[str, Any]] = {"message": {"logprobs": []}, "reasoning": {}}
_PREFIX: dict[Kind, str] = {"message": "msg", "reasoning": "rs"}


def _content(kind: Kind, text: str) -> dict[str, Any]:
    if kind == "message":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "reasoning_text", "text": text}
