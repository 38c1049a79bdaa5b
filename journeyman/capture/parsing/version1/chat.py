"""OpenAI's chat completions."""

from typing import Any

from journeyman.capture.parsing.events import read_events
from journeyman.capture.parsing.reading import Json, Notes
from journeyman.capture.parsing.version1.alike import merge_alike
from journeyman.capture.parsing.version1.answer import Answer, Asked, error_of, named, read_object, usage_of
from journeyman.capture.parsing.version1.shapes import (
    read_message,
    read_messages,
    read_sampling,
    read_tokens,
    read_tools,
    text,
)

_APART = frozenset(("model", "messages", "tools", "stream", "stream_options", "metadata"))
_JOINED = ("reasoning_content", "reasoning", "refusal")
"""Fields of a delta, besides its content, whose pieces are joined; of any other text the last value stands."""


def read_request(body: Json, notes: Notes) -> Asked:
    """The conversation, the tools, and how to sample."""
    messages = read_messages(body.get("messages"), notes)
    sampling = read_sampling(body, _APART, notes)
    if "tools" not in body:
        return Asked(messages, [], sampling)
    tools, others = read_tools(body["tools"], notes)
    if others:
        sampling["other_tools"] = others
    return Asked(messages, tools, sampling)


def read_whole(data: bytes, notes: Notes) -> Answer:
    """An answer that is one JSON object; ValueError when it is none."""
    return _read(read_object(data, notes), True, None, notes)


def read_stream(stream: bytes, notes: Notes) -> Answer:
    """An answer that came in events."""
    events = read_events(stream, notes, merge_alike)
    joining = Joining(events.unreadable)
    joining.add(events.objects)
    return _read(joining.completion(), events.done, joining.unreadable, notes)


def _read(body: Json, ended: bool, unreadable: str | None, notes: Notes) -> Answer:
    """A completion's body, whole or put together; `ended` says whether its own end mark was seen."""
    error = error_of(body)
    sent = body.get("choices")
    choices = []
    if type(sent) is list:
        prompt = body.get("prompt_token_ids")
        for choice in sent:
            if type(choice) is dict and type(choice.get("message")) is dict:
                choices.append(_choice(choice, prompt, notes))
            else:
                unreadable = unreadable or "a choice has no message"
    elif sent is not None or error is None:
        unreadable = unreadable or "it has no choices"
    finished = ended and bool(choices) and unreadable is None and all(each["finish_reason"] for each in choices)
    return named(Answer(choices, usage_of(body.get("usage")), finished, error, unreadable), body)


def _choice(choice: Json, prompt: Any, notes: Notes) -> Json:
    message = read_message(choice["message"], notes, "assistant")
    tokens = None
    logprobs = choice.get("logprobs")
    if logprobs is not None or "token_ids" in choice:
        tokens = _tokens(choice, prompt, logprobs)
        if logprobs and (tokens is None or _has_alternatives(logprobs)):
            notes.changed = True
            message["logprobs"] = logprobs
    return {"message": message, "finish_reason": text(choice.get("finish_reason")), "tokens": tokens}


def _tokens(choice: Json, prompt: Any, logprobs: Any) -> Json | None:
    sampled = choice.get("token_logprobs")
    if sampled is None and type(logprobs) is dict:
        content = logprobs.get("content")
        if type(content) is list and all(type(each) is dict for each in content):
            sampled = [each.get("logprob") for each in content]
    return read_tokens(choice.get("prompt_token_ids") or prompt, choice.get("token_ids"), sampled)


def _has_alternatives(logprobs: Any) -> bool:
    content = logprobs.get("content") if type(logprobs) is dict else None
    return type(content) is list and bool(content) and type(content[0]) is dict and bool(content[0].get("top_logprobs"))


_WHOLE = ("id", "model", "usage", "error", "prompt_token_ids")
"""Fields of a chunk that are told of the whole completion, and that we read."""


class Joining:
    """Joins the chunks of a stream into the completion that they amount to."""

    def __init__(self, unreadable: str | None = None) -> None:
        self.unreadable = unreadable
        self._whole: Json = {}
        self._choices: dict[int, Json] = {}
        self._texts: dict[int, list[str]] = {}
        self._joined: dict[tuple[int, str], list[str]] = {}

    def add(self, chunks: list[Json]) -> None:
        """Take chunks in."""
        whole, texts = self._whole, self._texts
        for chunk in chunks:
            pieces = chunk.get("choices")
            if type(pieces) is list and len(pieces) == 1 and type(piece := pieces[0]) is dict:
                # Nearly every chunk brings a few letters of one choice: the short way for those.
                delta, index = piece.get("delta"), piece.get("index")
                if (
                    type(delta) is dict
                    and len(delta) == 1
                    and type(words := delta.get("content")) is str
                    and type(index) is int
                    and index in texts
                    and piece.get("finish_reason") is None
                    and piece.get("logprobs") is None
                    and piece.get("token_ids") is None
                    and len(piece) < 6
                ):
                    texts[index].append(words)
                else:
                    self._add_piece(piece)
            elif pieces:
                self._add_pieces(pieces)
            if not whole or chunk.get("usage") or chunk.get("error") or "prompt_token_ids" in chunk:
                whole.update({name: value for name in _WHOLE if (value := chunk.get(name)) is not None})

    def _add_pieces(self, pieces: Any) -> None:
        if type(pieces) is not list:
            self.unreadable = self.unreadable or "the choices of an event are not a list"
            return
        for piece in pieces:
            self._add_piece(piece)

    def completion(self) -> Json:
        """What was joined, as the body of a whole answer."""
        for (index, name), texts in self._joined.items():
            if self._choices[index]["message"].setdefault(name, joined := "".join(texts)) is not joined:
                self.unreadable = self.unreadable or f"{name} of an event is text, and of another it is not"
        for index, texts in self._texts.items():
            message = self._choices[index]["message"]
            before = message.get("content")
            if type(before) is not list:
                message["content"] = "".join(texts)
            elif any(texts):
                before.append({"type": "text", "text": "".join(texts)})
        for choice in self._choices.values():
            calls = choice["message"].get("tool_calls")
            if type(calls) is dict:
                choice["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
        return self._whole | {"choices": [self._choices[index] for index in sorted(self._choices)]}

    def _add_piece(self, piece: Any) -> None:
        if type(piece) is not dict or type(index := piece.get("index", 0)) is not int:
            self.unreadable = self.unreadable or "a choice of an event is not a JSON object with an index"
            return
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = {"message": {"role": "assistant"}}
        for name, value in piece.items():
            if value is None or name == "index":
                continue
            if name == "delta":
                if type(value) is dict:
                    self._add_delta(index, choice["message"], value)
                else:
                    self.unreadable = self.unreadable or "the delta of an event is not a JSON object"
            elif name in ("token_ids", "token_logprobs"):
                self._extend(choice, name, value)
            elif name == "logprobs":
                self._add_logprobs(choice, value)
            else:
                choice[name] = value

    def _add_delta(self, index: int, message: Json, delta: Json) -> None:
        for name, value in delta.items():
            if value is None:
                continue
            if name == "content" and type(value) is str:
                texts = self._texts.get(index)
                if texts is None:
                    self._texts[index] = [value]
                else:
                    texts.append(value)
            elif name in _JOINED and type(value) is str:
                self._joined.setdefault((index, name), []).append(value)
            elif name == "tool_calls":
                self._add_tool_calls(message, value)
            elif name == "function_call" and type(value) is dict:
                _join_function(message.setdefault(name, {}), value)
            elif type(value) is list:
                self._extend(message, name, value)
            else:
                message[name] = value

    def _add_tool_calls(self, message: Json, pieces: Any) -> None:
        """A call's name and id come once, with its index; its arguments come in pieces."""
        calls = message.setdefault("tool_calls", {})
        for piece in pieces if type(pieces) is list else [pieces]:
            index = piece.get("index", len(calls)) if type(piece) is dict else None
            function = (piece.get("function") or {}) if type(piece) is dict else None
            if type(index) is not int or type(function) is not dict:
                self.unreadable = self.unreadable or "a tool call of an event is not a JSON object with an index"
                continue
            call = calls.setdefault(index, {"function": {"name": "", "arguments": ""}})
            _join_function(call["function"], function)
            for name, value in piece.items():
                if value is not None and name not in ("index", "function"):
                    call[name] = value

    def _add_logprobs(self, choice: Json, value: Any) -> None:
        if type(value) is not dict:
            self.unreadable = self.unreadable or "the logprobs of an event are not a JSON object"
            return
        joined = choice.setdefault("logprobs", {})
        for name, part in value.items():
            if part is not None:
                self._extend(joined, name, part)

    def _extend(self, fields: Json, name: str, value: Any) -> None:
        before = fields.setdefault(name, [])
        if type(value) is list and type(before) is list:
            before.extend(value)
        else:
            self.unreadable = self.unreadable or f"{name} of an event is not a list"


def _join_function(joined: Json, piece: Json) -> None:
    for name, value in piece.items():
        if name in ("name", "arguments") and type(value) is str:
            joined[name] = joined.get(name, "") + value
        elif value is not None:
            joined[name] = value
