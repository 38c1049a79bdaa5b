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

from journeyman.engines.base_model import check_base, write_base
from journeyman.engines.local.network.borrowed import load_weights
from journeyman.engines.local.network.precision import choose_dtype
from journeyman.errors import InvalidInput
from journeyman.records.run import PolicyConfig
from journeyman.rendering.chat import TEMPLATE_FILE, ChatTemplate
from journeyman.training import attention
from journeyman.training.batches import Pack, pack_rows
from journeyman.training.devices import choose_device
from journeyman.training.distributed import World, this_world
from journeyman.training.fused.trunk import fuse
from journeyman.training.head import seen_token_statistics, token_logprobs
from journeyman.training.layers import layers_to_adapt
from journeyman.training.samples import Sample
from journeyman.training.sharding import Shards, local
from journeyman.training.trainable_head import token_logprobs_and_entropies, trainable_token_logprobs

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""What beside the weights and the template makes a model folder."""


class Policy:
    """A base model and its trainable adapter, or a model all of whose weights are trained.

    In bfloat16 the adapter computes in bfloat16, too, and `masters` hold its weights in float32: that is what the
    optimiser moves, and where the gradients of several packs add up.
    """

    def __init__(self, model_folder: Path, config: PolicyConfig, start: Path | None = None) -> None:
        """Begin with a fresh adapter, or with the one in the folder `start`; InvalidInput when its base has changed."""
        self._base_name, self._folder, self.full = model_folder.name, model_folder, config.full
        # The command line has a progress line of its own.
        disable_progress_bar()
        if start is not None:
            check_base(start, model_folder, f"adapter {start.name}")
        self.device = choose_device(config.device, config.processes, this_world().rank)
        torch.manual_seed(config.seed)
        base = load_weights(model_folder, choose_dtype(config.precision))
        base.set_attn_implementation(attention.NAME)
        self.network: Any = base if config.full else _adapted(base, config, start)
        self.network.to(self.device)
        self.network.train()
        shared_out = config.shard and this_world().size > 1
        self.shards = Shards(self.network, set(base._no_split_modules or ()), self.device) if shared_out else None
        self._computing = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
        self.masters = {name: _master(local(value), copied=not config.full) for name, value in self._computing.items()}
        if not config.full:
            self._check_coverage(config)
        self._plain = base
        self._trunk = base.get_decoder()
        self._fused = None if config.full or self.shards else fuse(base)
        self._collected: dict[str, torch.Tensor] | None = None

    @property
    def head(self) -> torch.Tensor | None:
        """The weights [vocabulary, size] of a head that is a product and nothing else; else None."""
        return _plain_head(self._plain)

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

        def compute() -> torch.Tensor:
            found: torch.Tensor = self._trunk(**self._inputs(pack)).last_hidden_state[0, indices.to(self.device)]
            return found

        return self.shards.run(compute) if self.shards else compute()

    def logits(self, pack: Pack) -> torch.Tensor:
        """What the pack's targets are predicted from, float32 [targets, vocabulary]: only where a loss needs it all."""

        def compute() -> torch.Tensor:
            found = self._plain(**self._inputs(pack), logits_to_keep=pack.predictors.to(self.device)).logits[0]
            return found.float()  # type: ignore[no-any-return]

        return self.shards.run(compute) if self.shards else compute()

    def token_logprobs(self, pack: Pack) -> torch.Tensor:
        """Log-probability of each of the pack's targets [targets], float32, differentiable in what is trained."""
        targets = pack.targets.to(self.device)
        if self.head is None:
            return log_softmax(self.logits(pack), dim=-1).gather(1, targets[:, None])[:, 0]
        hidden = self.hidden(pack, pack.predictors)
        # Only behind the layers is a head whole whose weights are shared out.
        head = self.head
        assert head is not None
        return (trainable_token_logprobs if head.requires_grad else token_logprobs)(hidden, head, targets)

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
            master, gradient = self.masters[name], None if value.grad is None else local(value.grad)
            value.grad = None
            if gradient is not None:
                master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)

    @torch.no_grad()
    def publish(self) -> None:
        """After the masters moved: compute with what they hold now."""
        for name, value in self._computing.items():
            own = local(value)
            if own.data_ptr() != self.masters[name].data_ptr():
                own.copy_(self.masters[name])
        if self.shards:
            self.shards.published()

    def add_up_gradients(self, world: World) -> None:
        """Let the masters of every process have the gradient of the whole batch."""
        if self.shards:
            self.settle()
            return
        for master in self.masters.values():
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        world.add_up(master.grad for master in self.masters.values() if master.grad is not None)

    def clip(self, most: float, world: World) -> float:
        """Scale the gradient down to the norm `most` where it is larger; the norm that it had."""
        norm = torch.nn.utils.get_total_norm(
            [master.grad for master in self.masters.values() if master.grad is not None]
        )
        if self.shards:
            norm = torch.tensor(world.total(float(norm) ** 2)).sqrt()[0]
        torch.nn.utils.clip_grads_with_norm_(self.masters.values(), most, norm)
        return float(norm)

    def settle(self) -> None:
        """Where weights are shared out: help the other processes with the passes that they have left."""
        if self.shards:
            self.shards.settle(self._idle)

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
        """A copy of the trainable weights, in float32; of those that are shared out, this process's parts."""
        return {name: value.clone() for name, value in self.masters.items()}

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Put weights of `state()` back."""
        for name, value in self.masters.items():
            value.copy_(state[name])
        self.publish()

    def whole(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights of a `state()` in one piece; where they are shared out, for the leading process only."""
        return self.shards.gather(state) if self.shards else state

    def parts(self, whole: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The `state()` of weights in one piece."""
        return {name: self.shards.part(name, value) for name, value in whole.items()} if self.shards else whole

    def collect(self) -> None:
        """Every process, before the leading one saves: bring what is shared out together there."""
        if self.shards:
            collected = self.shards.gather(self.masters)
            self._collected = {name: value.to(self._computing[name].dtype) for name, value in collected.items()}

    def save_adapter(self, folder: Path, template: ChatTemplate) -> None:
        """Write the adapter in PEFT's format, with the chat template it learned under, and the hash of its base.

        The same weights give the same bytes on every machine: an adapter is known by their hash.
        """
        lora = self.network.peft_config["default"]
        lora.target_modules = sorted(lora.target_modules)
        lora.base_model_name_or_path = self._base_name
        # Without being told that embeddings stay as they are, PEFT would look for the base on the hub to compare them.
        self.network.save_pretrained(
            folder, safe_serialization=True, save_embedding_layers=False, state_dict=self._collected
        )
        # PEFT adds a model card that names the base model's folder on this machine: nothing of ours reads it.
        (folder / "README.md").unlink(missing_ok=True)
        (folder / TEMPLATE_FILE).write_text(template.text)
        write_base(folder, self._folder)

    def save_model(self, folder: Path, template: ChatTemplate) -> None:
        """Write the whole model, with its tokenizer and template: a folder that can be served as a base."""
        self.network.save_pretrained(folder, safe_serialization=True, state_dict=self._collected)
        for name in TOKENIZER_FILES:
            if (self._folder / name).is_file():
                shutil.copy(self._folder / name, folder / name)
        (folder / TEMPLATE_FILE).write_text(template.text)

    def _logits_of(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._plain.get_output_embeddings()(hidden)
        cap = getattr(self._plain.config.get_text_config(), "final_logit_softcapping", None)
        return (torch.tanh(logits / cap) * cap if cap else logits).float()

    def _idle(self, learn: bool) -> None:
        """A pass that counts nothing, through all that a real one goes through."""
        nothing = pack_rows([Sample((0, 0), (False, True))], 2)[0]
        with torch.set_grad_enabled(learn):
            loss = self.token_logprobs(nothing).sum() * 0.0
        if learn:
            self.backward(loss)

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
