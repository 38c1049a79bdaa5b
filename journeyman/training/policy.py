"""The model that learns: a frozen base with LoRA on every linear layer, through PEFT."""

import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn.functional import log_softmax

from journeyman.engines.local.model import choose_dtype, load_weights
from journeyman.errors import InvalidInput
from journeyman.records import SFTConfig
from journeyman.rendering.chat import TEMPLATE_FILE, ChatTemplate
from journeyman.training import attention
from journeyman.training.batches import Pack


class Policy:
    """A base model and its trainable adapter."""

    def __init__(self, model_folder: Path, config: SFTConfig) -> None:
        torch.manual_seed(config.seed)
        base = load_weights(model_folder, choose_dtype(config.precision))
        base.config._attn_implementation = attention.NAME
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.network: PeftModel = get_peft_model(base, lora)
        self.network.train()
        self.parameters = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
        self._check_coverage()

    def logits(self, pack: Pack) -> torch.Tensor:
        """Logits [targets, vocabulary] that predict the pack's targets."""
        output = self.network(
            input_ids=pack.ids[None],
            position_ids=pack.positions[None],
            use_cache=False,
            logits_to_keep=pack.predictors,
            layout=pack.layout,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    @torch.no_grad()
    def logprobs(self, pack: Pack) -> torch.Tensor:
        """Log-probability of each target [targets], float32."""
        self.network.eval()
        logprobs = log_softmax(self.logits(pack).float(), dim=-1)
        self.network.train()
        return logprobs.gather(1, pack.targets[:, None])[:, 0]

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the trainable weights."""
        return {name: value.detach().clone() for name, value in self.parameters.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Put weights of `state()` back."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state[name])

    def save_adapter(self, folder: Path, template: ChatTemplate) -> None:
        """Write the adapter in PEFT's format, with the chat template it learned under."""
        self.network.save_pretrained(folder, safe_serialization=True)
        # PEFT writes a model card with the base model's path on this machine: nothing of ours reads it.
        (folder / "README.md").unlink(missing_ok=True)
        (folder / TEMPLATE_FILE).write_text(template.text)

    def _check_coverage(self) -> None:
        modules = dict(self.network.named_modules())
        linear = {n for n, m in modules.items() if n.endswith(("_proj", "fc1", "fc2")) and "lora" not in n}
        missed = {name for name in linear if not any(part.startswith(f"{name}.lora_A") for part in modules)}
        if missed:
            raise InvalidInput(f"no adapter was attached to {len(missed)} linear layers, such as {min(missed)}")


def write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Tensors to a safetensors file."""
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file."""
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
