"""Several models behind one alias: each conversation stays with one, the weights hold, and gates guard each share."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Adapter, Promotion, Share
from journeyman.registry.promote import history, promote, promote_split, rollback, shares_text
from journeyman.registry.resolve import Answering, Target, resolve
from journeyman.store.memory import MemoryStore

SESSIONS = [f"session-{number}" for number in range(4000)]


def answering(*weights: float) -> Answering:
    names = [f"m{number}" for number in range(len(weights))]
    return Answering(
        "support", tuple((w, Target(kind="base", model=n, base=n)) for w, n in zip(weights, names, strict=True))
    )


def shares(**weights: float) -> list[Share]:
    return [Share(target=target, weight=weight) for target, weight in weights.items()]


@pytest.fixture
def store() -> MemoryStore:
    opened = MemoryStore()
    for id in ("a1", "a2", "a3"):
        opened.put(Adapter(id=id, name=f"bank-{id}", base="small", rank=8, path="p", template="1"))
    return opened


def test_conversations_divide_by_weight() -> None:
    """4,000 conversations at 10%: 400 expected, standard deviation 19; five of those are allowed."""
    counted = Counter(answering(90, 10).pick(session).model for session in SESSIONS)
    assert 305 < counted["m1"] < 495
    three = Counter(answering(1, 1, 2).pick(session).model for session in SESSIONS)
    assert abs(three["m0"] - 1000) < 140
    assert abs(three["m2"] - 2000) < 160


def test_a_greater_share_moves_only_conversations_towards_it() -> None:
    """None goes from m1 to m0 when m1 grows, and the order in which the shares are written is nothing."""
    before, after = answering(90, 10), answering(50, 50)
    reversed_order = Answering("support", after.shares[::-1])
    moves = Counter((before.pick(each).model, after.pick(each).model) for each in SESSIONS)
    assert moves["m1", "m0"] == 0
    assert moves["m0", "m1"] > 1200
    assert all(after.pick(each) == reversed_order.pick(each) for each in SESSIONS[:500])


def test_the_choice_is_the_same_on_every_machine_for_good() -> None:
    """Written down once: a release that chose otherwise would move everybody's conversations."""
    chosen = "".join(answering(50, 50).pick(session).model[1] for session in SESSIONS[:16])
    assert chosen == "0000010001111111"


def test_another_alias_divides_otherwise() -> None:
    here, there = answering(50, 50), Answering("sales", answering(50, 50).shares)
    same = sum(here.pick(session) == there.pick(session) for session in SESSIONS)
    assert 1800 < same < 2200


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5), st.text(max_size=40))
def test_any_session_meets_one_of_the_targets_and_stays(weights: list[float], session: str) -> None:
    group = answering(*weights)
    assert group.pick(session) == group.pick(session)
    assert group.pick(session) in [target for _, target in group.shares]


def test_resolve_follows_the_session(store: MemoryStore) -> None:
    promote_split(store, "support", shares(a1=50, a2=50), force_reason="trial")
    met = {resolve("support", store, (), (), session).model for session in SESSIONS[:50]}
    assert met == {"a1", "a2"}


def test_a_split_whose_target_is_gone_is_an_error_for_all(store: MemoryStore) -> None:
    store.put(Promotion(alias="support", target="a1", split=(*shares(a1=99), *shares(a9=1))))
    with pytest.raises(NotFound, match=r"'a9'.*roll back the alias"):
        resolve("support", store, (), (), "session")


def test_a_split_needs_evidence_for_each_newcomer(store: MemoryStore) -> None:
    promote(store, "support", "a1", force_reason="the incumbent")
    with pytest.raises(Refused, match="no evaluation has measured both a2 and a1"):
        promote_split(store, "support", shares(a1=90, a2=10))
    promote_split(store, "support", shares(a1=90, a2=10), force_reason="canary")
    with pytest.raises(Refused, match="no evaluation has measured both a2 and a1"):
        promote_split(store, "support", shares(a1=10, a2=90))
    assert promote_split(store, "support", shares(a1=95, a2=5)).forced is None


def test_rollback_of_a_split_and_to_a_split(store: MemoryStore) -> None:
    promote(store, "support", "a1", force_reason="first")
    split = promote_split(store, "support", shares(a1=90, a2=10), force_reason="canary")
    promote(store, "support", "a2", force_reason="all in")
    back = rollback(store, "support")
    assert (back.target, back.split) == ("a1", split.split)
    first = rollback(store, "support")
    assert (first.target, first.split, first.forced) == ("a1", None, "rolled back from a1 90%, a2 10%")
    assert len(history(store, "support")) == 5


def test_the_end_of_a_split_is_a_promotion(store: MemoryStore) -> None:
    promote_split(store, "support", shares(a1=90, a2=10), force_reason="canary")
    assert promote(store, "support", "a1", force_reason="back").split is None


@pytest.mark.parametrize("wrong", [{"a1": 1}, {"a1": 1, "bank-a1": 1}])
def test_a_split_is_between_different_models(store: MemoryStore, wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="two or more different models"):
        promote_split(store, "support", shares(**wrong), force_reason="x")


def test_the_same_split_again_is_refused(store: MemoryStore) -> None:
    made = promote_split(store, "support", shares(a1=9, a2=1), force_reason="canary")
    assert shares_text(made) == "a1 90%, a2 10%"
    with pytest.raises(Refused, match="already split like this"):
        promote_split(store, "support", shares(a2=1, a1=9), force_reason="again")
