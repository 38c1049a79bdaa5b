"""Which weights answer to a model's name: an alias, an adapter, the local base model, or a provider's model."""

import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from journeyman.errors import NotFound
from journeyman.records import Adapter, Condition, Filter, Frozen, Promotion
from journeyman.registry.adapters import lookup
from journeyman.store.store import Store


class Target(Frozen):
    """Who answers a call. `model` is the name to ask for there; `base` the model whose price and limits apply."""

    kind: Literal["adapter", "base", "provider"]
    model: str
    base: str
    adapter: Adapter | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """Everybody who answers to `name`, each with a weight above 0; most names have one."""

    name: str
    shares: tuple[tuple[float, Target], ...]

    def pick(self, session: str) -> Target:
        """Who answers this conversation: the same each time, everywhere, and after a restart.

        Weighted rendezvous hashing: when weights change, or a target joins or leaves, no conversation moves but those
        that must. C. Schindelhauer and G. Schomaker (2005), Weighted distributed hash tables, SPAA.
        """
        if len(self.shares) == 1:
            return self.shares[0][1]
        return max(self.shares, key=lambda share: _score(self.name, session, *share))[1]


def answering(name: str, store: Store, base_models: Collection[str], providers: Collection[str]) -> Answering:
    """Who answers to a name that clients ask for.

    An alias comes first, then an adapter, then a base model, then `provider/model`. NotFound lists what exists. An
    alias whose target is gone, or one of a split's, is an error too: it never falls back to the base model.
    """
    promotion = last_promotion(store, name)
    if promotion is None:
        target = _target(name, store, base_models, providers)
        if target is None:
            raise NotFound("model", name, known_names(store, base_models, providers))
        return Answering(name, ((1.0, target),))
    shares = []
    for share in promotion.shares:
        target = _target(share.target, store, base_models, providers)
        if target is None:
            raise NotFound(
                "model",
                share.target,
                known_names(store, base_models, providers),
                hint=f"the alias {name!r} was promoted to it; roll back the alias, or promote another adapter",
            )
        shares.append((share.weight, target))
    return Answering(name, tuple(shares))


def resolve(
    name: str, store: Store, base_models: Collection[str], providers: Collection[str], session: str = ""
) -> Target:
    """The target of a name that a client asked for in this session (without one, give the call's id)."""
    return answering(name, store, base_models, providers).pick(session)


def last_promotion(store: Store, alias: str) -> Promotion | None:
    """The promotion that an alias is; None when there is no such alias."""
    where = Filter(conditions=(Condition(field="alias", operator="=", value=alias),))
    return next(iter(store.find(Promotion, where, limit=1)), None)


def known_names(store: Store, base_models: Iterable[str], providers: Iterable[str]) -> list[str]:
    """Every name that a client may ask for; a provider's models are not listed one by one."""
    listed = [*store.count(Promotion, by="alias"), *store.count(Adapter, by="name"), *base_models]
    return [*dict.fromkeys(listed), *(f"{provider}/*" for provider in providers)]


def _score(name: str, session: str, weight: float, target: Target) -> float:
    """An exponential draw at rate `weight`, as its negative: the greatest of them is each target's by its weight."""
    told = "\0".join((name, session, target.provider or "", target.model))
    # 52 bits and a half fit a float, and the half keeps the draw off both 0 and 1.
    drawn = (int.from_bytes(hashlib.sha256(told.encode()).digest()[:8]) >> 12) + 0.5
    return math.log(drawn / 2**52) / weight


def _target(name: str, store: Store, base_models: Collection[str], providers: Collection[str]) -> Target | None:
    adapter = lookup(store, name)
    if adapter is not None:
        return Target(kind="adapter", model=adapter.id, base=adapter.base, adapter=adapter)
    if name in base_models:
        return Target(kind="base", model=name, base=name)
    provider, _, model = name.partition("/")
    if provider in providers and model:
        return Target(kind="provider", model=model, base=model, provider=provider)
    return None
