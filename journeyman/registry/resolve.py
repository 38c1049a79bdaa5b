"""Which weights answer to a model's name: an alias, an adapter, the local base model, or a provider's model."""

from collections.abc import Collection, Iterable
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


def resolve(name: str, store: Store, base_models: Collection[str], providers: Collection[str]) -> Target:
    """The target of a name that a client asked for.

    An alias comes first, then an adapter, then a base model, then `provider/model`. NotFound lists what exists. An
    alias whose target is gone is an error too: it never falls back to the base model.
    """
    promotion = last_promotion(store, name)
    if promotion is None:
        target = _target(name, store, base_models, providers)
        if target is None:
            raise NotFound("model", name, known_names(store, base_models, providers))
        return target
    target = _target(promotion.target, store, base_models, providers)
    if target is None:
        raise NotFound(
            "model",
            promotion.target,
            known_names(store, base_models, providers),
            hint=f"the alias {name!r} was promoted to it; roll back the alias, or promote another adapter",
        )
    return target


def last_promotion(store: Store, alias: str) -> Promotion | None:
    """The promotion that an alias is; None when there is no such alias."""
    where = Filter(conditions=(Condition(field="alias", operator="=", value=alias),))
    return next(iter(store.find(Promotion, where, limit=1)), None)


def known_names(store: Store, base_models: Iterable[str], providers: Iterable[str]) -> list[str]:
    """Every name that a client may ask for; a provider's models are not listed one by one."""
    listed = [*store.count(Promotion, by="alias"), *store.count(Adapter, by="name"), *base_models]
    return [*dict.fromkeys(listed), *(f"{provider}/*" for provider in providers)]


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
