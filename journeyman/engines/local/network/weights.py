"""A network's weights from its safetensors files, each asked for once."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from journeyman.errors import ModelFileBroken

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class WeightFiles:
    """The tensors of a model folder by name, in one precision; `left` are those that nobody has asked for."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._folder, self._dtype = folder, dtype
        self._again = f"delete the folder and run `journeyman models pull {folder.name}` again"
        self._places = self._locate()
        self.left = set(self._places)
        self._open: dict[str, safe_open] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def take(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A tensor; ModelFileBroken when it is not there or cannot be read."""
        if name not in self._places:
            raise ModelFileBroken(f"{self._folder.name}: weights are not in its files, such as {name}; {self._again}")
        self.left.discard(name)
        try:
            file = self._places[name]
            if file not in self._open:
                self._open[file] = safe_open(self._folder / file, framework="pt")
            found: torch.Tensor = self._open[file].get_tensor(name)  # type: ignore[no-untyped-call]
        except (SafetensorError, OSError) as error:
            raise self._damaged(error) from error
        return found.to(dtype or self._dtype)

    def _locate(self) -> dict[str, str]:
        """In which file each tensor is."""
        try:
            if (self._folder / _INDEX).is_file():
                return dict(json.loads((self._folder / _INDEX).read_text())["weight_map"])
            with safe_open(self._folder / _SINGLE, framework="pt") as file:
                return dict.fromkeys(file.keys(), _SINGLE)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ModelFileBroken:
        return ModelFileBroken(
            f"{self._folder.name}: its weights are missing, truncated or damaged ({error}); {self._again}"
        )
