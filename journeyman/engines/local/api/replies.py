"""Replies in OpenAI's shapes: one whole chat completion, or the chunks of a stream."""

import time
from collections.abc import Sequence
from typing import Any

from journeyman.engines.local.api.body import ChatBody
from journeyman.engines.local.request import Request
from journeyman.engines.local.sampling.rule import TopToken
from journeyman.records import Message, new_id
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.reply import Piece, ReplyReader


def delta_of(piece: Piece) -> dict[str, Any]:
    """A stream's delta with what became certain; empty when nothing did."""
    delta = {}
    if piece.thought:
        delta["reasoning_content"] = piece.thought
    if piece.words:
        delta["content"] = piece.words
    return delta


class Completion:
    """Builds the answers to one request: ids, times and usage are the same in all of its parts."""

    def __init__(self, body: ChatBody, requests: Sequence[Request]) -> None:
        self._body, self._requests = body, requests
        self._head = {"id": f"chatcmpl-{new_id()}", "created": int(time.time()), "model": body.model}

    def whole(self, readers: Sequence[ReplyReader]) -> dict[str, Any]:
        """The `chat.completion` object."""
        choices = []
        for index, (request, reader) in enumerate(zip(self._requests, readers, strict=True)):
            content = {"role": "assistant", "content": None, **reader.message.wire()}
            choices.append({"index": index, "message": content, **self._ending(request, reader.message)})
        answer = {**self._head, "object": "chat.completion", "choices": choices, "usage": self.usage()}
        if self._body.prompt_logprobs is not None:
            answer["prompt_logprobs"] = _prompt_logprobs(self._requests[0])
        return answer | self._prompt_ids()

    def chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        """A `chat.completion.chunk` with something new of one choice."""
        choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def last_chunk(self, index: int, reader: ReplyReader, piece: Piece) -> dict[str, Any]:
        """The chunk that ends one choice: what was held back, its calls, why it ended, and its tokens."""
        delta = delta_of(piece)
        if reader.message.tool_calls:
            calls = enumerate(reader.message.tool_calls)
            delta["tool_calls"] = [{"index": number, **call.wire()} for number, call in calls]
        choice = {"index": index, "delta": delta, **self._ending(self._requests[index], reader.message)}
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
        # A reply that was cut may have had more to say, and more to call.
        called = message.tool_calls and request.finish_reason == "stop"
        ending: dict[str, Any] = {"finish_reason": "tool_calls" if called else request.finish_reason, "logprobs": None}
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


def _prompt_logprobs(request: Request) -> list[dict[str, Any] | None]:
    """vLLM's shape: for each prompt token its own entry and the likeliest, by id; nothing predicts the first."""
    return [
        None,
        *(
            {str(top.id): _scored(request, top, rank) for rank, top in enumerate(tops, start=1)}
            | ({} if any(top.id == id for top in tops) else {str(id): _scored(request, TopToken(id, logprob), None)})
            for id, (logprob, tops) in zip(request.prompt[1:], request.prompt_logprobs, strict=True)
        ),
    ]


def _scored(request: Request, token: TopToken, rank: int | None) -> dict[str, Any]:
    """An entry of the prompt's; the rank of a token that is not among the likeliest is not worked out."""
    text = request.tokenizer.decode([token.id], keep_special=True)
    return {"logprob": token.logprob, "rank": rank, "decoded_token": text}
