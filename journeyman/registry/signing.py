"""Signatures under compliance reports: that they are as somebody wrote them, and who that was.

With a shared secret (HMAC-SHA256) a signature proves that whoever made it knew the secret: everybody who can check it
could have made it, too. With a pair of keys (Ed25519, which needs the package `cryptography`) only the holder of the
private key could; anybody can check. Neither proves that what was measured is what runs in production.
"""

import hashlib
import hmac
from pathlib import Path

from journeyman.errors import InvalidInput, Refused
from journeyman.records.compliance import ComplianceReport, Signature

_FEWEST_BYTES = 16
_PEM = b"-----BEGIN"


def sign(report: ComplianceReport, key: Path) -> ComplianceReport:
    """The report, signed with the key of a file: an Ed25519 private key in PEM, else any secret of 16 bytes or more."""
    content, secret = _content(report), _read(key)
    if secret.startswith(_PEM):
        private = _private(secret, key)
        public = private.public_key().public_bytes_raw()
        signature = Signature(scheme="ed25519", key=_fingerprint(public), value=private.sign(content).hex())
    else:
        value = hmac.new(secret, content, hashlib.sha256).hexdigest()
        signature = Signature(scheme="hmac-sha256", key=_fingerprint(secret), value=value)
    return report.model_copy(update={"signature": signature})


def verify(report: ComplianceReport, key: Path) -> str:
    """What the signature proves, in words. Refused when it does not hold, or there is none."""
    signature, content = report.signature, _content(report)
    if signature is None:
        raise Refused(f"the report {report.id} is not signed; sign it with `journeyman comply sign`")
    secret = _read(key)
    if secret.startswith(_PEM) != (signature.scheme == "ed25519"):
        raise Refused(f"the report is signed with {signature.scheme}, for which {key} is no key")
    if signature.scheme == "hmac-sha256":
        value = hmac.new(secret, content, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(value, signature.value):
            raise Refused(f"the signature of report {report.id} does not hold: {_changed(signature, secret, key)}")
        return (
            f"report {report.id} is as it was signed with the secret {signature.key}. Everybody who knows the secret "
            "could have signed it"
        )
    _verify_public(report, signature, content, secret, key)
    return f"report {report.id} is as the holder of the private key {signature.key} signed it"


def _verify_public(report: ComplianceReport, signature: Signature, content: bytes, secret: bytes, key: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    public = _public(secret, key)
    try:
        public.verify(bytes.fromhex(signature.value), content)
    except (InvalidSignature, ValueError) as problem:
        raw = public.public_bytes_raw()
        raise Refused(
            f"the signature of report {report.id} does not hold: {_changed(signature, raw, key)}"
        ) from problem


def _content(report: ComplianceReport) -> bytes:
    return report.model_dump_json(exclude={"signature"}).encode()


def _fingerprint(key: bytes) -> str:
    """16 hex digits that name a key without telling a secret."""
    return hashlib.sha256(b"journeyman compliance key\0" + key).hexdigest()[:16]


def _changed(signature: Signature, key: bytes, path: Path) -> str:
    if _fingerprint(key) != signature.key:
        return f"it was made with another key ({signature.key}) than that of {path}"
    return "the report was changed after it was signed"


def _read(key: Path) -> bytes:
    try:
        secret = key.read_bytes()
    except OSError as problem:
        raise InvalidInput(f"the key {key} cannot be read ({problem.strerror}); nothing was signed") from problem
    if not secret.startswith(_PEM):
        secret = secret.strip()
    if len(secret) < _FEWEST_BYTES:
        raise InvalidInput(
            f"the key {key} holds {len(secret)} bytes, which can be guessed; at least {_FEWEST_BYTES} are needed. "
            "`openssl rand -hex 32` makes one"
        )
    return secret


def _private(secret: bytes, path: Path):  # type: ignore[no-untyped-def]
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    found = _load(secret, path)
    if not isinstance(found, Ed25519PrivateKey):
        raise InvalidInput(f"{path} holds no Ed25519 private key; `openssl genpkey -algorithm ed25519` makes one")
    return found


def _public(secret: bytes, path: Path):  # type: ignore[no-untyped-def]
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    found = _load(secret, path)
    if isinstance(found, Ed25519PrivateKey):
        return found.public_key()
    if not isinstance(found, Ed25519PublicKey):
        raise InvalidInput(f"{path} holds no Ed25519 key; `openssl pkey -pubout` writes the public one")
    return found


def _load(secret: bytes, path: Path) -> object:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError as problem:
        raise InvalidInput(
            "Ed25519 keys need the package cryptography: pip install cryptography, or sign with a shared secret"
        ) from problem
    try:
        return (
            load_pem_private_key(secret, None) if b"PRIVATE" in secret.split(b"\n")[0] else load_pem_public_key(secret)
        )
    except (ValueError, TypeError) as problem:
        raise InvalidInput(f"{path} is no PEM key without a password ({problem})") from problem
