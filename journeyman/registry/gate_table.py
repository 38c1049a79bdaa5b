"""What every table of the gates' file keeps to."""

from pydantic import BaseModel, ConfigDict, model_validator


class GateTable(BaseModel):
    """A table of the file. A key that nobody reads is an error: a gate that is misspelt would stand open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _asks_for_something(self) -> "GateTable":
        if all(getattr(self, name) in (None, (), {}) for name in type(self).model_fields):
            raise ValueError(f"says nothing; give {' or '.join(type(self).model_fields)}, or leave the table out")
        return self
