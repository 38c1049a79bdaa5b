"""Whether an adapter's weights fit a base model, told from the files alone: for engines that do not look.

vLLM 0.32 copies the matrices of an adapter for a smaller model into a corner of its own, and answers with nonsense.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from journeyman.errors import InvalidInput

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
_LONGEST_HEADER = 100_000_000
"""As safetensors itself has it: a file that says more of itself is not one."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def check_fit(name: str, folder: Path, base: Path) -> None:
    """InvalidInput unless every matrix in `folder` belongs to a layer of the model in `base` and holds numbers only."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise InvalidInput(f"adapter {name!r}: there is no {WEIGHTS} in {folder}; pickled weights are not read")
    shapes = {
        key.removesuffix(".weight"): tensor.shape
        for file in base.glob("*.safetensors")
        for key, tensor in _header(file)[1].items()
    }
    start, tensors = _header(path)
    for key, tensor in tensors.items():
        _check_shape(name, key, tensor, shapes)
    with path.open("rb") as file:
        for key, tensor in tensors.items():
            file.seek(start + tensor.start)
            if not _all_finite(file.read(tensor.end - tensor.start), tensor.kind):
                raise InvalidInput(f"adapter {name!r}: {key} holds values that are not finite numbers")


def _check_shape(name: str, key: str, tensor: _Tensor, shapes: dict[str, tuple[int, ...]]) -> None:
    layer, _, matrix = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".lora_")
    if matrix not in ("A", "B") or tensor.kind not in _BYTES or len(tensor.shape) != 2:
        raise InvalidInput(f"adapter {name!r} holds weights that are not LoRA matrices: {key} ({tensor.kind})")
    outer = tensor.shape[1] if matrix == "A" else tensor.shape[0]
    expected = shapes.get(layer, (0, 0))
    if outer != expected[1 if matrix == "A" else 0]:
        raise misfit(name, layer, unknown=layer not in shapes)


def misfit(name: str, layer: str, *, unknown: bool) -> InvalidInput:
    """What to say of an adapter for a layer that this base model does not have, or has in another shape."""
    has = f"it has no layer {layer} that could be adapted" if unknown else f"its layer {layer} has another shape"
    return InvalidInput(f"adapter {name!r} does not fit this base model: {has}. It was trained on another model")


def _header(file: Path) -> tuple[int, dict[str, _Tensor]]:
    """Where a safetensors file's data begin, and its tensors."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length) if length <= _LONGEST_HEADER else b"")
        tensors = {key: _tensor(entry) for key, entry in header.items() if key != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{file} is truncated or no safetensors file ({error}); copy it again") from error
    if file.stat().st_size != 8 + length + max((tensor.end for tensor in tensors.values()), default=0):
        raise InvalidInput(f"{file} is truncated or altered; copy it again")
    return 8 + length, tensors


def _tensor(entry: dict[str, Any]) -> _Tensor:
    start, end = entry["data_offsets"]
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end):
        raise ValueError("the places of its tensors are no numbers")
    return _Tensor(str(entry["dtype"]), tuple(entry["shape"]), start, end)


def _all_finite(data: bytes, kind: str) -> bool:
    """No infinity and no NaN: neither has a bit of its exponent at 0."""
    width = _BYTES[kind]
    high, next_byte = data[width - 1 :: width], data[width - 2 :: width]
    if kind == "F16":
        return not any(bytes([sign | low]) in high for sign in (0x7C, 0xFC) for low in range(4))
    return not any(next_byte[place] & 0x80 for byte in (0x7F, 0xFF) for place in _places(high, byte))


def _places(data: bytes, byte: int) -> Iterator[int]:
    place = data.find(byte)
    while place >= 0:
        yield place
        place = data.find(byte, place + 1)
