"""What a spool's folder is called by those who write into it: a program and a gateway find out that it is the same."""

import os
import secrets
from pathlib import Path

_FILE = "identity"


def identity_of(folder: Path, *, make: bool = False) -> str | None:
    """The folder's own random name; None where it has none, or where it cannot be read or made (`make`)."""
    path = folder / _FILE
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        if not make:
            return None
    name = secrets.token_hex(16)
    unfinished = folder / f".{_FILE}-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(name, encoding="ascii")
        try:
            os.link(unfinished, path)  # only one of several makers may win
        finally:
            unfinished.unlink(missing_ok=True)
    except FileExistsError:
        return identity_of(folder)
    except OSError:
        return None
    return name
