"""What a model folder says of its network, as transformers reads it."""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from journeyman.engines.models import way_out
from journeyman.errors import InvalidInput, ModelFileBroken

_FILE = "config.json"
_NEEDED = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")
_MOST_SHOWN = 300


def read_config(folder: Path) -> Any:
    """The configuration of the text network in `folder`.

    ModelFileBroken when its file is missing or damaged, InvalidInput when it is of no network that we can compute.
    """
    try:
        written = json.loads((folder / _FILE).read_bytes())
    except OSError as error:
        raise ModelFileBroken(f"{folder.name}: {_FILE} is missing; {way_out(folder)}") from error
    except ValueError as error:
        raise ModelFileBroken(f"{folder.name}: {_FILE} is damaged ({error}); {way_out(folder)}") from error
    if not isinstance(written, dict) or not isinstance(written.get("model_type"), str):
        raise ModelFileBroken(f"{folder.name}: {_FILE} names no model_type; {way_out(folder)}")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    except Exception as error:  # Each architecture checks its own fields, or stumbles over them.
        raise InvalidInput(
            f"{folder.name}: transformers makes nothing of its {_FILE} ({shown(error)}); {way_out(folder)}"
        ) from error
    for name in _NEEDED:
        value = getattr(config, name, None)
        if not isinstance(value, int) or value < 1:
            raise InvalidInput(
                f"{folder.name}: {name} in its {_FILE} is {value!r}, and the local engine computes networks of so many "
                "layers of attention; serve it with another engine"
            )
    return config


def shown(error: Exception) -> str:
    """What an error of transformers' says, on one line."""
    said = " ".join(str(error).split())
    return said if len(said) <= _MOST_SHOWN else f"{said[:_MOST_SHOWN]} …"
