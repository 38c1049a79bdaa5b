"""A base model in memory: token ids of many requests in, logits out, under any adapters.

The layers are transformers' own, so whatever architecture it knows computes what it computes there; attention,
cache and linear layers are replaced by ours.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

from journeyman.engines.local import attention
from journeyman.engines.local.cache import SlotCache
from journeyman.engines.local.layers import Steps, adapt_linears
from journeyman.engines.local.lora import LoraWeights, read_lora
from journeyman.engines.local.step import Step
from journeyman.errors import InvalidInput, ModelFileBroken

Precision = Literal["auto", "float32", "bfloat16"]


def choose_dtype(precision: Precision) -> torch.dtype:
    """bfloat16 where the CPU computes it natively (or was asked for), else float32."""
    if precision == "auto":
        native = torch.cuda.is_available() or "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def load_weights(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """The model in `folder` as transformers builds it, safetensors only; ModelFileBroken when a file is missing or cut."""
    if not (folder / "config.json").is_file():
        raise ModelFileBroken(
            f"{folder.name}: config.json is missing; run `journeyman models pull {folder.name}` again"
        )
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)  # type: ignore[no-any-return]
    except (SafetensorError, OSError) as error:
        raise ModelFileBroken(
            f"{folder.name}: its weights are missing, truncated or damaged ({error}); "
            f"delete the folder and run `journeyman models pull {folder.name}` again"
        ) from error


class LocalModel:
    """A base model, its key–value cache and its loaded adapters. One thread at a time may use it."""

    def __init__(self, folder: Path, *, precision: Precision = "auto", slots: int = 16, context: int = 4096) -> None:
        self.folder = folder
        self.dtype = choose_dtype(precision)
        self.config = AutoConfig.from_pretrained(folder, local_files_only=True)
        self.context = min(context, self.config.max_position_embeddings)
        self._steps = Steps()
        self._network = load_weights(folder, self.dtype).eval()
        self._network.config._attn_implementation = attention.NAME
        self.shapes = adapt_linears(self._network, self._steps)
        heads = self.config.num_key_value_heads
        size = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        self.cache = SlotCache(self.config.num_hidden_layers, slots, heads, self.context, size, self.dtype)
        self.adapters: dict[str, LoraWeights] = {}

    def load_adapter(self, name: str, folder: Path) -> None:
        """Make an adapter answerable by name. A name stands for one content for ever: use a new name for new weights."""
        known = self.adapters.get(name)
        if known is not None and known.folder != folder:
            raise InvalidInput(f"adapter {name!r} is loaded from another folder; unload it first, or use a new name")
        if known is None:
            self.adapters[name] = read_lora(name, folder, self.shapes)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter and everything that was computed under it."""
        self.adapters.pop(name, None)
        self.cache.forget(name)

    @torch.inference_mode()
    def forward(self, ids: Sequence[int], positions: Sequence[int], step: Step, wanted: Sequence[int]) -> torch.Tensor:
        """Float32 logits [wanted tokens, vocabulary] at the flat indices `wanted` of the flat batch `ids`."""
        self._steps.current = step
        output = self._network(
            input_ids=torch.tensor([ids]),
            position_ids=torch.tensor([positions]),
            use_cache=False,
            logits_to_keep=torch.tensor(wanted, dtype=torch.long),
            step=step,
            cache=self.cache,
        )
        return output.logits[0].float()  # type: ignore[no-any-return]


def _cpu_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""
