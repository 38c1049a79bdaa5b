"""Plain completions in OpenAI's older shapes: whole, or the chunks of a stream."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

from journeyman.engines.local.api.completion_body import CompletionBody
from journeyman.engines.local.request import Request
from journeyman.engines.local.sampling.rule import TopToken
from journeyman.records import new_id
from journeyman.rendering.chat import ChatTokenizer

_PART = "\N{REPLACEMENT CHARACTER}"
"""What stands for the token of a part of a character."""


class Candidate:
    """One reply to one prompt as it grows."""

    def __init__(self, body: CompletionBody, request: Request) -> None:
        self._body, self.request = body, request
        self.text = ""
        """Of the reply alone."""

    @property
    def echoed(self) -> str:
        """The prompt as text, where it was asked for; as it was sent, if it was sent as text."""
        if not self._body.echo:
            return ""
        if isinstance(self._body.prompt, str):
            return self._body.prompt
        return self.request.tokenizer.decode(self.request.prompt, keep_special=True)

    @property
    def mean_logprob(self) -> float:
        """By which the best of several are chosen."""
        return sum(self.request.logprobs) / max(1, len(self.request.logprobs))

    def ending(self) -> dict[str, Any]:
        """Why it ended, and what was asked for of its tokens."""
        ending: dict[str, Any] = {"finish_reason": self.request.finish_reason, "logprobs": None}
        if self._body.logprobs is not None:
            ending["logprobs"] = self._logprobs()
        if self._body.return_token_ids:
            ending["token_ids"] = self.request.reply
            ending["token_logprobs"] = self.request.logprobs
            ending["prompt_token_ids"] = list(self.request.prompt)
        return ending

    def _logprobs(self) -> dict[str, Any]:
        request, tokenizer, asked = self.request, self.request.tokenizer, self._body.logprobs or 0
        entries: list[tuple[int, float | None, list[TopToken]]] = []
        places: list[int] = []
        if self._body.echo:
            entries.append((request.prompt[0], None, []))
            scored = zip(request.prompt[1:], request.prompt_logprobs, strict=True)
            entries += [(id, logprob, tops) for id, (logprob, tops) in scored]
            places += offsets(tokenizer, request.prompt, keep_special=True)
        written = zip(request.reply, request.logprobs, request.alternatives or [[] for _ in request.reply], strict=True)
        entries += list(written)
        start = len(self.echoed)
        places += [start + place for place in offsets(tokenizer, request.reply, keep_special=False)]
        return {
            "tokens": [_name(tokenizer, id) for id, _, _ in entries],
            "token_logprobs": [logprob for _, logprob, _ in entries],
            "top_logprobs": [_tops(tokenizer, *entry) for entry in entries] if asked else None,
            "text_offset": places,
        }


class TextCompletion:
    """Builds the answers to one call: ids, times and usage are the same in all of its parts."""

    def __init__(self, body: CompletionBody, candidates: Sequence[Candidate]) -> None:
        self._body, self.candidates = body, candidates
        self._head = {
            "id": f"cmpl-{new_id()}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model,
        }

    def whole(self) -> dict[str, Any]:
        """The `text_completion` object: of each prompt's candidates the likeliest ones."""
        choices = [
            {"index": index, "text": chosen.echoed + chosen.text, **chosen.ending()}
            for index, chosen in enumerate(self._chosen())
        ]
        return {**self._head, "choices": choices, "usage": self.usage()}

    def chunk(self, index: int, text: str) -> dict[str, Any]:
        """Something new of one choice."""
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": None}
        return {**self._head, "choices": [choice]}

    def last_chunk(self, index: int, text: str) -> dict[str, Any]:
        """The chunk that ends one choice: its last words, why it ended, and its tokens."""
        return {**self._head, "choices": [{"index": index, "text": text, **self.candidates[index].ending()}]}

    def usage_chunk(self) -> dict[str, Any]:
        """The chunk without choices that carries the usage."""
        return {**self._head, "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """Tokens: each prompt once; every candidate, also those that were not chosen."""
        firsts = [each.request for each in self.candidates[:: self._body.candidates]]
        prompt = sum(len(first.prompt) for first in firsts)
        completion = sum(len(each.request.reply) for each in self.candidates)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": sum(first.cached for first in firsts)},
        }

    def _chosen(self) -> Iterator[Candidate]:
        many = self._body.candidates
        for first in range(0, len(self.candidates), many):
            group = self.candidates[first : first + many]
            if many > self._body.n:
                group = sorted(group, key=lambda each: each.mean_logprob, reverse=True)[: self._body.n]
            yield from group


def offsets(tokenizer: ChatTokenizer, ids: Sequence[int], *, keep_special: bool) -> list[int]:
    """Where each token begins in the text of all of them."""
    stream, end, places = DecodeStream(skip_special_tokens=not keep_special), 0, list[int]()
    for id in ids:
        places.append(end)
        end += len(stream.step(tokenizer.tokenizer, id) or "")
    return places


def _tops(tokenizer: ChatTokenizer, id: int, logprob: float | None, tops: list[TopToken]) -> dict[str, float] | None:
    """The likeliest tokens and the one that stands there; None where nothing came before that could predict."""
    if logprob is None:
        return None
    return {_name(tokenizer, top.id): top.logprob for top in tops} | {_name(tokenizer, id): logprob}


def _name(tokenizer: ChatTokenizer, id: int) -> str:
    text = tokenizer.decode([id], keep_special=True)
    # Parts of characters all look alike; as keys they must not.
    return f"token_id:{id}" if _PART in text else text
