"""What stands where a secret stood: a name that is always the same for the same value, or the value under a key."""

import base64
import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import Any

from journeyman.errors import InvalidInput

KEY_BYTES = 32
PLACEHOLDER = re.compile(r"\[([a-z][a-z0-9_-]{0,39}):(?:[a-p]{8}|~([A-Za-z0-9_-]{22,}))\]")
"""A replacement: `[email:…]` with eight letters, or with `~` and the encrypted value."""
_LETTERS = bytes.maketrans(b"0123456789abcdef", b"ghijklmnopabcdef")
"""Names have no digits: no rule for numbers may take one for a number."""


class Names:
    """Gives values their replacements. The same key gives the same value the same replacement, on any machine.

    With `reversible` the value itself stands in the replacement, encrypted (AES-SIV, which is deterministic), and
    `reveal` gives it back; InvalidInput when the package for that is missing.
    """

    def __init__(self, key: bytes | None, *, reversible: bool = False) -> None:
        if reversible and key is None:
            raise InvalidInput(
                "reversible redaction needs a key; without one nobody could reverse it. Nothing was changed. "
                "Set JOURNEYMAN_REDACTION__KEY or redaction.key_file"
            )
        self._key = key or os.urandom(KEY_BYTES)
        self._cipher = _cipher(self._key) if reversible else None

    def replacement(self, rule: str, value: str) -> str:
        """`[rule:…]` for a value."""
        if self._cipher is not None:
            return f"[{rule}:~{_text(self._cipher.encrypt(value.encode('utf-8', 'replace'), [rule.encode()]))}]"
        mark = hmac.digest(self._key, f"{rule}\0{value}".encode("utf-8", "replace"), "sha256")[:4].hex()
        return f"[{rule}:{mark.encode().translate(_LETTERS).decode()}]"


def reveal(text: str, key: bytes) -> str:
    """The text with every replacement undone that this key can undo; the others stay."""
    cipher = _cipher(key)

    def undone(match: re.Match[str]) -> str:
        if match[2] is None:
            return match[0]
        try:
            sealed = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
            return bytes(cipher.decrypt(sealed, [match[1].encode()])).decode()
        except (_invalid_tag(), ValueError):
            return match[0]

    return PLACEHOLDER.sub(undone, text)


def read_key(given: str | None, file: Path | None, home: Path) -> bytes:
    """The key of this installation: as given, or from a file; else one that is made and kept beside the store.

    `redaction.key` in the home folder is readable by its owner only. Whoever loses the key loses nothing but that
    the same value gets another name from then on, and that what is reversible can no longer be reversed.
    """
    if given is None and file is not None:
        if not file.is_file():
            raise InvalidInput(
                f"redaction.key_file names {file}, which is no file; nothing was redacted. Make it first"
            )
        given = file.read_text().strip()
    if given is not None:
        if len(given) < 16:
            raise InvalidInput("the redaction key is shorter than 16 characters; take 32 random ones")
        return hashlib.blake2b(given.encode(), digest_size=KEY_BYTES, person=b"journeyman-key").digest()
    return _kept_key(home / "redaction.key")


def _kept_key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(os.urandom(KEY_BYTES).hex())
    try:
        # Of two processes that begin at once, the first one's key stands, and it is never there in half.
        os.link(fresh, path)
    except FileExistsError:
        return bytes.fromhex(path.read_text().strip())
    finally:
        fresh.unlink()
    return bytes.fromhex(path.read_text().strip())


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    except ImportError as error:
        raise InvalidInput(
            "reversible redaction needs the package cryptography; nothing was changed. Install journeyman[redaction]"
        ) from error
    return AESSIV(hashlib.blake2b(key, digest_size=64, person=b"journeyman-siv").digest())


def _invalid_tag() -> type[Exception]:
    from cryptography.exceptions import InvalidTag

    return InvalidTag


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
