"""A base model in memory: token ids of many requests in, logits out, under any adapters.

The layers are transformers' own, so whatever architecture it knows computes what it computes there; attention,
cache and linear layers are replaced by ours.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel

from journeyman.engines.local.network import attention
from journeyman.engines.local.network.cache import SlotCache
from journeyman.engines.local.network.layers import Steps, adapt_linears
from journeyman.engines.local.network.lora import LoraWeights, read_lora
from journeyman.engines.local.network.step import Part, Step
from journeyman.errors import InvalidInput, ModelFileBroken

Precision = Literal["auto", "float32", "bfloat16"]
_PROBE = range(5, 15)
"""Any ids will do to compare two ways of computing; every vocabulary has these."""
_TOLERANCE = 0.1
"""Of the norm: bfloat16 rounds to about 0.01, and an architecture that is computed wrongly differs by about 1."""


def choose_dtype(precision: Precision) -> torch.dtype:
    """bfloat16 where the CPU computes it natively (or was asked for), else float32."""
    if precision == "auto":
        native = torch.cuda.is_available() or "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def load_weights(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model in `folder` as transformers builds it, safetensors only; ModelFileBroken when anything is missing."""
    again = f"delete the folder and run `journeyman models pull {folder.name}` again"
    if not (folder / "config.json").is_file():
        raise ModelFileBroken(f"{folder.name}: config.json is missing; {again}")
    try:
        network, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (SafetensorError, OSError) as error:
        raise ModelFileBroken(
            f"{folder.name}: its weights are missing, truncated or damaged ({error}); {again}"
        ) from error
    except (ValueError, KeyError, RuntimeError, ImportError) as error:
        raise InvalidInput(f"{folder.name}: transformers cannot build this model ({error})") from error
    # What a file lacks, transformers fills with random numbers and a warning.
    if missing := sorted(found["missing_keys"]):
        raise ModelFileBroken(
            f"{folder.name}: {len(missing)} weights are not in its files, such as {missing[0]}; {again}"
        )
    return network


class LocalModel:
    """A base model, its key–value cache and its loaded adapters. One thread at a time may use it."""

    def __init__(self, folder: Path, *, precision: Precision = "auto", slots: int = 16, context: int = 4096) -> None:
        self.folder = folder
        self.dtype = choose_dtype(precision)
        self._steps = Steps()
        self._network = load_weights(folder, self.dtype).eval()
        config = self._network.config.get_text_config()
        self.context = min(context, getattr(config, "max_position_embeddings", context))
        expected = self._plain_logits()
        self._network.set_attn_implementation(attention.NAME)
        self.shapes = adapt_linears(self._network, self._steps)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.cache = SlotCache(config.num_hidden_layers, slots, heads, self.context, size, self.dtype)
        self.adapters: dict[str, LoraWeights] = {}
        self._check_against(expected)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Make an adapter answerable by name. A name stands for one content: use a new name for new weights."""
        known = self.adapters.get(name)
        if known is not None and known.folder != folder:
            raise InvalidInput(f"adapter {name!r} is loaded from another folder; unload it first, or use a new name")
        if known is None:
            self.adapters[name] = read_lora(name, folder, self.shapes)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter and everything that was computed under it."""
        weights = self.adapters.pop(name, None)
        if weights is not None:
            self.cache.forget(weights)

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

    @torch.inference_mode()
    def _plain_logits(self) -> torch.Tensor:
        """What transformers itself computes for the probe, before anything is replaced."""
        logits: torch.Tensor = self._network(input_ids=torch.tensor([_PROBE]), use_cache=False).logits[0]
        return logits.float()

    def _check_against(self, expected: torch.Tensor) -> None:
        """Refuse a model that comes out otherwise here, such as one that keeps state outside its attention."""
        last = len(_PROBE) - 1
        try:
            for first, end in ((0, 3), (3, last)):
                self.forward(_PROBE[first:end], range(first, end), Step(chunks=[Part(0, 0, first, end - first)]), [0])
            logits = self.forward(_PROBE[last:], [last], Step(decoding=[Part(0, 0, last, 1)]), [0])
        except (NotImplementedError, RuntimeError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"{self.folder.name}: the local engine cannot run this architecture ({error})"
            ) from error
        difference = float((logits[0] - expected[-1]).norm() / expected[-1].norm())
        if not difference < _TOLERANCE:
            raise InvalidInput(
                f"{self.folder.name}: the local engine computes this architecture otherwise than transformers does "
                f"(its logits differ by {difference:.0%}); serve it with another engine"
            )


def _cpu_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""
