"""Files that records name: kept relative to the home folder, so that a copied or moved home finds its own."""

from pathlib import Path
from typing import Any

_HOME = "home:"
"""Before a path that begins in the home folder; any other path stands as it was given."""


def kept(body: dict[str, Any], home: Path | None) -> dict[str, Any]:
    """The body of a record as it is stored."""
    path = body.get("path")
    if home is None or not isinstance(path, str):
        return body
    for place, root in ((Path(path), home), (Path(path).absolute(), home.absolute())):
        if place.is_relative_to(root) and place != root:
            return {**body, "path": f"{_HOME}{place.relative_to(root).as_posix()}"}
    return body


def found(body: dict[str, Any], home: Path | None) -> dict[str, Any]:
    """The body of a record that was stored, with a path that leads to the file from here."""
    path = body.get("path")
    if home is None or not isinstance(path, str) or not path.startswith(_HOME):
        return body
    return {**body, "path": str(home / path.removeprefix(_HOME))}
