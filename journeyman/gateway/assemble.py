"""Puts an answer's bytes, whole or streamed, together into one completion, and says whether it was finished."""

from typing import Any

from pydantic_core import from_json

from journeyman.engines.completion import error_message, read_completion
from journeyman.errors import InvalidInput
from journeyman.gateway.sse import event_data
from journeyman.records import Choice, Frozen, Usage

_JOINED = ("content", "reasoning_content", "reasoning", "refusal")
"""Fields of a delta whose pieces are joined; of any other field the last value stands."""


class Assembled(Frozen):
    """What an answer said. `finished`: every choice has its finish_reason, and a stream also its `[DONE]`.

    `error` is what the upstream said went wrong, `unreadable` why we could not read what it said.
    """

    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    finished: bool = False
    error: str | None = None
    unreadable: str | None = None


def assemble(body: bytes, streamed: bool) -> Assembled:
    """Read an answer, or as much of it as arrived. Never raises: what cannot be read is told in `unreadable`."""
    try:
        completion, done = _join(body) if streamed else (from_json(body), True)
        error = error_message(completion)
        if (error or streamed) and not completion.get("choices"):
            return Assembled(error=error)
        read = read_completion(completion)
    except (ValueError, TypeError, AttributeError, KeyError, InvalidInput) as failure:
        return Assembled(unreadable=str(failure))
    finished = done and bool(read.choices) and all(choice.finish_reason for choice in read.choices)
    return Assembled(choices=read.read_choices(), usage=read.read_usage(), finished=finished, error=error)


def _join(stream: bytes) -> tuple[dict[str, Any], bool]:
    """The completion that a stream amounts to, and whether `[DONE]` was seen."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for data in event_data(stream):
        if data.strip() == b"[DONE]":
            return whole | {"choices": _in_order(choices)}, True
        chunk = from_json(data)
        if not isinstance(chunk, dict):
            raise InvalidInput("an event of the stream is not a JSON object")
        for piece in chunk.pop("choices", None) or ():
            _add_choice(choices.setdefault(piece.get("index", 0), {"message": {"role": "assistant"}}), piece)
        whole.update({key: value for key, value in chunk.items() if value is not None})
    return whole | {"choices": _in_order(choices)}, False


def _in_order(choices: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    for choice in choices.values():
        calls = choice["message"].get("tool_calls")
        if calls:
            choice["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
    return [choices[index] for index in sorted(choices)]


def _add_choice(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        if key == "delta":
            _add_delta(choice["message"], value or {})
        elif key in ("token_ids", "token_logprobs") and value is not None:
            choice.setdefault(key, []).extend(value)
        elif key == "logprobs" and value is not None:
            choice.setdefault(key, {"content": []})["content"].extend(value.get("content") or ())
        elif value is not None:
            choice[key] = value


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            for piece in value or ():
                _add_tool_call(message.setdefault(key, {}), piece)
        elif key in _JOINED and isinstance(value, str):
            message[key] = (message.get(key) or "") + value
        elif value is not None:
            message[key] = value


def _add_tool_call(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    """A call's name and id come once, with its index; its arguments come in pieces."""
    call = calls.setdefault(piece.get("index", len(calls)), {"function": {"name": "", "arguments": ""}})
    function = piece.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""
    call.update({key: value for key, value in piece.items() if key not in ("index", "function") and value is not None})
