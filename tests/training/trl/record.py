"""Records what TRL computes for the tensors in `inputs`, for tests that compare our losses with its.

Run with TRL 1.16 installed: python tests/training/trl/record.py. It calls TRL's own methods on a trainer that has
nothing but the settings which they read, and writes values.json beside itself.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
import trl
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer
from trl.experimental.orpo import ORPOTrainer

GRPO_SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "bnpo": {"loss_type": "bnpo"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "sapo": {"loss_type": "sapo"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 3e-4, "epsilon_high": 4e-4},
    "grpo_delta": {"loss_type": "grpo", "delta": 4.0},
    "grpo_kl": {"loss_type": "grpo", "beta": 0.04},
    "dapo_weighted": {"loss_type": "dapo", "use_vllm": True},
}
LENGTH = 8


def inputs() -> dict[str, torch.Tensor]:
    """Four sequences of up to six tokens; log-probabilities as far apart as an update or two make them."""
    generator = torch.Generator().manual_seed(7)

    def draw(scale: float, *shape: int) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    logprobs = -draw(1.0, 4, 6).abs() - 0.05
    lengths = torch.tensor([6, 3, 1, 5])
    old = logprobs + draw(0.3, 4, 6)
    return {
        "logprobs": logprobs,
        "old": old,
        "sampler": old + draw(0.2, 4, 6),
        "reference": logprobs + draw(0.5, 4, 6),
        "mask": (torch.arange(6) < lengths[:, None]).double(),
        "advantages": torch.tensor([1.2, -0.7, 0.4, -1.5], dtype=torch.float64),
    }


class _Settings(SimpleNamespace):
    """What a method under test reads of its trainer."""


def _trainer(**settings: Any) -> Any:
    trainer = MagicMock()
    for name, value in settings.items():
        setattr(trainer, name, value)
    trainer.accelerator.gather = trainer.accelerator.gather_for_metrics = lambda value: value
    trainer.accelerator.num_processes = 1
    trainer.accelerator.device = torch.device("cpu")
    trainer.model.training = True
    return trainer


def grpo(settings: dict[str, Any]) -> dict[str, Any]:
    """The loss and its gradient."""
    data = inputs()
    logprobs = data["logprobs"].clone().requires_grad_()
    arguments = _Settings(
        delta=settings.get("delta"), use_bias_correction_kl=False, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05,
        steps_per_generation=1,
    )  # fmt: skip
    trainer = _trainer(
        loss_type=settings["loss_type"],
        importance_sampling_level=settings.get("importance_sampling_level", "token"),
        epsilon_low=settings.get("epsilon_low", 0.2),
        epsilon_high=settings.get("epsilon_high", 0.2),
        beta=settings.get("beta", 0.0),
        args=arguments,
        max_completion_length=LENGTH,
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=settings.get("use_vllm", False),
        vllm_importance_sampling_correction=settings.get("use_vllm", False),
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        tools=None,
    )
    trainer._get_per_token_logps_and_entropies = lambda *a, **k: (logprobs, torch.zeros_like(logprobs), None)
    mask = data["mask"]
    loss = GRPOTrainer._compute_loss(
        trainer,
        trainer.model,
        {
            "prompt_ids": torch.zeros(4, 1, dtype=torch.long), "prompt_mask": torch.ones(4, 1, dtype=torch.long),
            "completion_ids": torch.zeros(4, 6, dtype=torch.long), "completion_mask": mask,
            "advantages": data["advantages"], "old_per_token_logps": data["old"],
            "ref_per_token_logps": data["reference"], "num_items_in_batch": mask.sum(),
            "importance_sampling_ratio": (data["old"] - data["sampler"]).exp().clamp(max=2.0),
        },
    )  # fmt: skip
    loss.backward()
    return {"loss": loss.item(), "gradient": logprobs.grad.tolist()}


class _Outputs(SimpleNamespace):
    """A model's answer to TRL's fused head."""


def _model(logprobs: torch.Tensor) -> Any:
    zeros = torch.zeros_like(logprobs)
    answer = MagicMock(log_probs=logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    return MagicMock(return_value=answer)


def dpo() -> dict[str, Any]:
    """Sequences 0 and 1 chosen, 2 and 3 rejected."""
    data = inputs()
    logprobs = (data["logprobs"] * data["mask"]).clone().requires_grad_()
    reference = (data["reference"] * data["mask"]).sum(1)
    trainer = _trainer(
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, loss_types=["sigmoid"], loss_weights=[1.0],
        f_divergence_type="reverse_kl", beta=0.1, label_smoothing=0.0, use_weighting=False,
        args=_Settings(),
    )  # fmt: skip
    mask = torch.cat((torch.zeros(4, 1), data["mask"]), dim=1)
    loss = DPOTrainer._compute_loss(
        trainer,
        _model(logprobs),
        {
            "input_ids": torch.zeros(4, 7, dtype=torch.long), "attention_mask": torch.ones(4, 7),
            "completion_mask": mask, "ref_chosen_logps": reference[:2], "ref_rejected_logps": reference[2:],
        },
        False,
    )  # fmt: skip
    loss.backward()
    return {"loss": loss.item(), "gradient": logprobs.grad.tolist()}


def kto() -> dict[str, Any]:
    """Sequences 0 and 2 desirable; the KL estimate comes from the old log-probabilities."""
    data = inputs()
    mask = data["mask"]
    logprobs = (data["logprobs"] * mask).clone().requires_grad_()
    trainer = _trainer(
        aux_loss_enabled=False, precompute_ref_logps=True, calculate_KL=True, loss_type="kto", beta=0.1,
        desirable_weight=1.0, undesirable_weight=1.3, args=_Settings(),
    )  # fmt: skip
    trainer._compute_kl_logps = lambda model, batch: (data["sampler"] * mask).sum(1)
    loss = KTOTrainer._compute_loss(
        trainer,
        _model(logprobs),
        {
            "input_ids": torch.zeros(4, 7, dtype=torch.long), "attention_mask": torch.ones(4, 7),
            "completion_mask": torch.cat((torch.zeros(4, 1), mask), dim=1),
            "label": torch.tensor([True, False, True, False]), "ref_logps": (data["reference"] * mask).sum(1),
            "ref_KL_logps": (data["old"] * mask).sum(1),
        },
        False,
    )  # fmt: skip
    loss.backward()
    return {"loss": loss.item(), "gradient": logprobs.grad.tolist()}


def orpo() -> dict[str, Any]:
    """The odds-ratio term alone, from mean log-probabilities."""
    data = inputs()
    means = (data["logprobs"] * data["mask"]).sum(1) / data["mask"].sum(1)
    losses, *_ = ORPOTrainer.odds_ratio_loss(_trainer(beta=0.1), means[:2], means[2:])
    return {"losses": (-losses).tolist()}


def reward() -> dict[str, Any]:
    """Pairs (0, 2) and (1, 3) of the advantages, taken as rewards."""
    rewards = inputs()["advantages"].clone().requires_grad_()
    trainer = _trainer(args=_Settings(center_rewards_coefficient=0.01), aux_loss_enabled=False)
    answer = _Outputs(logits=rewards[:, None])
    loss = RewardTrainer.compute_loss(
        trainer,
        MagicMock(return_value=answer),
        {"input_ids": torch.zeros(4, 2), "attention_mask": torch.ones(4, 2), "margin": torch.tensor([0.5, 0.0])},
    )
    loss.backward()
    return {"loss": loss.item(), "gradient": rewards.grad.tolist()}


def main() -> None:
    values = {
        "trl": trl.__version__,
        "grpo": {name: grpo(settings) for name, settings in GRPO_SETTINGS.items()},
        "dpo": dpo(),
        "kto": kto(),
        "orpo": orpo(),
        "reward": reward(),
    }
    Path(__file__).with_name("values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
