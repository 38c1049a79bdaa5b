"""Changes of the state as JSON patches (RFC 6902), the form in which models know them, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.worlds.state import MISSING, Change, Path, read

Patch = list[dict[str, Any]]
OPERATIONS = ("add", "replace", "remove")


def to_patch(changes: Sequence[Change], document: Mapping[str, Any]) -> Patch:
    """Changes of a document as operations; `document` is the one before them."""
    return [_operation(change, document) for change in changes]


def from_patch(patch: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> tuple[Change, ...]:
    """Operations as changes of this document. InvalidInput when one is malformed; whether it fits is checked later."""
    return tuple(_change(each, document) for each in patch)


def pointer(path: Path) -> str:
    """A path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _operation(change: Change, document: Mapping[str, Any]) -> dict[str, Any]:
    match change.op:
        case "append":
            return {"op": "add", "path": pointer((*change.path, "-")), "value": change.value}
        case "delete":
            return {"op": "remove", "path": pointer(change.path)}
        case "remove":
            items = read(document, change.path)
            return {"op": "remove", "path": pointer((*change.path, items.index(change.value)))}
    word = "add" if read(document, change.path) is MISSING else "replace"
    return {"op": word, "path": pointer(change.path), "value": change.value}


def _change(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Change:
    word, where = operation.get("op"), operation.get("path")
    if word not in OPERATIONS or not isinstance(where, str) or not where.startswith("/"):
        raise InvalidInput(
            f"an operation of a patch is {'/'.join(OPERATIONS)} with a path; not {dict(operation)!r:.80}"
        )
    if word != "remove" and "value" not in operation:
        raise InvalidInput(f"the operation {word} at {where} has no value")
    path: list[str | int] = []
    for text in where[1:].split("/"):
        part = text.replace("~1", "/").replace("~0", "~")
        held = read(document, tuple(path))
        if isinstance(held, list):
            if part == "-" and word == "add":
                return Change("append", tuple(path), operation["value"])
            if not part.isdigit():
                raise InvalidInput(f"{where} names no place in a list")
            path.append(int(part))
        else:
            path.append(part)
    return Change("delete", tuple(path)) if word == "remove" else Change("set", tuple(path), operation["value"])
