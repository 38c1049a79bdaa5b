"""OpenAI's older interfaces: completions of a text, and embeddings. Every prompt or input becomes a user message."""

from typing import Any

from journeyman.capture.parsing.events import read_events
from journeyman.capture.parsing.reading import Json, Notes
from journeyman.capture.parsing.version1.answer import Answer, Asked, error_of, named, read_object, usage_of
from journeyman.capture.parsing.version1.shapes import read_sampling, read_tokens, text

_APART = frozenset(("model", "prompt", "stream", "stream_options", "metadata"))
_APART_OF_EMBEDDINGS = frozenset(("model", "input", "metadata"))


def read_request(body: Json, notes: Notes) -> Asked:
    """The prompts; one of token ids is a message with `prompt_token_ids` and no words."""
    return Asked(_inputs(body.get("prompt"), notes), [], read_sampling(body, _APART, notes))


def read_embeddings_request(body: Json, notes: Notes) -> Asked:
    """The texts that are to be embedded."""
    return Asked(_inputs(body.get("input"), notes), [], read_sampling(body, _APART_OF_EMBEDDINGS, notes))


def read_whole(data: bytes, notes: Notes) -> Answer:
    """An answer that is one JSON object; ValueError when it is none."""
    return _read(read_object(data, notes), True, None, notes)


def read_stream(stream: bytes, notes: Notes) -> Answer:
    """An answer that came in events."""
    events = read_events(stream, notes)
    unreadable = events.unreadable
    whole: Json = {}
    choices: dict[int, Json] = {}
    for chunk in events.objects:
        whole.update({name: value for name, value in chunk.items() if value is not None})
        pieces = chunk.get("choices") or ()
        for piece in pieces if type(pieces) in (list, tuple) else (pieces,):
            if type(piece) is dict and type(index := piece.get("index", 0)) is int:
                _join(choices.setdefault(index, {"text": ""}), piece)
            else:
                unreadable = unreadable or "a choice of an event is not a JSON object with an index"
    whole["choices"] = [choices[index] for index in sorted(choices)]
    return _read(whole, events.done, unreadable, notes)


def read_embeddings(data: bytes, notes: Notes) -> Answer:
    """An answer with vectors: they are not kept, only that they came. ValueError when it is no JSON object."""
    body = read_object(data, notes)
    error = error_of(body)
    vectors = body.get("data")
    unreadable = None if error or type(vectors) is list else "it has no vectors"
    return named(Answer([], usage_of(body.get("usage")), bool(vectors) and not unreadable, error, unreadable), body)


def _read(body: Json, ended: bool, unreadable: str | None, notes: Notes) -> Answer:
    error = error_of(body)
    sent = body.get("choices")
    choices = []
    for choice in sent if type(sent) is list else ():
        if type(choice) is dict and type(choice.get("text")) is str:
            choices.append(_choice(choice, body.get("prompt_token_ids"), notes))
        else:
            unreadable = unreadable or "a choice has no text"
    if type(sent) is not list and error is None:
        unreadable = unreadable or "it has no choices"
    finished = ended and bool(choices) and unreadable is None and all(each["finish_reason"] for each in choices)
    return named(Answer(choices, usage_of(body.get("usage")), finished, error, unreadable), body)


def _choice(choice: Json, prompt: Any, notes: Notes) -> Json:
    message: Json = {"role": "assistant", "content": choice["text"]}
    logprobs = choice.get("logprobs")
    sampled = choice.get("token_logprobs")
    if sampled is None and type(logprobs) is dict:
        sampled = logprobs.get("token_logprobs")
    tokens = read_tokens(choice.get("prompt_token_ids") or prompt, choice.get("token_ids"), sampled)
    if logprobs and tokens is None:
        message["logprobs"] = logprobs
    return {"message": message, "finish_reason": text(choice.get("finish_reason")), "tokens": tokens}


def _join(choice: Json, piece: Json) -> None:
    for name, value in piece.items():
        before = choice.get(name)
        if value is None:
            continue
        if name == "text" and type(value) is str:
            choice["text"] += value
        elif type(value) is list and type(before) is list:
            before.extend(value)
        elif type(value) is dict and type(before) is dict:
            _join_lists(before, value)
        elif name != "text":
            choice[name] = value


def _join_lists(joined: Json, piece: Json) -> None:
    for name, value in piece.items():
        before = joined.get(name)
        if type(value) is list and type(before) is list:
            before.extend(value)
        elif value is not None:
            joined[name] = value


def _inputs(sent: Any, notes: Notes) -> list[Json]:
    if sent is None:
        return []
    if type(sent) is not list or (sent and type(sent[0]) is int):
        sent = [sent]
    return [_input(each, notes) for each in sent]


def _input(sent: Any, notes: Notes) -> Json:
    if type(sent) is str:
        return {"role": "user", "content": sent}
    notes.changed = True
    if type(sent) is list and {*map(type, sent)} <= {int}:
        return {"role": "user", "prompt_token_ids": sent}
    return {"role": "user", "as_sent": sent}
