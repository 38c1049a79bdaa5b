"""Which target a model's name means right now."""

import asyncio
import time
from collections.abc import Collection
from typing import Any

from journeyman.errors import JourneymanError, UpstreamFailed
from journeyman.records import Adapter, Promotion
from journeyman.registry.resolve import Target, last_promotion, resolve
from journeyman.store.store import Store

FRESH_SECONDS = 0.5
MOST_KNOWN = 10_000
"""A provider's clients may think of any number of names."""


class Names:
    """Resolves names off the event loop and remembers each for half a second, so a promotion takes effect at once."""

    def __init__(self, store: Store, base_models: Collection[str], providers: Collection[str]) -> None:
        self._store = store
        self._base_models, self._providers = base_models, providers
        self._known: dict[str, tuple[float, Target]] = {}

    async def target(self, name: str) -> Target:
        """The target of a name; NotFound lists what exists. A broken store does not stop a name that was in use."""
        asked, known = self._known.get(name, (0.0, None))
        if known is not None and time.monotonic() - asked < FRESH_SECONDS:
            return known
        asked = time.monotonic()
        try:
            target = await asyncio.to_thread(resolve, name, self._store, self._base_models, self._providers)
        except JourneymanError:
            self._known.pop(name, None)
            raise
        except Exception as error:  # whatever the store raises
            if known is not None:
                return known
            raise UpstreamFailed(
                f"the name {name!r} cannot be looked up, because the store does not answer ({type(error).__name__}); "
                "look at /healthz and at the disk, then try again",
                503,
            ) from error
        self._known.pop(name, None)
        while len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[name] = (asked, target)
        return target

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


def _entry(id: str, kind: str, created: float, **more: Any) -> dict[str, Any]:
    return {"id": id, "object": "model", "created": int(created), "owned_by": "journeyman", "kind": kind, **more}
