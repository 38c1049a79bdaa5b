"""Rows to learn from, and the version that names exactly which."""

from typing import Literal

from journeyman.records.filter import Filter
from journeyman.records.message import Message, Tool
from journeyman.records.record import Frozen, Record

Split = Literal["train", "validation"]


class Row(Frozen):
    """One conversation to learn from; every assistant message in it is a target."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    split: Split = "train"
    conversation: str
    source: str


class Dataset(Record):
    """A named, versioned set of rows. `version` is the hash of the rows; `path` holds them as JSON lines.

    `duplicates` rows said what another row says; `left_out` ones matched, but hold nothing that can be learned.
    """

    name: str
    version: str
    where: Filter | None = None
    train_rows: int
    validation_rows: int
    duplicates: int = 0
    left_out: int = 0
    path: str
