"""Feedback from the program itself: it goes into the spool behind the calls that it is about."""

import math
from pathlib import Path
from typing import Any

from journeyman.capture.feedback import FEEDBACK, feedback_payload
from journeyman.client import calls, scope
from journeyman.client.faults import quietly
from journeyman.records import Feedback, Message, new_id, now


def feedback(
    name: str,
    value: float | None = None,
    *,
    label: str | None = None,
    reason: str = "",
    correction: str | dict[str, Any] | None = None,
    session: str | None = None,
    turn: int | None = None,
    exchange_id: str | None = None,
    external_id: str | None = None,
    by: str = "program",
    home: str | Path | None = None,
) -> bool:
    """Say how a call, a turn or a session went; now, or days later from another process.

    `name` is what was looked at (`success`), `value` its score, `correction` the reply that should have been given.
    Without any of `session`, `exchange_id` and `external_id` it is about the session that the running code is in. It
    raises ValueError where there is none, and for a value that is no finite number; whether it could be kept is the
    result.
    """
    inside = scope.current()
    if session is None and exchange_id is None and external_id is None:
        session = inside.session if inside is not None else None
        if session is None:
            raise ValueError("say what the feedback is about: session=…, exchange_id=… or external_id=…")
    if value is not None and not math.isfinite(value):
        raise ValueError(f"value: {value} compares with no other score; give a finite number, or leave it out")
    if isinstance(correction, str):
        correction = {"role": "assistant", "content": correction}
    said = Feedback(
        id=new_id(),
        at=now(),
        name=name,
        value=value,
        label=label,
        reason=reason,
        correction=Message.model_validate(correction) if correction is not None else None,
        session=session,
        turn=turn,
        exchange_id=exchange_id,
        external_id=external_id,
        by=by,
    )
    if home is None:
        home = inside.home if inside is not None else None
    return bool(_keep(Path(home) if home is not None else None, said))


@quietly
def _keep(home: Path | None, said: Feedback) -> bool:
    return calls.record(home, FEEDBACK, {}, feedback_payload([said]))
