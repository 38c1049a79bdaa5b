"""Any architecture that transformers knows, with its own layers: slower than ours, and checked against itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel

from journeyman.engines.local.network.attention import attend
from journeyman.engines.local.network.config import shown
from journeyman.engines.local.network.linear import freeze
from journeyman.engines.local.network.ops import Heads, Ops, Pages
from journeyman.engines.local.network.sites import Site, site
from journeyman.engines.local.network.step import Step
from journeyman.engines.models import way_out
from journeyman.errors import InvalidInput, ModelFileBroken

_NAME = "journeyman-pages"
_UNSUPPORTED = ("softcap", "s_aux")
PROBE = range(5, 15)
"""Any ids will do to compare two ways of computing; every vocabulary has these."""


def load_weights(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model in `folder` as transformers builds it, safetensors only; ModelFileBroken when anything is missing."""
    try:
        network, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (SafetensorError, OSError) as error:
        raise ModelFileBroken(
            f"{folder.name}: its weights are missing, truncated or damaged ({shown(error)}); {way_out(folder)}"
        ) from error
    except (ValueError, KeyError, RuntimeError, ImportError) as error:
        raise InvalidInput(
            f"{folder.name}: transformers cannot build this model of its config.json and weights ({shown(error)}); "
            f"{way_out(folder)}"
        ) from error
    # What a file lacks, transformers fills with random numbers and a warning.
    if missing := sorted(found["missing_keys"]):
        raise ModelFileBroken(
            f"{folder.name}: {len(missing)} weights are not in its files, such as {missing[0]}; {way_out(folder)}"
        )
    return network


class BorrowedNetwork:
    """A network of transformers' with our attention, cache and linear layers in the place of its own.

    `expected` is what transformers itself computes for `PROBE`, before anything is replaced.
    """

    path = "transformers"

    def __init__(self, folder: Path, dtype: torch.dtype, ops: Ops) -> None:
        self._network = load_weights(folder, dtype).eval()
        self.vocabulary = int(self._network.get_input_embeddings().num_embeddings)
        self._running = _Running(ops)
        with torch.inference_mode():
            plain = self._network(input_ids=torch.tensor([PROBE]), use_cache=False)
        self.expected: torch.Tensor = plain.logits[0].float()
        self._network.set_attn_implementation(_NAME)
        self.sites = _adapt_linears(self._network, self._running)

    def hidden(self, step: Step, pages: Sequence[Pages], wanted: torch.Tensor) -> torch.Tensor:
        """Last hidden states [wanted, hidden] of the tokens at the flat indices `wanted`."""
        output = self._network.get_decoder()(**self._inputs(step, pages))
        return output.last_hidden_state[0][wanted]  # type: ignore[no-any-return]

    def logits(self, step: Step, pages: Sequence[Pages], wanted: torch.Tensor) -> torch.Tensor:
        """[wanted, vocabulary] in the network's precision."""
        output = self._network(**self._inputs(step, pages), logits_to_keep=wanted)
        return output.logits[0]  # type: ignore[no-any-return]

    def _inputs(self, step: Step, pages: Sequence[Pages]) -> dict[str, Any]:
        self._running.step, self._running.pages = step, pages
        ids, positions = torch.tensor([step.ids]), step.positions.long()[None]
        return {"input_ids": ids, "position_ids": positions, "use_cache": False, "running": self._running}


class _Running:
    """The forward pass that is running: what every layer looks at."""

    def __init__(self, ops: Ops) -> None:
        self.ops = ops
        self.step = Step()
        self.pages: Sequence[Pages] = ()


def _attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, *, scaling: float, running: _Running, sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention as transformers calls it: `query` [1, heads, tokens, size], `key` and `value` [1, key heads, tokens,
    size], all rotated; returns [1, tokens, heads, size]."""
    for name in _UNSUPPORTED:
        if options.get(name) is not None:
            raise NotImplementedError(f"attention with {name}")
    if value.shape[-1] != query.shape[-1]:
        raise NotImplementedError("attention whose values are of another size than its keys")
    heads = Heads(query.shape[1], key.shape[1], query.shape[3], scaling, window=sliding_window or 0)
    pages = running.pages[int(module.layer_idx)]  # type: ignore[arg-type]
    if pages.keys.shape[1:3] != (heads.keys, heads.size):
        raise NotImplementedError(f"attention with {heads.keys} key heads of size {heads.size}, unlike its config")
    mixed = torch.cat([each[0].transpose(0, 1).flatten(1) for each in (query, key, value)], dim=1)
    running.ops.rotate_and_keep(mixed, heads, pages, running.step)
    seen = attend(running.ops, mixed, heads, pages, running.step)
    return seen.view(1, len(mixed), heads.queries, heads.size), None


AttentionInterface.register(_NAME, _attend)


class _AdaptedLinear(torch.nn.Module):
    """A frozen linear layer plus, for each span of tokens, the low-rank product of its adapter."""

    def __init__(self, plain: torch.nn.Linear, number: int | None, running: _Running) -> None:
        super().__init__()
        self._frozen = freeze(plain.weight, plain.bias)
        self._number, self._running = number, running

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[1, tokens, inputs] → [1, tokens, outputs]."""
        flat = inputs.flatten(0, -2).contiguous()
        outputs = self._frozen(flat)
        if self._number is not None and self._running.step.spans:
            self._running.ops.lora(outputs, flat, self._running.step, self._number)
        return outputs.view(*inputs.shape[:-1], outputs.shape[-1])


def _adapt_linears(model: PreTrainedModel, running: _Running) -> list[Site]:
    """Replace every linear layer of `model` in place; returns those that adapters may touch."""
    sites: list[Site] = []
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear):
            continue
        parent, _, child = name.rpartition(".")
        number = None if module is head else len(sites)
        if number is not None:
            sites.append(site(module.in_features, (name, module.out_features)))
        setattr(model.get_submodule(parent), child, _AdaptedLinear(module, number, running))
    return sites
