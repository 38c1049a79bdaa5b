"""Reads the bytes of a call, of whichever API, into the exchange that they amount to."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from journeyman.capture.frames import CallEnd, CallStart
from journeyman.capture.parsing.reading import Json, Notes, read_json
from journeyman.capture.parsing.version1 import anthropic, chat, completions, responses
from journeyman.capture.parsing.version1.answer import Answer, Asked, error_of
from journeyman.capture.parsing.version1.shapes import text
from journeyman.records import Fidelity, State, WireExchange

VERSION = 1
_EVENT_STREAM = "text/event-stream"
_SHOWN = 300
"""Characters of an error page that are kept as the error's text."""
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class _Api(NamedTuple):
    read_request: Callable[[Json, Notes], Asked]
    read_whole: Callable[[bytes, Notes], Answer]
    read_stream: Callable[[bytes, Notes], Answer]
    end_mark: str


_APIS: dict[str, _Api] = {
    "chat": _Api(chat.read_request, chat.read_whole, chat.read_stream, "a finish_reason"),
    "completions": _Api(completions.read_request, completions.read_whole, completions.read_stream, "a finish_reason"),
    "embeddings": _Api(
        completions.read_embeddings_request, completions.read_embeddings, completions.read_embeddings, "vectors"
    ),
    "messages": _Api(
        anthropic.read_request, anthropic.read_whole, anthropic.read_stream, "a stop_reason and message_stop"
    ),
    "responses": _Api(
        responses.read_request, responses.read_whole, responses.read_stream, "saying that it is completed"
    ),
}


def parse(start: CallStart, body: bytes, answer: bytes, end: CallEnd | None) -> WireExchange:
    """The exchange that a call amounts to; `end` is None when its writer died before it ended. Never raises."""
    try:
        return _parse(start, body, answer, end)
    except Exception as failure:  # A mistake of ours must cost what we read of the call, never its record.
        told = f"the parser failed ({type(failure).__name__}: {failure}); what the call said was not read"
        return _exchange(start, end, Asked(), Answer(), "failed" if end else "killed", told, "lossy", {}, None)


def _parse(start: CallStart, body: bytes, answer: bytes, end: CallEnd | None) -> WireExchange:
    notes = Notes()
    api = _APIS[start["api"]]
    request, unreadable = _request(body, notes)
    asked = api.read_request(request, notes)
    if not start["model"] and isinstance(request.get("model"), str):
        start = {**start, "model": request["model"]}  # its writer did not read a large body
    said = _answer(api, answer, end, notes)
    state, error = _truth(end, said, api, answer)
    if unreadable is not None:
        notes.missing = True
        error = error or unreadable
    if said.unreadable is not None:
        notes.missing = True
    tags, person = _metadata(request, asked.sampling)
    fidelity: Fidelity = "lossy" if notes.missing else "reconstructed" if notes.changed else "exact"
    if start["api"] != "chat" and fidelity == "exact":
        # Their messages are told in the shapes of chats.
        fidelity = "reconstructed"
    return _exchange(start, end, asked, said, state, error, fidelity, tags, person)


def _request(body: bytes, notes: Notes) -> tuple[Json, str | None]:
    try:
        request = read_json(body, notes)
    except ValueError as failure:
        return {}, f"the request cannot be read: {failure}"
    if type(request) is not dict:
        return {}, "the request cannot be read: it is not a JSON object"
    return request, None


def _answer(api: _Api, answer: bytes, end: CallEnd | None, notes: Notes) -> Answer:
    if not answer or answer.isspace():
        return Answer()
    if _failed(end):
        return Answer(error=_refusal(answer))
    try:
        return api.read_stream(answer, notes) if _streamed(answer, end) else api.read_whole(answer, notes)
    except ValueError as failure:
        return Answer(unreadable=str(failure))


def _failed(end: CallEnd | None) -> bool:
    return end is not None and (end.get("status") or 200) >= 400


def _refusal(answer: bytes) -> str | None:
    """What an answer with an error's status says: its message, or the start of it."""
    try:
        return error_of(read_json(answer, Notes())) or answer[:_SHOWN].decode(errors="replace")
    except ValueError:
        return answer[:_SHOWN].decode(errors="replace")


def _streamed(answer: bytes, end: CallEnd | None) -> bool:
    """Whether an answer is a stream. Errors come as JSON, whatever was asked for or is said of them."""
    first = answer[:1] if answer[:1] in b"{d" else answer.lstrip()[:1]
    if first in (b"{", b"["):
        return False
    if end is not None and (end.get("streamed") or (end.get("content_type") or "").startswith(_EVENT_STREAM)):
        return True
    return answer.lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def _truth(end: CallEnd | None, said: Answer, api: _Api, answer: bytes) -> tuple[State, str | None]:
    """What became of the call, by its transfer and by its answer's own words.

    A whole answer is complete, also when the client hung up right behind its last byte; nothing else is.
    """
    if end is None:
        return "killed", said.error or "the program that made the call ended before the call did"
    if said.error is not None:
        return "failed", said.error
    state = end["state"]
    if _failed(end) and state != "truncated_upstream":
        return "failed", end.get("error") or f"HTTP status {end.get('status')}"
    if state in ("complete", "aborted_client") and said.finished:
        return "complete", None
    if state != "complete":
        return state, end.get("error")
    if said.unreadable is not None:
        return "failed", f"the answer cannot be read: {said.unreadable}"
    if not answer:
        return "failed", end.get("error") or "the answer is empty"
    return "truncated_upstream", f"the upstream ended its answer without {api.end_mark}"


def _metadata(request: Json, sampling: Json) -> tuple[dict[str, str], str | None]:
    """The tags that a body gives its call, and the person that it is made for, who is no part of the sampling."""
    tags: dict[str, str] = {}
    person = None
    for name in ("user", "safety_identifier"):
        if named := text(request.get(name)):
            person = named
            sampling.pop(name, None)
    sent = request.get("metadata")
    if type(sent) is dict:
        for name, value in sent.items():
            if name == "user_id" and person is None and type(value) is str:
                # Where Anthropic's messages name the person.
                person = value
            elif value is not None:
                tags[name] = value if type(value) is str else orjson.dumps(value).decode()
    return tags, person


def _trace(traceparent: str | None) -> tuple[str | None, str | None]:
    """The trace and the span that a W3C `traceparent` names; none when it is not as the standard has it."""
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if found is None:
        return None, None
    version, trace, span, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None, None
    return trace, span


def _exchange(
    start: CallStart,
    end: CallEnd | None,
    asked: Asked,
    said: Answer,
    state: State,
    error: str | None,
    fidelity: Fidelity,
    tags: dict[str, str],
    person: str | None,
) -> WireExchange:
    told: Any = end or {}
    traceparent = start.get("traceparent")
    trace, span = _trace(traceparent) if traceparent else (None, None)
    own_tags = start.get("tags")
    prompt, completion, cached = said.usage or (0, 0, 0)
    return WireExchange(
        id=start["id"],
        at=start["at"],
        model=start["model"],
        state=state,
        api=start["api"],
        upstream=told.get("upstream") or start.get("upstream"),
        served=told.get("served") or start.get("served") or said.model,
        adapter=told["adapter"] if "adapter" in told else start.get("adapter"),
        messages=asked.messages,
        tools=asked.tools,
        sampling=asked.sampling,
        choices=said.choices,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_prompt_tokens=cached,
        latency=told.get("latency"),
        time_to_first_token=told.get("time_to_first_token"),
        status=told.get("status"),
        error=error,
        attempts=told.get("attempts") or [],
        session=start.get("session"),
        project=start.get("project"),
        key=start.get("key"),
        person=start.get("person") or person,
        external_id=start.get("external_id") or tags.get("id"),
        response_id=said.response_id,
        trace=trace,
        span=span,
        tags={**tags, **own_tags} if own_tags else tags,
        source=start["source"],
        fidelity=fidelity,
        parser=VERSION,
    )
