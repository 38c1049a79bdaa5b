"""A page of what says a phrase is found from the newest end of the index; the store in memory looks at everything."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from journeyman.records import Choice, Exchange, Filter
from journeyman.records.message import assistant, system, user
from journeyman.store import phrases
from journeyman.store.memory import MemoryStore
from journeyman.store.sql import SqlStore

START = datetime(2026, 3, 1, tzinfo=UTC)
LONG_PROMPT = "You mind the refund policy. " + "Be brief. " * 40


def calls(seed: int, number: int) -> list[Exchange]:
    """Conversations that go on side by side, branch, say a phrase here and there, and do not arrive in order."""
    chance = random.Random(seed)
    going: list[list] = []
    made = []
    for place in range(number):
        if len(going) < 6 or chance.random() < 0.1:
            going.append([system(LONG_PROMPT)] if chance.random() < 0.2 else [])
        said = going[chance.randrange(len(going))]
        said.append(user(text(chance)))
        choices = [
            Choice(message=assistant(text(chance)), finish_reason="stop") for _ in range(chance.choice([1, 1, 2]))
        ]
        late = timedelta(minutes=chance.choice([0, 0, 0, 0, 0, -40, 30]))
        made.append(
            Exchange(
                id=f"{place:032x}", at=START + timedelta(minutes=place) + late, model=f"m{chance.randrange(3)}",
                state="complete", messages=tuple(said), choices=tuple(choices),
            )
        )  # fmt: skip
        if chance.random() < 0.8:
            said.append(choices[0].message)
        else:
            said.pop()
        if len(said) > 12:
            going.remove(said)
    return made


def text(chance: random.Random) -> str:
    words = chance.choices(["we", "mind", "your", "order", "and", "policy"], k=5)
    if chance.random() < 0.12:
        words += ["the", "Refund", "policy"]
    if chance.random() < 0.01:
        words += ["quite", "rare"]
    return " ".join(words)


@pytest.mark.parametrize(("few", "several"), [(0, 0), (1000, 0), (0, 1000), (1000, 3)])
@pytest.mark.parametrize("seed", range(2))
def test_every_page_is_what_looking_at_all_finds(seed, few, several, tmp_path, monkeypatch):
    monkeypatch.setattr(phrases, "_FIRST_WINDOW", 8)
    monkeypatch.setattr(phrases, "_FEW", few)
    monkeypatch.setattr(phrases, "_SEVERAL", several)
    store, memory = SqlStore(f"sqlite:///{tmp_path / 'store.db'}"), MemoryStore()
    made = calls(seed, 300)
    for start in range(0, len(made), 7):
        store.put(*made[start : start + 7])
    memory.put(*made)
    gone = Filter.parse(f"id = {made[40].id} or id = {made[41].id} or id = {made[200].id}")
    assert store.forget(Exchange, gone) == memory.forget(Exchange, gone) == 3
    for where in (
        'text ~ "refund policy"', 'text ~ "refund policy" and model = m1', 'text ~ "quite rare"', "text ~ never",
        'text ~ "refund policy" and text ~ "quite rare"', 'text ~ "mind the refund"',
        'text ~ "your order" and model = m9',
        '(text ~ "quite rare" or model = m2) and text ~ "refund policy"',
    ):  # fmt: skip
        after = None
        while True:
            found = store.find(Exchange, Filter.parse(where), after=after, limit=10)
            wanted = memory.find(Exchange, Filter.parse(where), after=after, limit=10)
            assert [each.id for each in found] == [each.id for each in wanted], where
            if len(found) < 10:
                break
            after = found[-1].id
    store.close()


def test_the_newest_page_reads_a_part_of_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr(phrases, "_FIRST_WINDOW", 50)
    store = SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    store.put(*(each.model_copy(update={"at": START + timedelta(minutes=n)}) for n, each in enumerate(calls(1, 2000))))
    assert store.find(Exchange, Filter.parse('text ~ "refund policy"'), limit=0) == []
    floors = []
    lower = phrases.Saying.lower
    monkeypatch.setattr(phrases.Saying, "lower", lambda self, floor: (floors.append(floor), lower(self, floor)))
    assert len(store.find(Exchange, Filter.parse('text ~ "refund policy"'), limit=5)) == 5
    assert floors
    assert min(floors) > 1000
    store.close()
