"""`POST /v1/feedback`: a number that a person or a program gives to a session or an exchange."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from journeyman.records import Feedback


class FeedbackBody(BaseModel):
    """What a client sends; `value` may also be true or false."""

    model_config = ConfigDict(extra="forbid", strict=True)

    session: str | None = Field(None, min_length=1)
    exchange_id: str | None = Field(None, min_length=1)
    name: str = Field(min_length=1)
    value: FiniteFloat | bool
    reason: str = ""

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        if self.session is None and self.exchange_id is None:
            raise ValueError("name what it is about: `session` or `exchange_id`")
        return self

    def record(self) -> Feedback:
        """The record to keep."""
        return Feedback(
            session=self.session,
            exchange_id=self.exchange_id,
            name=self.name,
            value=float(self.value),
            reason=self.reason,
            by="api",
        )
