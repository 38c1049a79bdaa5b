"""Rows to learn from, and the version that names exactly which."""

from typing import Literal

from pydantic import Field

from journeyman.records.filter import Filter
from journeyman.records.message import Message, Tool
from journeyman.records.record import Frozen, Record

Split = Literal["train", "validation"]
NodeKind = Literal["source", "import", "filter", "relabel", "correct", "prune", "near"]


class Row(Frozen):
    """One conversation to learn from; every assistant message in it is a target.

    What preferences are learned from: `rejected` is the conversation as it should not have gone, `label` says whether
    it went well, `score` how well.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    rejected: tuple[Message, ...] | None = None
    label: bool | None = None
    score: float | None = Field(None, allow_inf_nan=False)
    split: Split = "train"
    conversation: str
    source: str


class NodeRun(Frozen):
    """What one node of a dataset's graph did. `key` is the hash of its settings and of all that it read.

    `given` rows came in (for a source: exchanges matched), `kept` went out; `left_out` says why how many did not, and
    `changed` how many rows it rewrote. `errors` are those of single rows. `tokens` and `cost_usd` are those of all
    answers of models that it read, whenever they were given (None: a price is unknown); `asked` and `spent_usd`
    those of this build alone. `tokens_saved` is the pruned text.
    """

    name: str
    kind: NodeKind
    key: str
    reused: bool = False
    given: int = 0
    kept: int = 0
    changed: int = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    errors: tuple[str, ...] = ()
    asked: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0
    spent_usd: float | None = 0.0
    tokens_saved: int = 0


class Dataset(Record):
    """A named, versioned set of rows. `version` is the hash of rows and pruning; `path` holds them as JSON lines.

    `duplicates` rows said what another row says; `left_out` ones matched, but hold nothing that can be learned, for
    the `reasons` that are counted. `near_leaks` rows to train on are almost those of a conversation that is held out.
    `pruning` is the text that was removed from prompts; it must be removed when what was learned is served. `graph` is
    the definition that it was built from, as text, and `nodes` what each of its nodes did.
    """

    name: str
    version: str
    where: Filter | None = None
    train_rows: int
    validation_rows: int
    duplicates: int = 0
    left_out: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    near_leaks: int = 0
    pruning: tuple[str, ...] = ()
    graph: str | None = None
    nodes: tuple[NodeRun, ...] = ()
    path: str
