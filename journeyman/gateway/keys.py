"""Who calls: the gateway's own keys, looked up in memory, refreshed from the store while nobody waits for it."""

import asyncio
import contextlib
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from journeyman.errors import NotFound, Refused, UpstreamFailed
from journeyman.gateway.call import fingerprint
from journeyman.records import ApiKey, KeyRevocation, Limits, Record
from journeyman.store.store import Store

FRESH_SECONDS = 0.5
"""So often the store is looked at: what was added or revoked counts within a second."""
PATIENCE_SECONDS = 2.0
"""How long a call whose key is not known waits for the store."""
_BETWEEN_LOOKS_SECONDS = 0.1
"""However many strangers come, the store is looked at no more often than this."""
MOST_REMEMBERED = 10_000
"""Headers that were seen, good or bad; strangers may think of any number of them, and of any length."""
_LONGEST_REMEMBERED = 512
ALL_OF_PROVIDER = "/*"
_PAGE = 1000
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS = 43
"""Digits of base 62 that 32 bytes need."""

_NO_LIMITS = Limits()
R = TypeVar("R", bound=Record)

log = logging.getLogger(__name__)


class Unauthorized(Refused):
    """The caller has no key that is good. The words are the same whatever is wrong with it."""

    code = "invalid_api_key"
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "no valid API key was given, and nothing was sent on; send a key of this gateway as `Authorization: "
            "Bearer KEY` or as `x-api-key`. Whoever runs the gateway makes one with `journeyman keys add`"
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what is allowed to them. `known`: by a key of ours; else anybody, as no key is configured."""

    fingerprint: str
    name: str = "anyone"
    project: str = "default"
    aliases: frozenset[str] = frozenset()
    limits: Limits = _NO_LIMITS
    durable: bool = False
    on_hang_up: Literal["cancel", "drain"] = "cancel"
    known: bool = False
    metered: bool = False
    """Whether tokens or money are limited, so that `Limiter.used` wants to know them."""
    expires: float = math.inf
    """Seconds since 1970."""


def new_key() -> str:
    """A new key: `jm-` and 32 random bytes in base 62."""
    number, digits = secrets.randbits(256), ""
    for _ in range(_LETTERS):
        number, digit = divmod(number, 62)
        digits += _DIGITS[digit]
    return f"jm-{digits}"


def hash_of(key: str) -> str:
    """What is kept of a key: its SHA-256 in hex.

    A slow, salted hash protects secrets that can be guessed. A key is 256 random bits: nobody gets through them, fast
    hash or slow, and the slow one would be paid on every call.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def has_keys(store: Store) -> bool:
    """Whether callers must have a key: one was added at some time, even if it is revoked or expired by now."""
    return bool(store.find(ApiKey, limit=1))


class Keys:
    """The keys as the store had them half a second ago at most; as long as it does not answer, as it last told.

    No call waits for the store, but the first ones with a key that is not known; those share one look at it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, ApiKey] = {}
        self._revocations: dict[str, KeyRevocation] = {}
        self._good: dict[str, Caller] = {}
        self._seen: dict[str | None, Caller | None] = {}
        """By Authorization header: what a call costs is one look here. None: a stranger's."""
        self._told = False
        self._looked = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._last_error: str | None = None
        self._refused = 0

    async def start(self) -> None:
        """Read the keys, and go on to look for new ones. Until the store has told them once, nobody is let in."""
        await self._look(PATIENCE_SECONDS)
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=PATIENCE_SECONDS)

    def configured(self) -> bool:
        """Whether callers must have a key."""
        return bool(self._keys)

    async def check(self, authorization: str | None) -> Caller:
        """Who calls, told from the Authorization header (`Bearer KEY`).

        Unauthorized unless the key is good; anybody is, as long as no key is configured. UpstreamFailed (503) as long
        as the store has not told even once which keys there are.
        """
        caller = self._seen.get(authorization)
        if caller is None:
            caller = await self._look_up(authorization)
        if caller.expires <= time.time():
            self._refused += 1
            raise Unauthorized
        return caller

    def allows(self, caller: Caller, model: str) -> None:
        """NotFound, as if the model did not exist, unless the caller may ask for it."""
        if caller.aliases and not _may_ask(caller.aliases, model):
            raise NotFound("model", model[:100], caller.aliases)

    def visible(self, caller: Caller, listing: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The entries of `GET /v1/models` that the caller may ask for.

        Of a provider's models, which are listed as `provider/*`, those appear that the key names.
        """
        if not caller.aliases:
            return list(listing)
        shown = []
        for entry in listing:
            name = entry["id"]
            if _may_ask(caller.aliases, name):
                shown.append(entry)
            elif name.endswith(ALL_OF_PROVIDER):
                mine = sorted(alias for alias in caller.aliases if alias.startswith(name[:-1]))
                shown += [{**entry, "id": alias} for alias in mine]
        return shown

    def report(self) -> dict[str, Any]:
        """How many keys are good and were refused, and why the store could not be asked, for `/healthz`."""
        return {"keys": len(self._good), "refused": self._refused, "last_error": self._last_error}

    async def _look_up(self, authorization: str | None) -> Caller:
        if not self._told:
            await self._look(PATIENCE_SECONDS)
        if not self._told:
            raise UpstreamFailed(
                "the gateway cannot read its keys, because the store does not answer; nothing was sent on. "
                "Look at /healthz, then try again",
                503,
                FRESH_SECONDS,
            )
        if not self._keys:
            anyone = Caller(fingerprint(authorization or ""))
            self._remember(authorization, anyone)
            return anyone
        caller = self._known(authorization)
        if caller is None and authorization not in self._seen and _token(authorization):
            await self._look(PATIENCE_SECONDS)
            caller = self._known(authorization)
        self._remember(authorization, caller)
        if caller is None:
            self._refused += 1
            raise Unauthorized
        return caller

    def _known(self, authorization: str | None) -> Caller | None:
        # Comparing in constant time would protect nothing: what is looked up is a hash, and how many of its digits
        # agree with another's says nothing about the key.
        token = _token(authorization)
        return self._good.get(hash_of(token)) if token else None

    def _remember(self, authorization: str | None, caller: Caller | None) -> None:
        if authorization is not None and len(authorization) > _LONGEST_REMEMBERED:
            return
        while len(self._seen) >= MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[authorization] = caller

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(FRESH_SECONDS)
            await self._look(None)

    async def _look(self, patience: float | None) -> None:
        """Wait for a look at the store, at most so many seconds; all who wait share one."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._refresh())
        await asyncio.wait({self._looking}, timeout=patience)

    async def _refresh(self) -> None:
        await asyncio.sleep(max(0.0, self._looked + _BETWEEN_LOOKS_SECONDS - time.monotonic()))
        self._looked = time.monotonic()
        try:
            keys, revocations = await asyncio.to_thread(self._read)
        except Exception as error:  # whatever the store raises: the keys that are known go on
            said = f"{type(error).__name__}: the store did not tell the keys; those that are known go on"
            if said != self._last_error:
                log.warning("%s", said)
            self._last_error = said
            return
        finally:
            self._looking = None
        self._last_error, self._told = None, True
        if keys is not self._keys or revocations is not self._revocations:
            self._take(keys, revocations)

    def _read(self) -> tuple[dict[str, ApiKey], dict[str, KeyRevocation]]:
        """What the store has now; in one go, as each turn of another thread holds up the calls."""
        keys = _newer(self._store, ApiKey, self._keys)
        return keys, _newer(self._store, KeyRevocation, self._revocations)

    def _take(self, keys: dict[str, ApiKey], revocations: dict[str, KeyRevocation]) -> None:
        self._keys, self._revocations = keys, revocations
        revoked = {each.fingerprint for each in revocations.values()}
        self._good = {key.hash: _caller(key) for key in keys.values() if key.fingerprint not in revoked}
        self._seen = {}


def _newer(store: Store, kind: type[R], known: dict[str, R]) -> dict[str, R]:
    """All records of the kind, by id; `known` itself when nothing has changed. Only what is new is read."""
    count = store.count(kind).get("", 0)
    if count == len(known) and (not count or all(record.id in known for record in store.find(kind, limit=1))):
        return known
    found: dict[str, R] = {}
    after = None
    while page := store.find(kind, after=after, limit=_PAGE):
        found.update((record.id, record) for record in page)
        if len(known) + sum(id not in known for id in found) == count:
            return known | found
        after = page[-1].id
    return found


def _caller(key: ApiKey) -> Caller:
    limits = key.limits
    counted = (limits.tokens_per_minute, limits.monthly_tokens, limits.monthly_usd)
    return Caller(
        key.fingerprint,
        key.name,
        key.project,
        frozenset(key.aliases),
        limits,
        key.durable,
        key.on_hang_up,
        known=True,
        metered=any(limit is not None for limit in counted),
        expires=key.expires.timestamp() if key.expires else math.inf,
    )


def _token(authorization: str | None) -> str:
    kind, _, token = (authorization or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and len(token) <= _LONGEST_REMEMBERED else ""


def _may_ask(aliases: frozenset[str], model: str) -> bool:
    provider, slash, _ = model.partition("/")
    return model in aliases or (slash != "" and f"{provider}{ALL_OF_PROVIDER}" in aliases)
