"""The family tree: each adapter once, under what it was trained on from, with the names it answers to."""

from datetime import timedelta

from journeyman.records import Adapter, Promotion, Share, now
from journeyman.registry.family import Branch, family_tree
from journeyman.store.memory import MemoryStore


def keep(store: MemoryStore, id: str, parent: str | None = None, base: str = "small", age: int = 0) -> None:
    at = now() - timedelta(hours=age)
    store.put(Adapter(id=id, at=at, name=f"bank-{id}", base=base, rank=8, path="p", template="1", parent=parent))


def drawn(branches: list[Branch] | tuple[Branch, ...]) -> list[object]:
    return [[branch.adapter.id, *branch.aliases, *drawn(branch.children)] for branch in branches]


def test_children_stand_under_their_parents_oldest_first() -> None:
    store = MemoryStore()
    keep(store, "a", age=9)
    keep(store, "c", "a", age=1)
    keep(store, "b", "a", age=5)
    keep(store, "d", "b")
    keep(store, "x", base="large")
    trees = family_tree(store)
    assert list(trees) == ["large", "small"]
    assert drawn(trees["small"]) == [["a", ["b", ["d"]], ["c"]]]


def test_aliases_stand_beside_those_who_answer() -> None:
    store = MemoryStore()
    keep(store, "a", age=2)
    keep(store, "b", "a", age=1)
    store.put(Promotion(alias="support", target="b"))
    store.put(Promotion(alias="trial", target="a", split=(Share(target="a", weight=9), Share(target="b", weight=1))))
    assert drawn(family_tree(store)["small"]) == [["a", "trial 90%", ["b", "support", "trial 10%"]]]


def test_a_lost_parent_is_named_and_a_circle_ends() -> None:
    store = MemoryStore()
    keep(store, "a", "gone", age=3)
    keep(store, "p", "q", age=2)
    keep(store, "q", "p", age=1)
    (branches,) = family_tree(store).values()
    assert branches[0].lost_parent == "gone"
    assert sorted(branch.adapter.id for branch in branches) == ["a", "p", "q"]


def test_nothing_trained_is_no_tree() -> None:
    assert family_tree(MemoryStore()) == {}
