"""What a reinforcement-learning update computes: the choices that papers and libraries hide behind one name."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from journeyman.records.record import Frozen

Estimator = Literal[
    "grpo", "dr_grpo", "rloo", "batch_std", "reinforce_pp", "reinforce_pp_baseline", "maxrl", "opo", "none"
]
PolicyLoss = Literal["reinforce", "ppo", "cispo", "gspo", "gspo_token", "sapo", "dppo_tv"]
Reduction = Literal["token", "sequence", "sequence_sum", "constant", "prompt", "rollout", "sum"]
OldPolicy = Literal["trainer", "engine"]
KlTerm = Literal["reward", "k2", "k3", "k3_weighted"]
KlReference = Literal["start", "base"]


class _Closed(Frozen):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Critic(_Closed):
    """PPO's value head, and generalised advantage estimation."""

    learning_rate: float = Field(3e-3, gt=0)
    """Of the value head alone."""
    discount: float = Field(1.0, gt=0, le=1)
    """γ: what a later token's reward counts."""
    smoothing: float = Field(0.95, ge=0, le=1)
    """λ: 1 trusts what came of the attempt, 0 the critic."""
    value_clip: float | None = Field(0.2, gt=0)
    """How far a value may move in one batch; none does not clip."""
    warm_up: int = Field(0, ge=0)
    """Steps in which only the critic learns."""


class Algorithm(_Closed):
    """One policy update. Each field is a term of the equation that a run prints before it starts."""

    estimator: Estimator = "grpo"
    """What an attempt's reward is compared with."""
    ddof: int = Field(0, ge=0, le=1)
    """Standard deviations of a group divide by its size less this."""
    unit_scale: bool = False
    """Divide advantages by their mean size over the batch."""
    loss: PolicyLoss = "cispo"
    """The policy loss of a token."""
    clip_low: float = Field(0.2, gt=0, le=1)
    """Ratios below 1 − this are clipped."""
    clip_high: float = Field(0.2, gt=0)
    """Ratios above 1 + this are clipped."""
    cap: float = Field(5.0, ge=1)
    """The largest weight of a token in `cispo`."""
    dual_clip: float | None = Field(None, gt=1)
    """Bounds the loss of a token with a negative advantage at this times its advantage."""
    reduction: Reduction = "token"
    """How the losses of tokens become one number."""
    constant_length: float | None = Field(None, gt=0)
    """What `constant` divides by; the most tokens of a reply is usual."""
    old: OldPolicy = "trainer"
    """Which log-probabilities a ratio is taken from: the trainer's before the update, or what the engine reported."""
    updates: int = Field(1, ge=1)
    """Optimiser steps on the attempts of one step, each on a share of them."""
    kl_weight: float = Field(0.0, ge=0)
    """β: what the divergence from the reference counts."""
    kl_term: KlTerm = "k3"
    """Where and how the divergence is counted: in the reward, or as a term of the loss."""
    kl_reference: KlReference = "start"
    """The policy as the run began with it, or the base model."""
    entropy_weight: float = Field(0.0, ge=0)
    """What the mean entropy of sampled tokens counts."""
    mismatch_most: float | None = Field(None, gt=0)
    """Truncated importance sampling between engine and trainer: the largest weight; none corrects nothing."""
    mismatch_least: float = Field(0.0, ge=0)
    """Tokens whose weight between engine and trainer is below this are masked."""
    refills: int = Field(0, ge=0, le=63)
    """Dynamic sampling: how often groups without signal are replaced by new scenarios within a step."""
    overlong_buffer: int | None = Field(None, ge=1)
    """The reward falls by up to 1 over the last so many tokens before the longest reply (DAPO)."""
    mask_truncated: bool = False
    """Attempts that were cut off teach nothing, but count in their group's mean."""
    critic: Critic | None = None
    """Advantages from a value head, for PPO; the estimator then only says how rewards are centred: `none`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.reduction == "constant") != (self.constant_length is not None):
            raise ValueError("`constant_length` belongs to the reduction `constant`, and it needs one")
        if self.critic is not None and self.estimator != "none":
            raise ValueError("a critic replaces the comparison within a group: its estimator is `none`")
        if self.loss == "gspo" and self.reduction not in ("sequence", "rollout", "prompt"):
            raise ValueError("`gspo` has one ratio for a sequence: its reduction is `sequence`, `rollout` or `prompt`")
        if self.old == "engine" and self.mismatch_most is not None:
            raise ValueError(
                "ratios from the engine's log-probabilities count the mismatch already: no `mismatch_most`"
            )
        if self.old == "engine" and self.loss == "reinforce":
            raise ValueError("`reinforce` has no ratio that could be taken from the engine's log-probabilities")
        if self.loss == "dppo_tv" and self.mismatch_most is not None:
            raise ValueError("`dppo_tv` weighs by the engine's log-probabilities already: no `mismatch_most`")
        if self.mismatch_least and self.mismatch_most is None:
            raise ValueError("`mismatch_least` belongs to `mismatch_most`")
        self._refuse_idle()
        if self.dual_clip is not None and self.loss != "ppo":
            raise ValueError("`dual_clip` belongs to the loss `ppo`")
        return self

    @property
    def compares_groups(self) -> bool:
        """Whether attempts at one scenario are compared with each other: it takes two of them then."""
        return self.critic is None and self.estimator not in ("none", "reinforce_pp")

    def _refuse_idle(self) -> None:
        """ValueError for a term that is set and that this equation does not have."""
        has_clip = self.loss in ("ppo", "gspo", "gspo_token", "dppo_tv")
        has = {
            "cap": self.loss == "cispo", "clip_low": has_clip, "clip_high": has_clip,
            "ddof": self.critic is None and self.estimator == "grpo", "unit_scale": self.critic is None,
        }  # fmt: skip
        idle = [
            name
            for name, used in has.items()
            if not used and getattr(self, name) != type(self).model_fields[name].default
        ]
        if idle:
            raise ValueError(
                f"this equation has no term {', '.join(idle)}: leave out, or choose another loss or estimator"
            )


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": Algorithm(loss="ppo", reduction="sequence"),
    "dr_grpo": Algorithm(estimator="dr_grpo", loss="ppo", reduction="constant", constant_length=256),
    "dapo": Algorithm(loss="ppo", clip_high=0.28, reduction="token", refills=2),
    "gspo": Algorithm(loss="gspo", clip_low=3e-4, clip_high=4e-4, reduction="sequence"),
    "cispo": Algorithm(loss="cispo", reduction="token"),
    "rloo": Algorithm(estimator="rloo", loss="reinforce", reduction="sequence_sum"),
    "reinforce_pp": Algorithm(estimator="reinforce_pp", loss="ppo", reduction="token"),
    "reinforce": Algorithm(estimator="none", loss="reinforce", reduction="sequence_sum"),
    "ppo": Algorithm(estimator="none", loss="ppo", reduction="token", critic=Critic()),
}
"""The presets, by the name that people know; every field can be set otherwise."""
