"""Keeps datasets under `NAME@VERSION`, where the version is the hash of the rows, and finds them again."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from journeyman.datasets.formats import as_lines, read_lines, write_whole
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Condition, Dataset, Filter, Row
from journeyman.records.dataset import NodeRun
from journeyman.store.store import Store
from journeyman.store.tables import to_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> None:
    """InvalidInput when a dataset cannot be called that: its name is also a file's name."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"a dataset cannot be named {name!r}; use letters, digits, dots, dashes and underscores")


class Made(NamedTuple):
    """How the rows of a dataset were made, as far as its record tells (see `Dataset`)."""

    where: Filter | None = None
    duplicates: int = 0
    reasons: Mapping[str, int] = MappingProxyType({})
    near_leaks: int = 0
    pruning: tuple[str, ...] = ()
    graph: str | None = None
    nodes: tuple[NodeRun, ...] = ()


def keep_dataset(store: Store, folder: Path, name: str, rows: Sequence[Row], made: Made = Made()) -> Dataset:
    """Write the rows to `folder/NAME@VERSION.jsonl` and put the record that names them in the store."""
    content = as_lines(rows)
    version = _version(content, made.pruning)
    path = folder / f"{name}@{version}.jsonl"
    write_whole(path, content)
    validation = sum(row.split == "validation" for row in rows)
    dataset = Dataset(
        name=name,
        version=version,
        train_rows=len(rows) - validation,
        validation_rows=validation,
        left_out=sum(made.reasons.values()),
        path=str(path),
        **made._asdict(),
    )
    store.put(dataset)
    return dataset


def find_dataset(store: Store, reference: str) -> Dataset:
    """The newest dataset of a `name`, or the one that `name@version` says; NotFound lists what exists."""
    name, _, version = reference.partition("@")
    wanted = {"name": name, **({"version": version} if version else {})}
    conditions = tuple(Condition(field=field, operator="=", value=value) for field, value in wanted.items())
    found = store.find(Dataset, Filter(conditions=conditions), limit=1)
    if found:
        return found[0]
    others = store.find(Dataset)
    versions = [f"{name}@{each.version}" for each in others if each.name == name]
    raise NotFound(
        "dataset", reference, versions or [each.name for each in others], "Build one: journeyman dataset build NAME"
    )


def load_rows(dataset: Dataset) -> list[Row]:
    """The dataset's rows; InvalidInput when the file is gone or is not what its version says."""
    title = f"dataset {dataset.name}@{dataset.version}"
    rebuild = "Import it again from the file it came from"
    if dataset.where is not None:
        rebuild = f"Build it again: journeyman dataset build {dataset.name} --where {str(dataset.where)!r}"
    elif dataset.graph is not None:
        rebuild = f"Build it again: journeyman dataset build {dataset.name} --graph FILE"
    elif dataset.nodes:
        rebuild = f"Build it again, with the same options: journeyman dataset build {dataset.name}"
    try:
        content = Path(dataset.path).read_bytes()
    except OSError as problem:
        raise InvalidInput(f"{title}: cannot read {dataset.path} ({problem.strerror}). {rebuild}") from problem
    found = _version(content, dataset.pruning)
    if found != dataset.version:
        raise InvalidInput(
            f"{title}: {dataset.path} was altered or cut short after it was written "
            f"(its rows hash to {found}). {rebuild}"
        )
    return read_lines(content)


def _version(content: bytes, pruning: Sequence[str]) -> str:
    # The same rows under other rules are another dataset: what is learned from it will be served otherwise.
    return hashlib.sha256(content + (to_json(list(pruning)).encode() if pruning else b"")).hexdigest()[:12]
