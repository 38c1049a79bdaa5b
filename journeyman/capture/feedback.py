"""Feedback and tags on their way through the spool: so that none is lost while the store is away."""

from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from journeyman.records import Feedback, Record, Tagging

FEEDBACK = "feedback"
"""What a RECORD frame says that holds these."""


def feedback_payload(records: Sequence[Feedback | Tagging]) -> bytes:
    """The body of a RECORD frame: the records as a JSON list."""
    return b"[" + b",".join(record.model_dump_json().encode() for record in records) + b"]"


def handle_feedback(about: dict[str, Any], body: bytes) -> list[Record]:
    """The records of a frame's body, which is one of them or a list; ValueError when it is something else.

    Each came with its id, so that a frame that is read twice is stored once.
    """
    try:
        found = orjson.loads(body)
        return [_record(each) for each in (found if isinstance(found, list) else [found])]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"feedback in the spool: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except orjson.JSONDecodeError as error:
        raise ValueError(f"feedback in the spool: {error}") from error


def _record(found: Any) -> Record:
    kind = Tagging if isinstance(found, dict) and "tags" in found else Feedback
    return kind.model_validate(found)
