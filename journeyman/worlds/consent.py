"""What worlds may do on this machine beside answering: nothing that somebody here has not agreed to.

Agreements lie in the folder that holds all worlds, so that no world can bring its own.
"""

import hashlib
from pathlib import Path

_FILE = ".trusted"


def agree(words: str, folder: Path) -> str:
    """Remember that exactly this may be done, a program's text or whom a model is asked of; its hash."""
    name = _hash(words)
    with (folder / _FILE).open("a", encoding="utf-8") as kept:
        kept.write(f"{name}\n")
    return name


def is_agreed(words: str, folder: Path) -> bool:
    """Whether somebody agreed to exactly this."""
    path = folder / _FILE
    return path.is_file() and _hash(words) in path.read_text(encoding="utf-8").split()


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()
