"""What all formats share: a row's request and answer become an exchange, its scores feedback, always the same ones.

An id follows from the row's own id, or else from what the row says, so that a row imported twice is stored once.
"""

import hashlib
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_args

import orjson

from journeyman.capture.frames import CallEnd, CallStart
from journeyman.capture.imports.reading import decoded
from journeyman.capture.parsing import parse
from journeyman.errors import InvalidInput
from journeyman.records import Api, Feedback, Fidelity, Message, Tagging, WireExchange
from journeyman.records.message import Role

Json = dict[str, Any]
Imported = WireExchange | Feedback | Tagging

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROLES = frozenset(get_args(Role))
_MICROSECONDS = timedelta(microseconds=1)
_LATEST = 253_402_300_799_000_000
"""The last microsecond that a datetime can hold, nearly."""


def _nothing(key: str) -> list[Json]:
    return []


class Origin(NamedTuple):
    """Where a row comes from: the format's name, and the moment (microseconds) for rows that tell none.

    `beside` gives the rows of the same import that were put aside under a key, for formats that spread a call.
    """

    format: str
    at: int
    beside: Callable[[str], list[Json]] = _nothing

    def id(self, *parts: Any) -> str:
        """The id of what these parts name, in this format."""
        return hashlib.blake2b(encoded([self.format, *parts]), digest_size=16).hexdigest()


class Call(NamedTuple):
    """What a row tells of a call besides its bodies; what it does not tell is None. Times in seconds."""

    at: int | None = None
    model: str | None = None
    served: str | None = None
    upstream: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    latency: float | None = None
    time_to_first_token: float | None = None
    status: int | None = None
    error: str | None = None
    session: str | None = None
    project: str | None = None
    person: str | None = None
    external_id: str | None = None
    trace: str | None = None
    span: str | None = None
    tags: dict[str, str] = {}  # noqa: RUF012 - never changed


def exchange(
    origin: Origin, id: str, request: Json, response: Json | None, fidelity: Fidelity, told: Call = Call()
) -> WireExchange:
    """The exchange of a request's body and an answer's body, in the words of whichever API they speak."""
    api = api_of(request, response)
    error = told.error or (None if response else "the export holds no answer")
    start: CallStart = {
        "id": id,
        "at": told.at or origin.at,
        "api": api,
        "source": f"import:{origin.format}",
        "model": told.model or "",
    }
    end: CallEnd = {"state": "failed" if error else "complete", "status": told.status, "error": error}
    read = parse(start, encoded(request), encoded(response or {}), end)
    read.model = told.model or text(request.get("model")) or text((response or {}).get("model")) or "unknown"
    read.served = told.served or text((response or {}).get("model")) or read.served
    read.parser, read.source = 0, start["source"]
    if error is None and read.state == "truncated_upstream" and not _tells_finish(response):
        read.state, read.error = "complete", None
    if fidelity != "exact":
        read.fidelity = fidelity
    for name in ("upstream", "cost_usd", "latency", "time_to_first_token", "status", "session", "project", "person",
                 "external_id", "trace", "span", "prompt_tokens", "completion_tokens"):  # fmt: skip
        value = getattr(told, name)
        # The bodies' own usage is the upstream's word; a row's columns are somebody's copy of it.
        if value is not None and not (name.endswith("_tokens") and getattr(read, name)):
            setattr(read, name, value)
    read.tags = {**read.tags, **told.tags}
    return read


def conversation(
    origin: Origin, id: str, messages: list[Json], tools: list[Json], fidelity: Fidelity, told: Call = Call(),
    sampling: Json | None = None
) -> WireExchange:  # fmt: skip
    """The exchange of a conversation whose last message is the reply to those before it."""
    check_messages(messages)
    if messages[-1]["role"] != "assistant":
        raise InvalidInput(f"ends with a {messages[-1]['role']} message: there is no reply to learn from")
    request = {**(sampling or {}), "messages": messages[:-1], **({"tools": tools} if tools else {})}
    response = {"choices": [{"index": 0, "message": messages[-1]}]}
    return exchange(origin, id, request, response, fidelity, told)


def feedback(
    origin: Origin, name: str, *, exchange_id: str | None = None, session: str | None = None,
    value: float | None = None, label: str | None = None, reason: str = "", correction: Json | None = None,
    at: int | None = None, key: str = "",
) -> Feedback:  # fmt: skip
    """A score, label, comment or demonstration of the export; `key` tells those of one name apart."""
    said = [exchange_id, session, name, key or [value, label, reason, correction]]
    return Feedback(
        id=origin.id("feedback", *said),
        at=_EPOCH + (at or origin.at) * _MICROSECONDS,
        exchange_id=exchange_id,
        session=session,
        name=name,
        value=value,
        label=label,
        reason=reason,
        correction=None if correction is None else message_of(correction),
        by=f"import:{origin.format}",
    )


def message_of(value: Json) -> Message:
    """A message as a record; InvalidInput says what is wrong with it."""
    check_messages([value])
    try:
        return Message.model_validate({name: each for name, each in value.items() if each is not None})
    except ValueError as problem:
        raise InvalidInput(f"has a message that cannot be read ({str(problem).splitlines()[1].strip()})") from problem


def _tells_finish(response: Json | None) -> bool:
    """Whether the answer has a place for why it ended: formats without one keep whole replies only."""
    choices = (response or {}).get("choices")
    return not isinstance(choices, list) or any(isinstance(each, dict) and "finish_reason" in each for each in choices)


def check_messages(messages: Any) -> None:
    """InvalidInput unless this is a list of messages with roles that we know."""
    if not isinstance(messages, list) or not messages:
        raise InvalidInput("has no list of messages")
    for number, each in enumerate(messages, start=1):
        if not isinstance(each, dict):
            raise InvalidInput(f"message {number} is no object")
        role = each.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise InvalidInput(
                f"message {number} has the role {str(role)[:40]!r}; there is {', '.join(sorted(_ROLES))}"
            )


def api_of(request: Json, response: Json | None) -> Api:
    """Which API the bodies of a call speak, as far as their fields tell."""
    answer = response or {}
    if answer.get("type") == "message" or ("system" in request and "messages" in request):
        return "messages"
    if "messages" in request:
        return "chat"
    if answer.get("object") == "response" or (isinstance(request.get("input"), list) and "output" in answer):
        return "responses"
    if "prompt" in request:
        return "completions"
    return "embeddings" if "input" in request and "choices" not in answer else "chat"


def nested(value: Any) -> Any:
    """The value, or what it holds when it is JSON written into a string, as databases keep it; plain text stays."""
    for _ in range(2):
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", '"'):
            return value
        try:
            value = decoded(value)
        except ValueError:
            return value
    return value


def object_of(value: Any) -> Json:
    """The object that this is, or holds as a string; {} when it is none."""
    found = nested(value)
    return found if isinstance(found, dict) else {}


def list_of(value: Any) -> list[Json]:
    """The objects of the list that this is, or holds as a string; [] when it is none."""
    found = nested(value)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def text(value: Any) -> str | None:
    """Text or a number as text; None for everything else, and for what is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else str(value) or None


def number(value: Any) -> float | None:
    """A finite number, also one that is written as text; None for everything else."""
    if isinstance(value, bool):
        return float(value)
    try:
        found = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return found if found is not None and found - found == 0 else None


def score(name: str, value: Any) -> float | None:
    """The score of that name, true and false as 1 and 0; None where none is given, as text or otherwise.

    InvalidInput for NaN and infinities: such a score compares with no other, and training on it learns nothing.
    """
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return float(value.lower() == "true")
    found = number(value)
    if found is None and _is_beyond_numbers(value):
        raise InvalidInput(
            f"has the score {name} = {str(value)[:40]}, which is no finite number; correct it, or drop it"
        )
    return found


def _is_beyond_numbers(value: Any) -> bool:
    try:
        return isinstance(value, int | float | str) and not math.isfinite(float(value))
    except ValueError:
        return False
    except OverflowError:
        return True


def whole(value: Any) -> int | None:
    """A count, not negative and of a size that a database takes; None for everything else."""
    found = number(value)
    return int(found) if found is not None and 0 <= found < 2**53 else None


def seconds(milliseconds: Any) -> float | None:
    """Milliseconds as seconds; None when it is no number."""
    found = number(milliseconds)
    return None if found is None else found / 1000


def moment(value: Any) -> int | None:
    """A time in microseconds since 1970, from ISO 8601 (UTC where no zone is told) or a number of s, ms, µs or ns."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            return moment(number(value))
        return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECONDS
    found = number(value)
    if found is None or not 1e8 <= found < 1e20:
        return None
    # Between 1973 and 5138 the four units do not overlap.
    unit = next(unit for unit in (1e6, 1e3, 1.0, 1e-3) if found * unit < 1e17)
    return min(int(found * unit), _LATEST)


def tags(value: Any) -> dict[str, str]:
    """What a row gives as metadata, as tags: text and numbers under their names, a list's entries as `name=true`."""
    found = nested(value)
    if isinstance(found, list):
        return {each: "true" for each in found if isinstance(each, str) and each}
    if not isinstance(found, dict):
        return {}
    kept = {name: json.dumps(each) if isinstance(each, bool) else text(each) for name, each in found.items() if name}
    return {name: each for name, each in kept.items() if each is not None}


def encoded(value: Any) -> bytes:
    """JSON bytes of anything that was read from JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a number beyond 64 bits
        return json.dumps(value).encode()
