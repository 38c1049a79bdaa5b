"""LoRA adapters in PEFT's format, read for serving; what we cannot honour exactly is refused, never approximated."""

import hashlib
import json
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from journeyman.engines.fit import misfit
from journeyman.engines.local.network.sites import Site
from journeyman.errors import InvalidInput, ModelFileBroken

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
MOST_RANKS = 256
_PREFIX = "base_model.model."
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_ALIGNED = 32
"""Numbers in 64 bytes or more, so that every matrix starts at a cache line."""
_SERVED: dict[str, tuple[Any, ...]] = {
    # Field by field, what leaves LoRA's formula and the base weights as they are. Where a field allows nothing but
    # absence, what it asks for changes the result: magnitudes, whole layers, biases, other ranks.
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian", "eva", "orthogonal"),
    "use_dora": (),
    "modules_to_save": (),
    "layer_replication": (),
    "rank_pattern": (),
    "alpha_pattern": (),
    "trainable_token_indices": (),
    "alora_invocation_tokens": (),
    "fan_in_fan_out": (),
    "use_qalora": (),
    "use_bdlora": (),
    "arrow_config": (),
    "kasa_config": (),
    "monteclora_config": (),
}


@dataclass(frozen=True, slots=True)
class LowRank:
    """One adapter at one site: `down` [rank, inputs] of all its layers, and for each layer its `up` [rank, outputs].

    `ups` are (up, first row of `down` that belongs to it, first column of the site's output it adds to); the adapter's
    scaling is folded into `up`.
    """

    down: torch.Tensor
    ups: tuple[tuple[torch.Tensor, int, int], ...]


@dataclass(slots=True, eq=False)
class LoraWeights:
    """One adapter in memory. `sites[n]` is what it adds at the network's n-th site; None: nothing.

    `digest` is the hash of its files: two adapters are the same exactly when their digests are.
    """

    name: str
    folder: Path
    digest: str
    rank: int
    sites: tuple[LowRank | None, ...]
    bytes: int
    pointers: Any = None
    """What the C kernels read: made by them, kept here."""


def read_lora(
    name: str, folder: Path, sites: Sequence[Site], dtype: torch.dtype, most_ranks: int = MOST_RANKS
) -> LoraWeights:
    """The adapter in `folder` for a network with these `sites`.

    Each file is read once, so that the digest is that of the very numbers that are served.
    InvalidInput when it belongs to another model or needs what the engine does not do.
    """
    settings = _settings(name, folder)
    config = _config(name, settings)
    rank, alpha = _positive(name, config, "r"), _positive(name, config, "lora_alpha")
    if rank > most_ranks:
        raise InvalidInput(
            f"adapter {name!r} has rank {rank}, and this engine serves ranks up to {most_ranks}; train one of a lower "
            "rank, or merge it into its base model"
        )
    scaling = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    contents = _contents(name, folder)
    # A third of the time is the hash's; it needs neither the interpreter nor this processor.
    with ThreadPoolExecutor(1) as beside:
        hashing = beside.submit(hashlib.sha256, contents)
        placed, size = _placed(name, int(rank), scaling, contents, sites, dtype)
    digest = hashing.result()
    digest.update(settings)
    return LoraWeights(name, folder, digest.hexdigest(), int(rank), placed, size)


def _placed(
    name: str, rank: int, scaling: float, contents: memoryview, sites: Sequence[Site], dtype: torch.dtype
) -> tuple[tuple[LowRank | None, ...], int]:
    """What the file's matrices add at each site, laid out for the kernels, and their size in bytes."""
    shapes = {member.name: (site.inputs, member.outputs) for site in sites for member in site.members}
    pairs = _pairs(name, rank, _tensors(name, contents), shapes)
    if not pairs:
        raise InvalidInput(f"adapter {name!r} holds no LoRA matrices")
    arena = _Arena(sum(down.numel() + up.numel() + 2 * _ALIGNED for down, up in pairs.values()), dtype)
    placed = tuple(_low_rank(site, pairs, scaling, arena) for site in sites)
    if not arena.is_finite():
        layer = next((layer for layer, pair in pairs.items() if not all(each.isfinite().all() for each in pair)), "it")
        raise InvalidInput(
            f"adapter {name!r}: {layer} holds values that are not finite numbers; train it again, or take an earlier "
            "checkpoint"
        )
    return placed, arena.bytes


def _pairs(
    name: str, rank: int, tensors: dict[str, torch.Tensor], shapes: dict[str, tuple[int, int]]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(A, B) of every adapted layer, as PEFT stores them; `shapes` are (inputs, outputs) of the layers there are."""
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for key in [key for key in tensors if key.endswith(".lora_A.weight")]:
        layer = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        down, up = tensors.pop(key), tensors.pop(key.replace("lora_A", "lora_B"), None)
        if up is None:
            raise ModelFileBroken(
                f"adapter {name!r}: {layer} has an A matrix and no B matrix; train or export it again"
            )
        expected = shapes.get(layer)
        if expected is None or (down.shape, up.shape) != ((rank, expected[0]), (expected[1], rank)):
            raise misfit(name, layer, unknown=expected is None)
        pairs[layer] = (down, up)
    if tensors:
        raise InvalidInput(
            f"adapter {name!r} holds weights that are not LoRA matrices: {', '.join(sorted(tensors)[:3])}"
        )
    return pairs


class _Arena:
    """One piece of memory for all matrices of an adapter: it is given back as one, too."""

    def __init__(self, numbers: int, dtype: torch.dtype) -> None:
        self._memory = torch.zeros(numbers, dtype=dtype)
        self._used = 0
        self.bytes = self._memory.nbytes

    def is_finite(self) -> bool:
        """Whether all of it is numbers: a sum of anything else is none, and no model's weights add up to too much."""
        return bool(self._memory.sum().isfinite())

    def take(self, rows: int, columns: int) -> torch.Tensor:
        """A matrix of zeros that starts at a cache line."""
        first = self._used
        self._used = first + -(-rows * columns // _ALIGNED) * _ALIGNED
        return self._memory[first : first + rows * columns].view(rows, columns)


def _low_rank(
    site: Site, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], scaling: float, arena: _Arena
) -> LowRank | None:
    members = [member for member in site.members if member.name in pairs]
    if not members:
        return None
    down = arena.take(sum(len(pairs[member.name][0]) for member in members), site.inputs)
    ups, first = [], 0
    for member in members:
        a, b = pairs[member.name]
        down[first : first + len(a)] = a
        up = arena.take(len(a), member.outputs)
        up.copy_((b.float() * scaling).t())
        ups.append((up, first, member.column))
        first += len(a)
    return LowRank(down, tuple(ups))


def _settings(name: str, folder: Path) -> bytes:
    path = folder / CONFIG_FILE
    if not path.is_file():
        where = "is missing in its folder" if folder.is_dir() else f"cannot be read, for there is no folder {folder}"
        raise ModelFileBroken(f"adapter {name!r}: {CONFIG_FILE} {where}; train or export it again")
    return path.read_bytes()


def _config(name: str, settings: bytes) -> dict[str, Any]:
    try:
        config = json.loads(settings)
    except (ValueError, RecursionError) as error:
        raise ModelFileBroken(f"adapter {name!r}: {CONFIG_FILE} is not valid JSON ({error}); copy it again") from error
    kind = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
    if kind != "LORA":
        raise InvalidInput(f"adapter {name!r} is of type {kind}, and the local engine serves LoRA only")
    for field, served in _SERVED.items():
        asked = config.get(field)
        if asked and asked not in served:
            raise InvalidInput(f"adapter {name!r} uses {field}={asked!r}, which the local engine cannot serve exactly")
    return dict(config)


def _positive(name: str, config: dict[str, Any], field: str) -> float:
    value = config.get(field)
    if not isinstance(value, int | float) or value <= 0:
        raise InvalidInput(f"adapter {name!r}: {CONFIG_FILE} says {field}={value!r}; it must be a number above 0")
    return value


def _contents(name: str, folder: Path) -> memoryview:
    """The bytes of the adapter's weights, until this thread reads the next adapter."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        found = ", ".join(sorted(file.name for file in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise ModelFileBroken(
            f"adapter {name!r}: {WEIGHTS_FILE} is missing (there is: {found}); pickled weights are not read"
        )
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # Memory that was used before is read into several times as fast as new memory.
            if len(getattr(_reading, "buffer", b"")) < size:
                _reading.buffer = bytearray(size)
            return memoryview(_reading.buffer)[: file.readinto(memoryview(_reading.buffer)[:size])]
    except OSError as error:
        raise ModelFileBroken(f"adapter {name!r}: {WEIGHTS_FILE} cannot be read ({error}); copy it again") from error


_reading = threading.local()


def _tensors(name: str, contents: memoryview) -> dict[str, torch.Tensor]:
    """The matrices that lie in the bytes of a safetensors file; they are copied later, to where they are used."""
    try:
        length = int.from_bytes(contents[:8], "little")
        header = json.loads(bytes(contents[8 : 8 + length]))
        data = contents[8 + length :]
        found = {}
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            kind, shape, (start, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            if not 0 <= start < end <= len(data) or end - start != kind.itemsize * math.prod(shape):
                raise ValueError(f"{key} does not lie within the file")
            found[key] = torch.frombuffer(data, dtype=kind, count=math.prod(shape), offset=start).view(shape)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RuntimeError) as error:
        raise ModelFileBroken(
            f"adapter {name!r}: {WEIGHTS_FILE} is truncated or damaged ({error}); train or copy it again"
        ) from error
    return found
