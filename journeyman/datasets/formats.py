"""Rows as JSON lines in OpenAI's chat fine-tuning format, ours and everybody's: `{"messages": […], "tools": […]}`.

Three more keys are written, and kept when they are there: `split`, `conversation` and `source`. Rows of preferences
add `rejected` (messages; `chosen` is then another word for `messages`), `label` (good or not) or `score`.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from journeyman.datasets.duplicates import essence
from journeyman.datasets.soundness import what_is_wrong
from journeyman.errors import BadRow, DiskFull, InvalidInput
from journeyman.records import Message, Row, Split, Tool, new_id
from journeyman.store.tables import to_json

W = TypeVar("W", Message, Tool)

_KEYS = ("messages", "tools", "rejected", "label", "score", "split", "conversation", "source")


def export_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows to a file, whole or not at all."""
    write_whole(path, as_lines(rows))


def import_rows(path: Path) -> list[Row]:
    """The rows of a file. InvalidInput names every line that cannot be used, and why.

    A line without `conversation` is a conversation of its own; one without `split` leaves it unset.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise InvalidInput(f"cannot read {path} ({problem.strerror})") from problem
    rows: list[Row] = []
    problems: list[BadRow] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            try:
                rows.append(_row(number, line, path.name))
            except BadRow as problem:
                problems.append(problem)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        counted = f"{len(problems)} of {len(rows) + len(problems)} rows"
        raise InvalidInput(f"{counted} of {path} cannot be used; nothing was imported:\n{listed}")
    if not rows:
        raise InvalidInput(f'{path} holds no rows; each line is one, such as {{"messages": [{{"role": "user", …}}]}}')
    return rows


def as_lines(rows: Iterable[Row]) -> bytes:
    """Rows as the bytes of a file."""
    return b"".join(to_json(_as_json(row)).encode() + b"\n" for row in rows)


def read_lines(content: bytes) -> list[Row]:
    """The rows of a file that `as_lines` made."""
    return [Row.model_validate(json.loads(line)) for line in content.split(b"\n") if line]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that, whatever happens, it is there complete or not at all.

    DiskFull when there is no space; InvalidInput when the folder cannot be written to.
    """
    unfinished = path.with_name(f"{path.name}.{new_id()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left to write {path} ({len(content):,} bytes); nothing half-written was left. "
                "Free some space and try again"
            ) from problem
        raise InvalidInput(f"cannot write {path} ({problem.strerror}); nothing was written") from problem
    finally:
        # After a replace there is nothing to remove; after a failure the part may not exist either.
        if unfinished.parent.is_dir():
            unfinished.unlink(missing_ok=True)


def _as_json(row: Row) -> dict[str, Any]:
    tools = {"tools": [tool.wire() for tool in row.tools]} if row.tools else {}
    origin = {"split": row.split, "conversation": row.conversation, "source": row.source}
    judged: dict[str, Any] = {"label": row.label, "score": row.score}
    if row.rejected is not None:
        judged["rejected"] = [message.wire() for message in row.rejected]
    judged = {key: value for key, value in judged.items() if value is not None}
    return {"messages": [message.wire() for message in row.messages], **tools, **judged, **origin}


def _row(number: int, line: bytes, file: str) -> Row:
    try:
        fields = json.loads(line)
    except ValueError as problem:
        raise BadRow(number, f"is not JSON ({problem})") from problem
    if not isinstance(fields, dict):
        raise BadRow(number, 'is not an object such as {"messages": […]}')
    if "chosen" in fields and "messages" not in fields:
        fields["messages"] = fields.pop("chosen")
    unknown = sorted(set(fields) - set(_KEYS))
    if unknown:
        raise BadRow(number, f"has unknown keys {', '.join(unknown)}; a row has {', '.join(_KEYS)}")
    if not isinstance(fields.get("messages"), list):
        raise BadRow(number, "has no list of messages")
    if fields.get("split", "train") not in get_args(Split):
        raise BadRow(number, f"has the split {fields['split']!r}; it is train or validation")
    messages = tuple(_read(Message, each, number, f"message {n}") for n, each in enumerate(fields["messages"], start=1))
    tools = tuple(_read(Tool, each, number, f"tool {n}") for n, each in enumerate(fields.get("tools") or [], start=1))
    wrong = what_is_wrong(messages)
    if wrong:
        raise BadRow(number, wrong)
    rejected = _rejected(fields.get("rejected"), messages, number)
    identity = hashlib.sha256("".join(essence(messages, tools)).encode()).hexdigest()[:16]
    origin = {"conversation": f"row-{identity}", "source": f"{file}:{number}"}
    given = {key: fields[key] for key in ("label", "score", "split", "conversation", "source") if key in fields}
    try:
        return Row.model_validate({**origin, **given, "messages": messages, "tools": tools, "rejected": rejected})
    except ValidationError as invalid:
        raise BadRow(number, _first(invalid)) from invalid


def _rejected(found: Any, messages: tuple[Message, ...], number: int) -> tuple[Message, ...] | None:
    """The conversation as it should not have gone; where only its reply is given, the question is put before it."""
    if found is None:
        return None
    if not isinstance(found, list) or not found:
        raise BadRow(number, "has `rejected`, but no list of messages in it")
    rejected = tuple(_read(Message, each, number, f"rejected message {n}") for n, each in enumerate(found, start=1))
    if rejected[0].role == "assistant" != messages[0].role:
        asked = max(at for at, message in enumerate(messages) if message.role != "assistant")
        rejected = messages[: asked + 1] + rejected
    wrong = what_is_wrong(rejected)
    if wrong:
        raise BadRow(number, f"as rejected: {wrong}")
    return rejected


def _read(kind: type[W], value: Any, number: int, what: str) -> W:
    try:
        return kind.model_validate(value)
    except ValidationError as problem:
        raise BadRow(number, f"{what}: {_first(problem)}") from problem


def _first(problem: ValidationError) -> str:
    error = problem.errors()[0]
    place = ".".join(str(step) for step in error["loc"])
    return f"{place}: {error['msg']}" if place else error["msg"]
