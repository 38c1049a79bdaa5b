"""Replies in OpenAI's shapes: one whole chat completion, or the chunks of a stream."""

import time
from collections.abc import Sequence
from typing import Any

from journeyman.engines.local.api.body import ChatBody
from journeyman.engines.local.request import Request
from journeyman.records import Message, new_id
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.tool_calls import may_hold_call, read_reply


class Written:
    """The text of one choice as it grows, read as words and tool calls."""

    def __init__(self, body: ChatBody) -> None:
        self._reads_calls = bool(body.tools) and body.tool_choice == "auto"
        self._text = ""
        self._sent = 0

    def add(self, text: str) -> str:
        """Take more text; returns the words that can no longer turn out to be a tool call."""
        self._text += text
        safe = may_hold_call(self._text) if self._reads_calls else len(self._text)
        words, self._sent = self._text[self._sent : safe], max(self._sent, safe)
        return words

    def message(self) -> Message:
        """The reply as a message."""
        return read_reply(self._text) if self._reads_calls else Message(role="assistant", content=self._text)

    def rest(self) -> dict[str, Any]:
        """The last delta of a stream: the words that were held back, and tool calls."""
        message = self.message()
        delta: dict[str, Any] = {}
        if held := message.text[self._sent :]:
            delta["content"] = held
        if message.tool_calls:
            delta["tool_calls"] = [{"index": index, **call.wire()} for index, call in enumerate(message.tool_calls)]
        return delta


class Completion:
    """Builds the answers to one request: ids, times and usage are the same in all of its parts."""

    def __init__(self, body: ChatBody, requests: Sequence[Request]) -> None:
        self._body, self._requests = body, requests
        self._head = {"id": f"chatcmpl-{new_id()}", "created": int(time.time()), "model": body.model}

    def whole(self, written: Sequence[Written]) -> dict[str, Any]:
        """The `chat.completion` object."""
        choices = []
        for index, (request, text) in enumerate(zip(self._requests, written, strict=True)):
            message = text.message()
            content = {"role": "assistant", "content": None, **message.wire()}
            choices.append({"index": index, "message": content, **self._ending(request, message)})
        answer = {**self._head, "object": "chat.completion", "choices": choices, "usage": self.usage()}
        return answer | self._prompt_ids()

    def chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        """A `chat.completion.chunk` with something new of one choice."""
        choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def last_chunk(self, index: int, written: Written) -> dict[str, Any]:
        """The chunk that ends one choice: what was held back, why it ended, and its tokens."""
        ending = self._ending(self._requests[index], written.message())
        choice = {"index": index, "delta": written.rest(), **ending}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]} | self._prompt_ids()

    def usage_chunk(self) -> dict[str, Any]:
        """The chunk without choices that carries the usage."""
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """Tokens: the prompt once, the replies together; what the cache saved stands under the prompt."""
        prompt = len(self._requests[0].prompt)
        completion = sum(len(request.reply) for request in self._requests)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self._requests[0].cached},
        }

    def _ending(self, request: Request, message: Message) -> dict[str, Any]:
        reason = "tool_calls" if message.tool_calls else request.finish_reason
        ending: dict[str, Any] = {"finish_reason": reason, "logprobs": None}
        if self._body.logprobs:
            ending["logprobs"] = {"content": _logprobs(request), "refusal": None}
        if self._body.return_token_ids:
            ending |= {"token_ids": request.reply, "token_logprobs": request.logprobs}
        return ending

    def _prompt_ids(self) -> dict[str, Any]:
        return {"prompt_token_ids": list(self._requests[0].prompt)} if self._body.return_token_ids else {}


def _logprobs(request: Request) -> list[dict[str, Any]]:
    alternatives = request.alternatives or [[] for _ in request.reply]
    return [
        _token(request.tokenizer, id, logprob)
        | {"top_logprobs": [_token(request.tokenizer, top.id, top.logprob) for top in tops]}
        for id, logprob, tops in zip(request.reply, request.logprobs, alternatives, strict=True)
    ]


def _token(tokenizer: ChatTokenizer, id: int, logprob: float) -> dict[str, Any]:
    text = tokenizer.decode([id], keep_special=True)
    # Part of a character: its bytes are not those of the sign that stands in for it.
    known = None if "\N{REPLACEMENT CHARACTER}" in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": known}
