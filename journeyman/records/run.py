"""One training job: what it was asked to do, what happened, and its curves."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from journeyman.records.record import Frozen, Record

RunStatus = Literal["running", "finished", "failed", "stopped"]


class SFTConfig(Frozen):
    """What a supervised fine-tuning run is asked to do; the defaults work for small models.

    The words below the fields are also the help of the command line's options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    base: str
    """Base model: a pulled model's name, or a folder."""
    dataset: str
    """A dataset's name (the newest version), or name@version."""
    name: str
    """What to call the adapter."""
    rank: int = Field(16, ge=1, le=512)
    """Rank of the adapter's matrices."""
    alpha: float = Field(32.0, gt=0)
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the adapter's inputs that are dropped while training."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate, reached after warm-up; a cosine takes it down to a tenth."""
    epochs: float = Field(1.0, gt=0)
    """How often each conversation is seen; 0.5 sees half of them."""
    batch_rows: int = Field(8, ge=1)
    """Conversations per optimiser step."""
    pack_tokens: int = Field(2048, ge=64)
    """Most tokens in one packed forward pass; bounds memory, not the batch."""
    max_length: int = Field(2048, ge=16)
    """Longest conversation in tokens; a longer one is refused, never silently cut."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of AdamW."""
    clip_norm: float = Field(1.0, gt=0)
    """A gradient with a larger norm is scaled down to it."""
    validate_every: int = Field(10, ge=1)
    """Steps between two validations on the held-out conversations."""
    patience: int = Field(3, ge=1)
    """Validations without improvement before the run stops early."""
    checkpoint_every: int = Field(10, ge=1)
    """Steps between two checkpoints; a killed run goes on from the last one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto takes bfloat16 where the processor computes it natively."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Another seed draws other first weights and another order of conversations."""


class Run(Record):
    """One job. Its folder `path` holds checkpoints; status changes are events, not edits.

    `dataset_version` and `base_version` are hashes of what it learns from and of the model it starts with.
    """

    kind: Literal["sft"]
    config: dict[str, Any]
    dataset_version: str
    base_version: str = ""
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
