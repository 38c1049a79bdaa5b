"""One training job: what it was asked to do, what happened, and its curves."""

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from journeyman.records.record import Frozen, Record

RunStatus = Literal["running", "finished", "failed", "stopped"]
RunKind = Literal["sft", "dpo", "kto", "orpo", "reward", "distill", "rl", "logs"]
Targets = Literal["all-linear", "attention", "mlp"]

_NOT_SHARED_OUT = "does not learn with weights that are shared out yet; leave out --shard"


class PolicyConfig(Frozen):
    """Which model learns, and how its weights are moved, whatever it learns from.

    The words below the fields are also the help of the command line's options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    base: str
    """Base model: a pulled model's name, or a folder."""
    name: str
    """What to call the adapter."""
    full: bool = False
    """Train every weight, not an adapter; what comes of it is a model of its own."""
    from_adapter: str | None = None
    """An adapter of the same base to go on from: its name or id; rank, alpha and targets are its own."""
    rank: int = Field(16, ge=1, le=512)
    """Rank of the adapter's matrices."""
    alpha: float = Field(32.0, gt=0)
    """The adapter's output is scaled by alpha / rank."""
    rank_stabilised: bool = False
    """Scale by alpha / √rank instead (rsLoRA, arXiv 2312.03732)."""
    targets: Targets = "all-linear"
    """Which linear layers get an adapter: all of them, those of attention, or those of the feed-forward blocks."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the adapter's inputs that are dropped while training."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate, reached after warm-up; a cosine takes it down to a tenth. A tenth of it with --full."""
    pack_tokens: int = Field(2048, ge=64)
    """Most tokens in one packed forward pass; bounds memory, not the batch."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of AdamW."""
    clip_norm: float = Field(1.0, gt=0)
    """A gradient with a larger norm is scaled down to it."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto takes bfloat16 where the processor computes it natively."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where to compute; auto takes the graphics processor where there is one."""
    processes: int = Field(1, ge=1, le=64)
    """Processes that share every batch; each has the threads that were asked for, and its own graphics processor."""
    shard: bool = False
    """Share out the weights among the processes, too (FSDP, ZeRO stage 3): each keeps one part of them."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Another seed draws other first weights and another order of conversations."""

    @model_validator(mode="before")
    @classmethod
    def _full_learns_slower(cls, given: Any) -> Any:
        """Full fine-tuning's best learning rate is about a tenth of LoRA's (Schulman et al., 2025)."""
        if isinstance(given, dict) and given.get("full") and given.get("learning_rate") is None:
            return given | {"learning_rate": cls.model_fields["learning_rate"].default / 10}
        return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        fields = ("from_adapter", "rank", "alpha", "rank_stabilised", "targets", "dropout")
        given = [name for name in fields if getattr(self, name) != type(self).model_fields[name].default]
        if self.shard and self.processes == 1:
            raise ValueError("--shard shares the weights out among several processes; say how many: --processes")
        if self.full and given:
            raise ValueError(f"full fine-tuning has no adapter that these could shape: {', '.join(given)}")
        return self


class TrainingConfig(PolicyConfig):
    """What every run that learns from a dataset is asked to do; the defaults work for small models."""

    dataset: str
    """A dataset's name (the newest version), or name@version."""
    epochs: float = Field(1.0, gt=0)
    """How often each conversation is seen; 0.5 sees half of them."""
    batch_rows: int = Field(8, ge=1)
    """Conversations per optimiser step."""
    max_length: int = Field(2048, ge=16)
    """Longest conversation in tokens; a longer one is refused, never silently cut."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises."""
    validate_every: int = Field(10, ge=1)
    """Steps between two validations on the held-out conversations."""
    patience: int = Field(3, ge=1)
    """Validations without improvement before the run stops early."""
    checkpoint_every: int = Field(10, ge=1)
    """Steps between two checkpoints; a killed run goes on from the last one."""


class SFTConfig(TrainingConfig):
    """Supervised fine-tuning: the assistant's messages are what should be said."""

    jepa_weight: float = Field(0.0, ge=0)
    """What LLM-JEPA's loss counts beside it: 1 − cosine of the last question's and its reply's embeddings. 0: none."""

    @model_validator(mode="after")
    def _embeds_alone(self) -> "SFTConfig":
        # Its passes leave out the head, and where that is trained all processes must have a gradient of it.
        if self.jepa_weight and self.shard and self.full:
            raise ValueError(f"--jepa-weight {_NOT_SHARED_OUT}, or --full")
        return self


class DPOConfig(TrainingConfig):
    """Direct preference optimisation: of two replies to the same question one is better."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate, reached after warm-up; a cosine takes it down to a tenth. A tenth of it with --full."""
    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held to where it started."""
    smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of the preferences taken to be wrong."""


class KTOConfig(TrainingConfig):
    """Kahneman–Tversky optimisation: each reply by itself is good or bad."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate, reached after warm-up; a cosine takes it down to a tenth. A tenth of it with --full."""
    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held to where it started."""
    desirable_weight: float = Field(1.0, ge=0)
    """What a good reply counts."""
    undesirable_weight: float = Field(1.0, ge=0)
    """What a bad reply counts; weigh the rarer kind up."""


class ORPOConfig(TrainingConfig):
    """Odds-ratio preference optimisation: fine-tuning and preference in one, without a reference."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate, reached after warm-up; a cosine takes it down to a tenth. A tenth of it with --full."""
    odds_weight: float = Field(0.1, gt=0)
    """What the odds ratio counts beside the likelihood of the better reply."""


class RewardConfig(TrainingConfig):
    """A reward model: one number for a conversation, from the hidden state of its last token."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate, reached after warm-up; a cosine takes it down to a tenth."""
    learn_from: Literal["pairs", "scores"] = "pairs"
    """Pairs of a better and a worse reply, or scores that a judge gave: distilling the judge."""
    centre: float = Field(0.01, ge=0)
    """What the squared sum of a pair's rewards counts; it keeps rewards around zero."""

    @model_validator(mode="after")
    def _is_an_adapter(self) -> "RewardConfig":
        if self.full:
            raise ValueError("a reward model is an adapter with a head of its own; leave out --full")
        if self.shard:
            raise ValueError(f"a reward model {_NOT_SHARED_OUT}")
        return self


class DistillConfig(TrainingConfig):
    """On-policy distillation: the student speaks, the teacher says how likely each token should have been."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate, reached after warm-up; a cosine takes it down to a tenth. A tenth of it with --full."""
    teacher: str
    """The model to learn from, of the same tokenizer: a pulled model's name, or a folder."""
    new_tokens: int = Field(128, ge=1)
    """Longest reply that the student samples."""
    temperature: float = Field(1.0, gt=0)
    """Temperature at which the student samples."""
    candidates: int = Field(64, ge=0)
    """The student's most likely tokens over which it is compared with the teacher; 0 takes the whole vocabulary."""

    @model_validator(mode="after")
    def _samples_alone(self) -> "DistillConfig":
        if self.shard:
            raise ValueError(f"distillation {_NOT_SHARED_OUT}")
        return self


CONFIGS: dict[str, type[TrainingConfig]] = {
    "sft": SFTConfig, "dpo": DPOConfig, "kto": KTOConfig, "orpo": ORPOConfig, "reward": RewardConfig,
    "distill": DistillConfig,
}  # fmt: skip
"""What each kind of run that learns from a dataset is configured by."""


class Run(Record):
    """One job. Its folder `path` holds checkpoints; status changes are events, not edits.

    `dataset_version` and `base_version` are hashes of what it learns from and of the model it starts with.
    """

    kind: RunKind
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
