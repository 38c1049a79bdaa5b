"""Finds the rows of kept datasets that hold erased conversations, and rewrites those datasets without them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from journeyman.datasets.cache import NodeCache
from journeyman.datasets.duplicates import essence
from journeyman.datasets.versions import Made, keep_dataset, load_rows
from journeyman.errors import InvalidInput
from journeyman.records import Dataset, Exchange, Message, Row
from journeyman.store.store import Store

ERASED = "erased"
"""Why rows were left out, where `forget` took them out of a dataset."""


class Said:
    """What erased exchanges said, as hashes, so that a row is known by its words wherever it came from."""

    def __init__(self, store: Store, ids: Iterable[str] = ()) -> None:
        """Begin with the ids of exchanges whose words are gone already."""
        self._store = store
        self._ids = set(ids)
        self._hashes: set[str] = set()
        self._asked: set[str] = set()

    def add(self, exchanges: Sequence[Exchange]) -> None:
        """Remember exchanges before they go."""
        for exchange in exchanges:
            self._ids.add(exchange.id)
            if any(message.role != "system" for message in exchange.messages):
                self._asked.add(essence(exchange.messages)[-1])
            messages = (*exchange.messages, *((exchange.reply,) if exchange.reply else ()))
            if messages:
                self._hashes.add(essence(messages)[-1])

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the erased exchanges."""
        return frozenset(self._ids)

    def is_in(self, row: Row) -> bool:
        """Whether a row comes from one of the exchanges, or begins with all that one of them said.

        A row whose own exchange is still kept stays: somebody else may have said the same.
        """
        if row.source in self._ids:
            return True
        same = self._hashes and not self._hashes.isdisjoint(essence(row.messages))
        return bool(same) and self._store.get(Exchange, row.source) is None

    def begins(self, messages: Sequence[Message]) -> bool:
        """Whether a conversation begins with the whole request of one of the exchanges, whatever was replied to it."""
        return bool(self._asked) and not self._asked.isdisjoint(essence(messages))


class Holding(NamedTuple):
    """A dataset that holds rows of what was erased; `unreadable` says why it could not be looked into."""

    dataset: Dataset
    rows: int
    unreadable: str = ""


def datasets_holding(store: Store, said: Said) -> list[Holding]:
    """The kept datasets with rows of what was erased, newest first, and those whose file cannot be read."""
    found: list[Holding] = []
    looked: set[str] = set()
    for dataset in store.find(Dataset):
        # Building the same rows again makes another record of the same file.
        if dataset.path in looked or not Path(dataset.path).exists():
            continue
        looked.add(dataset.path)
        try:
            rows = sum(said.is_in(row) for row in load_rows(dataset))
        except InvalidInput as problem:
            found.append(Holding(dataset, 0, str(problem)))
            continue
        if rows:
            found.append(Holding(dataset, rows))
    return found


def rewrite_without(store: Store, dataset: Dataset, said: Said) -> Dataset | None:
    """A new version of the dataset without the rows of what was erased; None when no row is left.

    The old version's file is removed. Its record stays: runs and adapters name it, and it holds nobody's words.
    """
    rows = [row for row in load_rows(dataset) if not said.is_in(row)]
    folder = Path(dataset.path).parent
    kept = None
    if rows:
        erased = dataset.train_rows + dataset.validation_rows - len(rows)
        before = {reason: times for reason, times in dataset.reasons.items() if reason != ERASED}
        # A record from before reasons were kept has their sum alone.
        untold = dataset.left_out - sum(dataset.reasons.values())
        reasons = before | {ERASED: dataset.reasons.get(ERASED, 0) + erased + untold}
        made = Made(**{field: getattr(dataset, field) for field in Made._fields} | {"reasons": reasons})
        kept = keep_dataset(store, folder, dataset.name, rows, made)
    Path(dataset.path).unlink(missing_ok=True)
    return kept


def purge_nodes(folder: Path, said: Said) -> int:
    """Remove what building datasets in `folder` has kept of what was erased; how many files and answers went.

    Nothing is lost: the next build makes those nodes again, without it.
    """
    return NodeCache(folder).purge(said.is_in, said.ids)
