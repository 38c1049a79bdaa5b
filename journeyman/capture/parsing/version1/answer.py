"""What an answer said, in the same words for every API."""

from dataclasses import dataclass, field
from typing import Any

from journeyman.capture.parsing.reading import Json, Notes, read_json
from journeyman.capture.parsing.version1.shapes import count, text


@dataclass(slots=True)
class Asked:
    """What a request's body said."""

    messages: list[Json] = field(default_factory=list)
    tools: list[Json] = field(default_factory=list)
    sampling: Json = field(default_factory=dict)


@dataclass(slots=True)
class Answer:
    """What an answer's bytes said.

    `finished`: every choice has its finish_reason, and a stream also its own end mark. `error` is what the upstream
    said went wrong, `unreadable` why we could not read all that it said. `usage`: prompt, completion, cached prompt.
    """

    choices: list[Json] = field(default_factory=list)
    usage: tuple[int, int, int] | None = None
    finished: bool = False
    error: str | None = None
    unreadable: str | None = None
    response_id: str | None = None
    model: str | None = None


def error_of(body: Any) -> str | None:
    """What an error body says, in the shapes that APIs have for one; None when it is none."""
    if type(body) is not dict:
        return None
    error = body.get("error")
    if not error and body.get("object") == "error":
        error = body
    if type(error) is dict:
        return str(error.get("message") or error)
    return str(error) if error else None


def usage_of(sent: Any) -> tuple[int, int, int] | None:
    """Usage as OpenAI's chat and completions tell it."""
    if type(sent) is not dict:
        return None
    details = sent.get("prompt_tokens_details")
    cached = (
        count(details.get("cached_tokens")) if type(details) is dict else count(sent.get("prompt_cache_hit_tokens"))
    )
    return count(sent.get("prompt_tokens")), count(sent.get("completion_tokens")), cached


def named(answer: Answer, body: Json) -> Answer:
    """The answer, with the id and the model that its body tells."""
    answer.response_id = text(body.get("id"))
    answer.model = text(body.get("model"))
    return answer


def read_object(data: bytes, notes: Notes) -> Json:
    """The JSON object that an answer is; ValueError when it is none."""
    body = read_json(data, notes)
    if type(body) is not dict:
        raise ValueError("it is not a JSON object")
    return body
