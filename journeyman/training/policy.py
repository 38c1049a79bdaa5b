"""The model that learns: a frozen base with LoRA on its linear layers, through PEFT, or every weight of it."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from journeyman.engines.local.network.borrowed import load_weights
from journeyman.engines.local.network.precision import choose_dtype
from journeyman.errors import InvalidInput
from journeyman.records.run import PolicyConfig
from journeyman.rendering.chat import TEMPLATE_FILE, ChatTemplate
from journeyman.training import attention
from journeyman.training.batches import Pack
from journeyman.training.devices import choose_device
from journeyman.training.fused.trunk import fuse
from journeyman.training.head import seen_token_statistics, token_logprobs
from journeyman.training.layers import layers_to_adapt
from journeyman.training.trainable_head import token_logprobs_and_entropies, trainable_token_logprobs

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""What beside the weights and the template makes a model folder."""


class Policy:
    """A base model and its trainable adapter, or a model all of whose weights are trained.

    In bfloat16 the adapter computes in bfloat16, too, and `masters` hold its weights in float32: that is what the
    optimiser moves, and where the gradients of several packs add up.
    """

    def __init__(self, model_folder: Path, config: PolicyConfig, start: Path | None = None) -> None:
        """Begin with a fresh adapter, or with the one in the folder `start`."""
        self._base_name, self._folder, self.full = model_folder.name, model_folder, config.full
        # The command line has a progress line of its own.
        disable_progress_bar()
        self.device = choose_device(config.device if config.processes == 1 else "cpu")
        torch.manual_seed(config.seed)
        base = load_weights(model_folder, choose_dtype(config.precision))
        base.set_attn_implementation(attention.NAME)
        self.network: Any = base if config.full else _adapted(base, config, start)
        self.network.to(self.device)
        self.network.train()
        self._computing = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
        self.masters = {name: _master(value, copied=not config.full) for name, value in self._computing.items()}
        if not config.full:
            self._check_coverage(config)
        self._plain = base
        self._trunk = base.get_decoder()
        self._fused = None if config.full else fuse(base)
        self.head = _plain_head(base)

    def attach(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Train one more weight, such as a head's; returns the tensor to compute with."""
        computing = value.detach().float().to(self.device).requires_grad_()
        self._computing[name] = computing
        self.masters[name] = computing.detach().clone()
        return computing

    def hidden(self, pack: Pack, indices: torch.Tensor) -> torch.Tensor:
        """The last hidden states [indices, size] at some of the pack's flat indices."""
        if self._fused is not None:
            return self._fused(pack, indices)
        found: torch.Tensor = self._trunk(**self._inputs(pack)).last_hidden_state[0, indices.to(self.device)]
        return found

    def logits(self, pack: Pack) -> torch.Tensor:
        """What the pack's targets are predicted from, float32 [targets, vocabulary]: only where a loss needs it all."""
        found = self._plain(**self._inputs(pack), logits_to_keep=pack.predictors.to(self.device)).logits[0]
        return found.float()  # type: ignore[no-any-return]

    def token_logprobs(self, pack: Pack) -> torch.Tensor:
        """Log-probability of each of the pack's targets [targets], float32, differentiable in what is trained."""
        targets = pack.targets.to(self.device)
        if self.head is None:
            return log_softmax(self.logits(pack), dim=-1).gather(1, targets[:, None])[:, 0]
        compute = trainable_token_logprobs if self.head.requires_grad else token_logprobs
        return compute(self.hidden(pack, pack.predictors), self.head, targets)

    def token_statistics(self, pack: Pack, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each target, differentiable, and the entropy in nats at its place, constant: [targets].

        `hidden` is that of the pack's predictors.
        """
        if self.head is None or self.head.requires_grad:
            logprobs, entropies = token_logprobs_and_entropies(hidden, self._logits_of, pack.targets.to(self.device))
            return logprobs, entropies.detach()
        return seen_token_statistics(hidden, self.head, pack.targets.to(self.device))

    def learned_statistics(self, pack: Pack, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `token_statistics`, but the entropies are differentiable, too, at more cost."""
        return token_logprobs_and_entropies(hidden, self._logits_of, pack.targets.to(self.device))

    @contextmanager
    def as_of(self, state: dict[str, torch.Tensor]) -> Iterator[None]:
        """While inside, compute with the weights of a `state()`."""
        now = self.state()
        self.restore(state)
        try:
            yield
        finally:
            self.restore(now)

    def base_state(self) -> dict[str, torch.Tensor]:
        """The weights under which an adapter changes nothing; those of now for a model that is trained whole."""
        return {
            name: torch.zeros_like(value) if "lora_B" in name else value.clone() for name, value in self.masters.items()
        }

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
            if value.data_ptr() != self.masters[name].data_ptr():
                value.copy_(self.masters[name])

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """While inside, nothing is dropped and no gradient is kept."""
        before = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.network.train(before)

    def logprobs(self, pack: Pack) -> torch.Tensor:
        """Log-probability of each target [targets], float32, without dropout and gradient."""
        with self.evaluating():
            return self.token_logprobs(pack)

    def logprobs_at(self, pack: Pack, temperature: float) -> torch.Tensor:
        """Log-probability of each target as sampled at another temperature [targets], without gradient."""
        with self.evaluating():
            logits = self._logits_of(self.hidden(pack, pack.predictors)) / temperature
            return log_softmax(logits, dim=-1).gather(1, pack.targets.to(self.device)[:, None])[:, 0]

    @contextmanager
    def generating(self) -> Iterator[Any]:
        """The network as transformers' `generate` needs it, with its own attention and a cache."""
        with self.evaluating():
            self._plain.set_attn_implementation("sdpa")
            try:
                yield self.network
            finally:
                self._plain.set_attn_implementation(attention.NAME)

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

    def save_model(self, folder: Path, template: ChatTemplate) -> None:
        """Write the whole model, with its tokenizer and template: a folder that can be served as a base."""
        self.network.save_pretrained(folder, safe_serialization=True)
        for name in TOKENIZER_FILES:
            if (self._folder / name).is_file():
                shutil.copy(self._folder / name, folder / name)
        (folder / TEMPLATE_FILE).write_text(template.text)

    def _logits_of(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._plain.get_output_embeddings()(hidden)
        cap = getattr(self._plain.config.get_text_config(), "final_logit_softcapping", None)
        return (torch.tanh(logits / cap) * cap if cap else logits).float()

    def _inputs(self, pack: Pack) -> dict[str, Any]:
        ids, positions = pack.ids[None].to(self.device), pack.positions[None].to(self.device)
        return {"input_ids": ids, "position_ids": positions, "use_cache": False, "layout": pack.layout}

    def _check_coverage(self, config: PolicyConfig) -> None:
        modules = dict(self.network.named_modules())
        base = self.network.get_base_model()
        missed = [
            name
            for name in layers_to_adapt(base, config.targets, inside=".base_layer")
            if not isinstance(modules[f"base_model.model.{name}"], BaseTunerLayer)
        ]
        if missed:
            raise InvalidInput(f"no adapter was attached to {len(missed)} linear layers, such as {min(missed)}")


def _adapted(base: PreTrainedModel, config: PolicyConfig, start: Path | None) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT reads a property that transformers has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        if start is not None:
            found = PeftModel.from_pretrained(base, start, is_trainable=True, autocast_adapter_dtype=False)
            return found.to(base.dtype)
        everything = config.targets == "all-linear"
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            use_rslora=config.rank_stabilised,
            target_modules="all-linear" if everything else _suffixes(base, config),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(base, lora, autocast_adapter_dtype=False)


def _suffixes(base: PreTrainedModel, config: PolicyConfig) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in layers_to_adapt(base, config.targets)})


def _master(value: torch.Tensor, *, copied: bool) -> torch.Tensor:
    """What the optimiser moves: of a whole model in float32 the very weights, for another copy would not fit."""
    master = value.detach().float()
    return master.clone() if copied and master.data_ptr() == value.data_ptr() else master


def _plain_head(network: PreTrainedModel) -> torch.Tensor | None:
    """The weights of a head that is a product and nothing else; None where the network does more to its logits."""
    head, config = network.get_output_embeddings(), network.config.get_text_config()
    special = any(getattr(config, name, None) for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"))
    if special or not isinstance(head, torch.nn.Linear) or head.bias is not None:
        return None
    return head.weight
