"""A network's weights from its safetensors files, each asked for once."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from journeyman.engines.models import way_out
from journeyman.errors import ModelFileBroken

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class WeightFiles:
    """The tensors of a model folder by name, in one precision; `left` are those that nobody has asked for."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._folder, self._dtype = folder, dtype
        self._places = self._locate()
        self.left = set(self._places)
        self._open: dict[str, safe_open] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def take(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A tensor; ModelFileBroken when it is not there or cannot be read."""
        if name not in self._places:
            where = f"{self._folder.name}: weights that config.json speaks of are not in its files, such as {name}"
            raise ModelFileBroken(f"{where}; {way_out(self._folder)}")
        self.left.discard(name)
        file = self._places[name]
        try:
            if file not in self._open:
                self._open[file] = safe_open(self._folder / file, framework="pt")
            found: torch.Tensor = self._open[file].get_tensor(name)  # type: ignore[no-untyped-call]
        except (SafetensorError, OSError) as error:
            raise self._damaged(file, error) from error
        return found.to(dtype or self._dtype)

    def unlike(self, how: str) -> ModelFileBroken:
        """What to raise where the weights are not those of the rest of the folder."""
        return ModelFileBroken(f"{self._folder.name}: {how}: they are not of one model; {way_out(self._folder)}")

    def _locate(self) -> dict[str, str]:
        """In which file each tensor is."""
        listed = (self._folder / _INDEX).is_file()
        try:
            if listed:
                return dict(json.loads((self._folder / _INDEX).read_text())["weight_map"])
            with safe_open(self._folder / _SINGLE, framework="pt") as file:
                return dict.fromkeys(file.keys(), _SINGLE)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(_INDEX if listed else _SINGLE, error) from error

    def _damaged(self, file: str, error: Exception) -> ModelFileBroken:
        return ModelFileBroken(
            f"{self._folder.name}: {file} is missing, truncated or damaged ({error}); {way_out(self._folder)}"
        )
