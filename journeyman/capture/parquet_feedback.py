"""Feedback, corrections and tags beside the exchanges of a Parquet export: one file, and back without loss.

It lies in `_feedback`: whoever reads the folder as one table of exchanges passes over names that begin so.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from journeyman.capture.imports.rows import encoded
from journeyman.errors import InvalidInput
from journeyman.records import Feedback, Tagging

FOLDER = "_feedback"
_TEXTS = ("kind", "id", "session", "exchange_id", "external_id", "name", "label", "reason", "correction", "by")
_AT_ONCE = 2_000


def write_feedback(arrow: Any, parquet: Any, said: Iterable[Feedback | Tagging], folder: Path) -> int:
    """Write these into the folder of an export; how many. Without any, no file is made."""
    schema = arrow.schema([
        *((name, arrow.string()) for name in _TEXTS), ("at", arrow.timestamp("us", tz="UTC")),
        ("turn", arrow.int32()), ("value", arrow.float64()), ("tags", arrow.map_(arrow.string(), arrow.string())),
    ])  # fmt: skip
    written, waiting, writer = 0, list[dict[str, Any]](), None
    try:
        for record in said:
            waiting.append(_row(record))
            written += 1
            if writer is None:
                (folder / FOLDER).mkdir(parents=True)
                writer = parquet.ParquetWriter(folder / FOLDER / "part-0.parquet", schema, compression="zstd")
            if len(waiting) >= _AT_ONCE:
                writer.write_table(arrow.Table.from_pylist(waiting, schema=schema))
                waiting.clear()
        if writer is not None and waiting:
            writer.write_table(arrow.Table.from_pylist(waiting, schema=schema))
    finally:
        if writer is not None:
            writer.close()
    return written


def read_feedback(parquet: Any, folder: Path) -> Iterator[Feedback | Tagging]:
    """What was said of the exchanges of an export; InvalidInput when a file is no such thing."""
    for file in sorted((folder / FOLDER).glob("*.parquet")):
        try:
            with parquet.ParquetFile(file) as opened:
                for batch in opened.iter_batches(batch_size=_AT_ONCE):
                    yield from map(_record, batch.to_pylist())
        except (OSError, ValueError, KeyError, TypeError) as problem:
            reason = str(problem).partition("\n")[0]
            raise InvalidInput(
                f"cannot read {file} ({reason}); the exchanges beside it and what was read before are imported"
            ) from problem


def _row(record: Feedback | Tagging) -> dict[str, Any]:
    row = record.model_dump(mode="python", exclude={"correction", "tags"})
    if isinstance(record, Tagging):
        return row | {"kind": "tags", "tags": list(record.tags.items())}
    correction = record.correction
    wire = None if correction is None else encoded(correction.model_dump(by_alias=True)).decode()
    return row | {"kind": "feedback", "correction": wire}


def _record(row: dict[str, Any]) -> Feedback | Tagging:
    kind = Tagging if row.pop("kind") == "tags" else Feedback
    fields = {name: value for name, value in row.items() if name in kind.model_fields and value is not None}
    if "correction" in fields:
        fields["correction"] = json.loads(fields["correction"])
    if "tags" in fields:
        fields["tags"] = dict(fields["tags"])
    return kind.model_validate(fields)
