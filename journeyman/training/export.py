"""Adapters merged into their base: a whole model that other programs can serve, as safetensors or as GGUF."""

import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel

from journeyman.engines.base_model import check_base
from journeyman.engines.local.network.borrowed import load_weights
from journeyman.errors import InvalidInput
from journeyman.rendering.chat import TEMPLATE_FILE, ChatTokenizer
from journeyman.training.checkpoints import writing_folder
from journeyman.training.gguf_file import write_gguf
from journeyman.training.policy import TOKENIZER_FILES
from journeyman.training.reward_model import HEAD

Format = Literal["safetensors", "gguf"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]


def merge(model_folder: Path, adapter_folder: Path) -> Any:
    """The base with the adapter added to its weights, in float32: W + scale·B·A."""
    base = load_weights(model_folder, torch.float32)
    adapted = PeftModel.from_pretrained(base, adapter_folder, autocast_adapter_dtype=False)
    return adapted.merge_and_unload(safe_merge=True)


def export_adapter(
    model_folder: Path, adapter_folder: Path, target: Path, to: Format = "safetensors", precision: Precision = "auto"
) -> Path:
    """Write the merged model to `target`, whole or not at all, with the template that the adapter learned under.

    As safetensors `target` is a folder like a pulled model's; as GGUF it is a file. `auto` is the base's own precision,
    in GGUF float16. InvalidInput when something is there already, when the base changed since the adapter learned, for
    a reward model, whose head neither format can hold, and for what the GGUF writer does not know.
    """
    if target.exists():
        raise InvalidInput(f"{target} is there already; nothing was written. Choose another --out, or move it away")
    if (adapter_folder / HEAD).is_file():
        raise InvalidInput("this is a reward model: its scalar head has no place in a language model's file")
    check_base(adapter_folder, model_folder, f"adapter {adapter_folder.name}")
    network = merge(model_folder, adapter_folder)
    tokenizer = ChatTokenizer(model_folder).for_adapter(adapter_folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    if to == "gguf":
        write_gguf(network, tokenizer, target, half=_gguf_is_half(precision))
        return target
    with writing_folder(target) as partial:
        network.to(_dtype(network, model_folder, precision)).save_pretrained(partial, safe_serialization=True)
        for name in TOKENIZER_FILES:
            if (model_folder / name).is_file():
                shutil.copy(model_folder / name, partial / name)
        (partial / TEMPLATE_FILE).write_text(tokenizer.template.text)
    return target


def _gguf_is_half(precision: Precision) -> bool:
    if precision == "bfloat16":
        raise InvalidInput("this writer makes GGUF files of float16 or float32; choose one of them with --precision")
    return precision != "float32"


def _dtype(network: Any, model_folder: Path, precision: Precision) -> torch.dtype:
    if precision == "auto":
        from transformers import AutoConfig

        own = getattr(AutoConfig.from_pretrained(model_folder, local_files_only=True), "dtype", None)
        return own if isinstance(own, torch.dtype) else torch.float32
    found: torch.dtype = getattr(torch, precision)
    return found
