"""What people and programs say of an exchange afterwards; the exchange itself stays as it was."""

from typing import Self

from pydantic import Field, model_validator

from journeyman.records.message import Message
from journeyman.records.record import Record


class Feedback(Record):
    """A score, a label, a comment or a correction of a session, of one of its turns, or of an exchange.

    What it is about: `exchange_id`, or `external_id` (the caller's own name for an exchange), or `session`, with `turn`
    (from 0) for one exchange of it. `value` is a number such as success = 1, `label` a word such as `wrong tool`,
    `reason` a comment, `correction` the reply that should have been given.
    """

    session: str | None = None
    exchange_id: str | None = None
    external_id: str | None = None
    turn: int | None = Field(None, ge=0)
    name: str
    value: float | None = Field(None, allow_inf_nan=False)
    label: str | None = None
    reason: str = ""
    correction: Message | None = None
    by: str


class Tagging(Record):
    """Tags given to an exchange, or to all exchanges of a session, after the fact; later ones win."""

    session: str | None = None
    exchange_id: str | None = None
    external_id: str | None = None
    tags: dict[str, str] = Field(min_length=1)
    by: str

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        if self.session is None and self.exchange_id is None and self.external_id is None:
            raise ValueError("name what is tagged: `session`, `exchange_id` or `external_id`")
        return self
