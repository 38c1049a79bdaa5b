"""One training job: what it was asked to do, what happened, and its curves."""

from typing import Any, Literal

from pydantic import Field

from journeyman.records.record import Frozen, Record

RunStatus = Literal["running", "finished", "failed", "stopped"]


class SFTConfig(Frozen):
    """What a supervised fine-tuning run is asked to do; the defaults work for small models."""

    base: str
    dataset: str
    name: str
    rank: int = Field(16, ge=1, le=512)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_rows: int = Field(8, ge=1)
    """Conversations per optimiser step."""
    pack_tokens: int = Field(2048, ge=64)
    """Most tokens in one packed forward pass; bounds memory, not the batch."""
    max_length: int = Field(2048, ge=16)
    """Longest conversation in tokens; a longer one is refused, never silently cut."""
    warmup: float = Field(0.05, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    validate_every: int = Field(10, ge=1)
    patience: int = Field(3, ge=1)
    """Validations without improvement before the run stops early."""
    checkpoint_every: int = Field(10, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0


class Run(Record):
    """One job. Its folder `path` holds checkpoints; status changes are events, not edits."""

    kind: Literal["sft"]
    config: dict[str, Any]
    dataset_version: str
    machine: dict[str, Any]
    path: str


class RunEvent(Record):
    """Something that happened to a run."""

    run_id: str
    status: RunStatus
    detail: str = ""


class Point(Record):
    """The values of a run's curves at one step."""

    run_id: str
    step: int
    values: dict[str, float]
