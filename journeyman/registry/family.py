"""Which adapter was trained on from which: the family tree under each base model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from journeyman.records import Adapter, Promotion
from journeyman.registry.evidence import pages
from journeyman.registry.promote import aliases
from journeyman.registry.resolve import last_promotion
from journeyman.store.store import Store


@dataclass(frozen=True, slots=True)
class Branch:
    """An adapter and those trained on from it, oldest first. `aliases` are the names that it answers to now.

    `lost_parent` is the parent's id where the store knows that adapter no more.
    """

    adapter: Adapter
    aliases: tuple[str, ...]
    children: tuple["Branch", ...]
    lost_parent: str | None = None


def family_tree(store: Store) -> dict[str, list[Branch]]:
    """Every adapter, by base model, under the adapter that it was trained on from; each is in it once."""
    adapters = {adapter.id: adapter for adapter in pages(store, Adapter)}
    oldest_first = sorted(adapters.values(), key=lambda adapter: (adapter.at, adapter.id))
    children: dict[str, list[Adapter]] = {}
    roots = []
    for adapter in oldest_first:
        if adapter.parent in adapters and adapter.id not in _ancestors(adapter, adapters):
            children.setdefault(str(adapter.parent), []).append(adapter)
        else:
            roots.append(adapter)
    names = _answering(store)
    trees: dict[str, list[Branch]] = {}
    for root in roots:
        lost = root.parent if root.parent not in adapters else None
        trees.setdefault(root.base, []).append(_branch(root, children, names, lost))
    return dict(sorted(trees.items()))


def _ancestors(adapter: Adapter, adapters: Mapping[str, Adapter]) -> set[str]:
    """The ids above an adapter. Records come from imports, too: a circle among them must not be walked for ever."""
    above: set[str] = set()
    parent = adapter.parent
    while parent in adapters and parent not in above:
        above.add(str(parent))
        parent = adapters[str(parent)].parent
    return above


def _branch(
    adapter: Adapter,
    children: Mapping[str, Sequence[Adapter]],
    names: Mapping[str, Sequence[str]],
    lost: str | None = None,
) -> Branch:
    under = tuple(_branch(child, children, names) for child in children.get(adapter.id, ()))
    return Branch(adapter, tuple(names.get(adapter.id, ())), under, lost)


def _answering(store: Store) -> dict[str, list[str]]:
    """By adapter, the aliases that it answers to, each with its percentage where it is not alone."""
    names: dict[str, list[str]] = {}
    for alias in aliases(store):
        promotion = last_promotion(store, alias)
        if promotion is not None:
            for target, name in _named(promotion):
                names.setdefault(target, []).append(name)
    return names


def _named(promotion: Promotion) -> list[tuple[str, str]]:
    whole = sum(share.weight for share in promotion.shares)
    return [
        (share.target, f"{promotion.alias} {100 * share.weight / whole:.3g}%" if promotion.split else promotion.alias)
        for share in promotion.shares
    ]
