"""Every adapter that was ever trained: kept under the hash of its weights, found by name or id, checked before use."""

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from journeyman.errors import DiskFull, InvalidInput, ModelFileBroken, NotFound
from journeyman.records import Adapter, Condition, Filter
from journeyman.store.store import Store

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
REWARD_CARD = "reward.json"
"""Beside the weights of a reward model, which scores conversations and answers nobody."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def register_adapter(
    store: Store,
    folder: Path,
    *,
    home: Path,
    name: str,
    base: str,
    rank: int,
    template: str,
    run_id: str | None = None,
    parent: str | None = None,
    pruning: tuple[str, ...] = (),
) -> Adapter:
    """Move a trained adapter's folder (PEFT's format) into `home/adapters/NAME@ID` and record it.

    The same weights registered twice are one adapter: the first record is returned. InvalidInput for an unusable
    name, ModelFileBroken for an incomplete folder; in both cases nothing was moved or recorded.
    """
    check_name(name)
    id = adapter_id(folder, template)
    _check_whole(folder / WEIGHTS)
    known = store.get(Adapter, id)
    if known is not None and Path(known.path).is_dir():
        check_adapter(known)
        return known
    target = home / "adapters" / f"{name}@{id}"
    _move(folder, target)
    adapter = Adapter(
        id=id,
        name=name,
        base=base,
        rank=rank,
        path=str(target),
        run_id=run_id,
        parent=parent,
        template=template,
        pruning=pruning,
    )
    store.put(adapter)
    return adapter


def check_name(name: str) -> None:
    """InvalidInput when an adapter cannot be called that: its name is also a folder's name."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"adapter name {name!r}: use letters, digits, '.', '_' and '-', at most 64, no leading sign")


def adapter_id(folder: Path, template: str) -> str:
    """16 hex digits of the SHA-256 over the weights, their config and the template's version."""
    digest = hashlib.sha256()
    for file in (WEIGHTS, CONFIG):
        try:
            with (folder / file).open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise ModelFileBroken(
                f"adapter folder {folder}: {file} cannot be read ({error.strerror}); train the adapter again"
            ) from error
    digest.update(template.encode())
    return digest.hexdigest()[:16]


def check_adapter(adapter: Adapter) -> None:
    """ModelFileBroken unless the weights are there, whole, and the ones that were registered."""
    found = adapter_id(Path(adapter.path), adapter.template)
    if found != adapter.id:
        raise ModelFileBroken(
            f"adapter {adapter.name}@{adapter.id}: the files in {adapter.path} were altered or cut (their hash is "
            f"{found}); restore the folder from a backup, or train it again"
        )


def find_adapter(store: Store, name_or_id: str) -> Adapter:
    """The adapter with that id, else the newest of that name; NotFound lists the names that exist."""
    adapter = lookup(store, name_or_id)
    if adapter is None:
        raise NotFound("adapter", name_or_id, store.count(Adapter, by="name"))
    return adapter


def lookup(store: Store, name_or_id: str) -> Adapter | None:
    """The adapter with that id, else the newest of that name, else None."""
    return store.get(Adapter, name_or_id) or next(iter(list_adapters(store, name_or_id, limit=1)), None)


def list_adapters(store: Store, name: str | None = None, limit: int = 1000) -> list[Adapter]:
    """Adapters, of one name or all, newest first."""
    where = Filter(conditions=(Condition(field="name", operator="=", value=name),)) if name else None
    return list(store.find(Adapter, where, limit=limit))


def _check_whole(weights: Path) -> None:
    """A safetensors file begins with the length of a JSON header, and the header says how long the file must be."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 0 < length < 100_000_000 else b""
    try:
        tensors = json.loads(header)
        end = max((entry["data_offsets"][1] for key, entry in tensors.items() if key != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileBroken(f"{weights} is not a safetensors file; train the adapter again") from error
    size = weights.stat().st_size
    if size != 8 + length + end:
        raise ModelFileBroken(f"{weights} has {size} bytes instead of {8 + length + end}; train the adapter again")


def _move(folder: Path, target: Path) -> None:
    """All of the folder or none of it: a rename, or across file systems a copy that is renamed when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(folder, target)
        shutil.rmtree(folder)


def _copy(folder: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(folder, partial)
        os.rename(partial, target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if "No space left" in str(error):
            raise DiskFull(
                f"no space left for adapter {target.name}; the trained weights are still in {folder}, nothing "
                "half-written was left: free some space and register it again"
            ) from error
        raise
