"""The model that learns: a frozen base with LoRA on every linear layer, through PEFT."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import log_softmax
from transformers.utils.logging import disable_progress_bar

from journeyman.engines.local.network.borrowed import load_weights
from journeyman.engines.local.network.precision import choose_dtype
from journeyman.errors import InvalidInput
from journeyman.records import SFTConfig
from journeyman.rendering.chat import TEMPLATE_FILE, ChatTemplate
from journeyman.training import attention
from journeyman.training.batches import Pack
from journeyman.training.head import token_logprobs


class Policy:
    """A base model and its trainable adapter.

    In bfloat16 the adapter computes in bfloat16, too, and `masters` hold its weights in float32: that is what the
    optimiser moves, and where the gradients of several packs add up.
    """

    def __init__(self, model_folder: Path, config: SFTConfig) -> None:
        self._base_name = model_folder.name
        # The command line has a progress line of its own.
        disable_progress_bar()
        torch.manual_seed(config.seed)
        base = load_weights(model_folder, choose_dtype(config.precision))
        base.set_attn_implementation(attention.NAME)
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        with warnings.catch_warnings():
            # PEFT reads a property that transformers has renamed.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            self.network: PeftModel = get_peft_model(base, lora, autocast_adapter_dtype=False)
        self.network.train()
        self._computing = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
        self.masters = {name: value.detach().float().clone() for name, value in self._computing.items()}
        self._check_coverage()
        self._trunk = self.network.get_base_model().get_decoder()
        self._head = _plain_head(self.network)

    def token_logprobs(self, pack: Pack) -> torch.Tensor:
        """Log-probability of each of the pack's targets [targets], float32, differentiable in the adapter."""
        if self._head is not None:
            output = self._trunk(**self._inputs(pack))
            return token_logprobs(output.last_hidden_state[0, pack.predictors], self._head, pack.targets)
        logits = self.network(**self._inputs(pack), logits_to_keep=pack.predictors).logits[0]
        return log_softmax(logits.float(), dim=-1).gather(1, pack.targets[:, None])[:, 0]

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss` to the masters' gradients."""
        loss.backward()  # type: ignore[no-untyped-call]
        for name, value in self._computing.items():
            master, gradient = self.masters[name], value.grad
            value.grad = None
            if gradient is not None:
                master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)

    @torch.no_grad()
    def publish(self) -> None:
        """After the masters moved: compute with what they hold now."""
        for name, value in self._computing.items():
            value.copy_(self.masters[name])

    @torch.no_grad()
    def logprobs(self, pack: Pack) -> torch.Tensor:
        """Log-probability of each target [targets], float32."""
        self.network.eval()
        logprobs = self.token_logprobs(pack)
        self.network.train()
        return logprobs

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the trainable weights, in float32."""
        return {name: value.clone() for name, value in self.masters.items()}

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Put weights of `state()` back."""
        for name, value in self.masters.items():
            value.copy_(state[name])
        self.publish()

    def save_adapter(self, folder: Path, template: ChatTemplate) -> None:
        """Write the adapter in PEFT's format, with the chat template it learned under.

        The same weights give the same bytes on every machine: an adapter is known by their hash.
        """
        lora = self.network.peft_config["default"]
        lora.target_modules = sorted(lora.target_modules)
        lora.base_model_name_or_path = self._base_name
        # Without being told that embeddings stay as they are, PEFT would look for the base on the hub to compare them.
        self.network.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
        # PEFT adds a model card that names the base model's folder on this machine: nothing of ours reads it.
        (folder / "README.md").unlink(missing_ok=True)
        (folder / TEMPLATE_FILE).write_text(template.text)

    def _inputs(self, pack: Pack) -> dict[str, Any]:
        positions = pack.positions[None]
        return {"input_ids": pack.ids[None], "position_ids": positions, "use_cache": False, "layout": pack.layout}

    def _check_coverage(self) -> None:
        modules = dict(self.network.named_modules())
        head = self.network.get_output_embeddings()
        linear = {
            name for name, module in modules.items() if isinstance(module, torch.nn.Linear) and module is not head
        }
        missed = {name for name in linear if not ("lora_" in name or name.endswith(".base_layer"))}
        if missed:
            raise InvalidInput(f"no adapter was attached to {len(missed)} linear layers, such as {min(missed)}")


def _plain_head(network: PeftModel) -> torch.Tensor | None:
    """The weights of a head that is a product and nothing else; None where the network does more to its logits."""
    head, config = network.get_output_embeddings(), network.config.get_text_config()
    special = any(getattr(config, name, None) for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"))
    if special or not isinstance(head, torch.nn.Linear) or head.bias is not None or head.weight.requires_grad:
        return None
    return head.weight
