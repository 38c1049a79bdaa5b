"""Which target a model's name means right now."""

import asyncio
import re
import time
from collections.abc import Collection
from typing import Any

from journeyman.errors import InvalidInput, JourneymanError, UpstreamFailed
from journeyman.records import Adapter, Promotion
from journeyman.registry.resolve import Answering, Target, answering, last_promotion
from journeyman.store.store import Store

FRESH_SECONDS = 0.5
MOST_KNOWN = 10_000
"""A provider's clients may think of any number of names."""
MOST_LETTERS = 512
_TRICK = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|://|(?:^|/)\.{0,2}(?:/|$)")
"""What is in no model's name, but in paths and headers that somebody would like to reach."""


class Names:
    """Resolves names off the event loop, and remembers them for as long as nothing was promoted or registered.

    That is looked up about every half second, for all names at once, and while calls come no call waits for it; so a
    promotion takes effect within a second.
    """

    def __init__(self, store: Store, base_models: Collection[str], providers: Collection[str]) -> None:
        self._store = store
        self._base_models, self._providers = base_models, providers
        self._known: dict[str, Answering] = {}
        self._before: dict[str, Answering] = {}
        """What was known before the last change: for when the store breaks behind it."""
        self._checked = float("-inf")
        self._version: object = None
        self._checking: asyncio.Task[None] | None = None

    def known(self, name: str, session: str) -> Target | None:
        """The target of a name that was asked for before and is still fresh; else None: ask `target`.

        Of an alias that is split, the one that answers this session; without one, give the call's id.
        """
        age = time.monotonic() - self._checked
        if age > FRESH_SECONDS:
            if age > 2 * FRESH_SECONDS:
                return None
            self._start_check()
        group = self._known.get(name)
        return None if group is None else group.pick(session)

    async def target(self, name: str, session: str) -> Target:
        """The target of a name; NotFound lists what exists. A broken store does not stop a name that was in use."""
        known = self.known(name, session)
        if known is not None:
            return known
        if len(name) > MOST_LETTERS or _TRICK.search(name):
            raise InvalidInput(f"model: {name[:100]!r} is no model's name; GET /v1/models lists those that exist")
        if time.monotonic() - self._checked > FRESH_SECONDS:
            await asyncio.shield(self._start_check())
            if name in self._known:
                return self._known[name].pick(session)
        return (await self._resolve(name)).pick(session)

    async def close(self) -> None:
        """Let a look-up that is under way come to its end."""
        if self._checking is not None:
            await asyncio.gather(self._checking, return_exceptions=True)

    def listing(self) -> list[dict[str, Any]]:
        """Every name, as `GET /v1/models` lists them."""
        entries = []
        for alias in self._store.count(Promotion, by="alias"):
            promotion = last_promotion(self._store, alias)
            if promotion is not None:
                entries.append(_entry(alias, "alias", promotion.at.timestamp(), target=promotion.target))
        for name in self._store.count(Adapter, by="name"):
            entries.append(_entry(name, "adapter", 0))
        entries += [_entry(name, "base", 0) for name in self._base_models]
        entries += [_entry(f"{provider}/*", "provider", 0) for provider in self._providers]
        return list({entry["id"]: entry for entry in reversed(entries)}.values())[::-1]

    def _start_check(self) -> asyncio.Task[None]:
        if self._checking is None:
            self._checking = asyncio.create_task(self._check())
        return self._checking

    async def _check(self) -> None:
        """See whether anything was promoted, registered or forgotten; what the names mean is then looked up anew."""
        asked = time.monotonic()
        try:
            version = await asyncio.to_thread(self._read_version)
            if version != self._version:
                self._before, self._known, self._version = self._before | self._known, {}, version
        except Exception:  # whatever the store raises: names in use go on; one that is new will tell
            self._version = None
        finally:
            self._checked, self._checking = asked, None

    def _read_version(self) -> object:
        counts = {kind: self._store.count(kind)[""] for kind in (Promotion, Adapter)}
        newest = [record.id for kind, count in counts.items() if count for record in self._store.find(kind, limit=1)]
        return newest, counts

    async def _resolve(self, name: str) -> Answering:
        known = self._known
        try:
            group = await asyncio.to_thread(answering, name, self._store, self._base_models, self._providers)
        except JourneymanError:
            self._before.pop(name, None)
            raise
        except Exception as error:  # whatever the store raises
            if name in self._before:
                return self._before[name]
            raise UpstreamFailed(
                f"the name {name!r} cannot be looked up, because the store does not answer ({type(error).__name__}); "
                "look at /healthz and at the disk, then try again",
                503,
            ) from error
        while len(known) >= MOST_KNOWN:
            del known[next(iter(known))]
        known[name] = group
        while len(self._before) > MOST_KNOWN:
            del self._before[next(iter(self._before))]
        return group


def _entry(id: str, kind: str, created: float, **more: Any) -> dict[str, Any]:
    return {"id": id, "object": "model", "created": int(created), "owned_by": "journeyman", "kind": kind, **more}
