"""Exchanges as Parquet files by day (`date=2026-07-01/part-0.parquet`, zstd), and back, without any loss.

One row an exchange: what lists and analyses need in typed columns; messages, tools, choices, sampling and attempts as
JSON strings; token ids and log-probabilities, one list a choice, as numbers. Needs pyarrow (the extra `parquet`).
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from journeyman.capture.imports.rows import encoded
from journeyman.capture.parquet_feedback import FOLDER, read_feedback, write_feedback
from journeyman.errors import InvalidInput
from journeyman.records import Feedback, Tagging, WireExchange, new_id

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS_AT_ONCE = 2_000
_JSON = ("messages", "tools", "sampling", "choices", "attempts")
_TOKENS = ("prompt", "reply", "logprobs")
_COLUMN_OF = {"prompt": "prompt_ids", "reply": "reply_ids", "logprobs": "logprobs"}
_COUNTS = ("prompt_tokens", "completion_tokens", "cached_prompt_tokens")
_NUMBERS = ("cost_usd", "latency", "time_to_first_token")


class Written(NamedTuple):
    """How much an export holds."""

    exchanges: int
    days: int
    feedback: int


def write_parquet(
    exchanges: Iterable[WireExchange], folder: Path, said: Callable[[], Iterable[Feedback | Tagging]] = tuple
) -> Written:
    """Write exchanges, those of one day one after the other, into an empty folder, and what was said of them.

    `said` is asked when all exchanges are written.
    InvalidInput when the folder holds something already, or when pyarrow is missing.
    """
    arrow, parquet = _arrow()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} exists and is not an empty folder; nothing was written. Choose another with -o")
    # Under another name until it is whole, so that a half-written folder is never taken for an export.
    unfinished = folder.with_name(f".{folder.name}.{new_id()}.part")
    try:
        rows, days = _write_days(arrow, parquet, exchanges, unfinished)
        unfinished.mkdir(parents=True, exist_ok=True)
        feedback = write_feedback(arrow, parquet, said(), unfinished)
        unfinished.replace(folder)
    except OSError as problem:
        raise InvalidInput(f"cannot write {folder} ({problem}); nothing half-written was left") from problem
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Written(rows, days, feedback)


def _write_days(arrow: Any, parquet: Any, exchanges: Iterable[WireExchange], folder: Path) -> tuple[int, int]:
    schema, rows, days = _schema(arrow), 0, 0
    day, writer, waiting = "", None, []  # type: ignore[var-annotated]
    try:
        for exchange in exchanges:
            own = (_EPOCH + timedelta(microseconds=exchange.at)).strftime("%Y-%m-%d")
            if own != day or len(waiting) >= _ROWS_AT_ONCE:
                _write(arrow, writer, schema, waiting)
            if own != day:
                if writer is not None:
                    writer.close()
                day, days = own, days + 1
                writer = parquet.ParquetWriter(_part(folder, day), schema, compression="zstd")
            waiting.append(_row(exchange))
            rows += 1
        _write(arrow, writer, schema, waiting)
    finally:
        if writer is not None:
            writer.close()
    return rows, days


def read_parquet(path: Path) -> Iterator[WireExchange]:
    """The exchanges of a file, or of all `.parquet` files of a folder; InvalidInput when there is none to read."""
    _, parquet = _arrow()
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    files = [file for file in files if file.parent.name != FOLDER]
    if not files:
        raise InvalidInput(f"{path} holds no .parquet file; nothing was imported")
    for file in files:
        try:
            opened = parquet.ParquetFile(file)
        except (OSError, ValueError) as problem:
            raise InvalidInput(f"cannot read {file} ({problem}); what was imported before stays") from problem
        with opened:
            missing = sorted(set(_NAMES) - set(opened.schema_arrow.names))
            if missing:
                raise InvalidInput(f"{file} is no export of exchanges: it lacks the columns {', '.join(missing)}")
            for batch in opened.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(_NAMES)):
                yield from map(_exchange, batch.to_pylist())


def feedback_beside(path: Path) -> Iterator[Feedback | Tagging]:
    """What an export holds that was said of its exchanges; nothing for a single file."""
    return read_feedback(_arrow()[1], path)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise InvalidInput(
            "Parquet needs pyarrow, which is not installed; nothing was done. "
            "Install it: pip install 'journeyman[parquet]'"
        ) from problem
    return pyarrow, pyarrow.parquet


_TEXTS = tuple(
    name
    for name in WireExchange.__slots__
    if name not in (*_JSON, *_COUNTS, *_NUMBERS, "at", "status", "parser", "tags")
)
_FIRST = ("id", "at", *(name for name in _TEXTS if name != "id"))
_NAMES = (*_FIRST, "status", "parser", *_COUNTS, *_NUMBERS, "tags", *_JSON, *_COLUMN_OF.values())


def _schema(arrow: Any) -> Any:
    types = {name: arrow.string() for name in (*_TEXTS, *_JSON)}
    types |= {name: arrow.int64() for name in _COUNTS} | {name: arrow.float64() for name in _NUMBERS}
    types |= {"at": arrow.timestamp("us", tz="UTC"), "status": arrow.int32(), "parser": arrow.int32()}
    types |= {"tags": arrow.map_(arrow.string(), arrow.string())}
    types |= {name: arrow.list_(arrow.list_(arrow.int32())) for name in ("prompt_ids", "reply_ids")}
    # Doubles, because on-policy training compares log-probabilities to their last bit.
    types["logprobs"] = arrow.list_(arrow.list_(arrow.float64()))
    return arrow.schema([(name, types[name]) for name in _NAMES])


def _part(folder: Path, day: str) -> Path:
    place = folder / f"date={day}"
    place.mkdir(parents=True, exist_ok=True)
    # A filtered or resumed order may come to a day again.
    return place / f"part-{len(list(place.iterdir()))}.parquet"


def _write(arrow: Any, writer: Any, schema: Any, waiting: list[dict[str, Any]]) -> None:
    if waiting:
        writer.write_table(arrow.Table.from_pylist(waiting, schema=schema))
        waiting.clear()


def _row(exchange: WireExchange) -> dict[str, Any]:
    row = {name: getattr(exchange, name) for name in WireExchange.__slots__}
    for name in _TEXTS:
        if isinstance(row[name], str) and not row[name].isascii():
            row[name] = row[name].encode("utf-8", "replace").decode()
    tokens = [choice.get("tokens") for choice in exchange.choices]
    row["choices"] = [{name: each for name, each in choice.items() if name != "tokens"} for choice in exchange.choices]
    row |= {name: encoded(row[name]).decode() for name in _JSON}
    row["tags"] = [(_plain(name), _plain(each)) for name, each in exchange.tags.items()]
    for name in _TOKENS:
        known = [None if each is None else list(each[name]) for each in tokens]
        row[_COLUMN_OF[name]] = known if any(each is not None for each in known) else None
    return row


def _exchange(row: dict[str, Any]) -> WireExchange:
    fields = {name: row[name] for name in WireExchange.__slots__}
    fields["at"] = (row["at"] - _EPOCH) // timedelta(microseconds=1)
    fields |= {name: _read(row[name]) for name in _JSON}
    fields["tags"] = dict(row["tags"])
    for number, choice in enumerate(fields["choices"]):
        lists = {name: row[_COLUMN_OF[name]] for name in _TOKENS}
        known = lists["reply"] is not None and lists["reply"][number] is not None
        choice["tokens"] = {name: each[number] for name, each in lists.items()} if known else None
    return WireExchange(**fields)


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _read(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        # Half surrogate pairs, which orjson refuses; they are kept as they came.
        return json.loads(text)
