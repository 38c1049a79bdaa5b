import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.datasets.split import assign_splits
from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.records.message import assistant, user


def row(conversation: str, opening: str, **fields: object) -> Row:
    return Row(messages=(user(opening), assistant("ok")), conversation=conversation, source="x", **fields)


def sides(rows: list[Row], share: float = 0.1, seed: int = 0) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in assign_splits(rows, share, seed):
        found.setdefault(each.conversation, set()).add(each.split)
    return found


many = st.lists(
    st.builds(row, st.integers(0, 12).map(str), st.integers(0, 12).map(lambda n: f" opening   {n}")), max_size=40
).filter(lambda rows: len({each.conversation for each in rows}) > 1)


@given(many, st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_conversation_is_on_one_side_and_no_side_is_empty(rows, share, seed):
    found = sides(rows, share, seed)
    assert all(len(each) == 1 for each in found.values())
    assert set().union(*found.values()) == {"train", "validation"}


@given(many, st.floats(0.01, 0.99), st.integers(0, 5))
def test_no_opening_is_on_both_sides_if_it_can_be_helped(rows, share, seed):
    seen: dict[str, set[str]] = {}
    for each in assign_splits(rows, share, seed):
        seen.setdefault(each.messages[0].text, set()).add(each.split)
    reached, ahead = set(), [rows[0].conversation]
    while ahead:
        reached.add(ahead[-1])
        openings = {each.messages[0].text for each in rows if each.conversation == ahead[-1]}
        ahead.pop()
        ahead += {each.conversation for each in rows if each.messages[0].text in openings} - reached
    if reached != {each.conversation for each in rows}:
        assert all(len(each) == 1 for each in seen.values())


def test_the_share_is_about_what_was_asked_and_the_seed_matters():
    rows = [row(f"c{number}", f"opening {number}") for number in range(1000)]
    held_out = [{name for name, side in sides(rows, 0.2, seed).items() if side == {"validation"}} for seed in (0, 1)]
    assert all(150 < len(each) < 250 for each in held_out)
    assert held_out[0] != held_out[1]


def test_conversations_stay_on_their_side_as_data_grows_and_whatever_the_order():
    rows = [row(f"c{number}", f"opening {number}") for number in range(400)]
    before, after = sides(rows[:200], 0.2), sides(rows[::-1], 0.2)
    assert before.items() <= after.items()


def test_a_greeting_that_everybody_sends_is_trained_on():
    rows = [row(f"hi {number}", "Hi") for number in range(60)] + [
        row(f"c{number}", f"q{number}") for number in range(40)
    ]
    for seed in range(20):
        found = sides(rows, 0.1, seed)
        assert all(found[f"hi {number}"] == {"train"} for number in range(60))
        assert {"validation"} in found.values()


def test_conversations_that_all_open_alike_are_still_split():
    rows = [row(f"c{number}", "Hi") for number in range(50)]
    assert set().union(*sides(rows, 0.3).values()) == {"train", "validation"}


def test_two_conversations_are_enough():
    assert sorted(map(min, sides([row("a", "x"), row("b", "y")]).values())) == ["train", "validation"]


def test_given_splits_stay_and_what_opens_like_them_follows():
    rows = [row("a", "x", split="validation"), row("b", "x"), row("c", "y", split="train"), row("d", "z")]
    found = sides(rows, 0.001)
    assert found == {"a": {"validation"}, "b": {"validation"}, "c": {"train"}, "d": {"train"}}


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_shares_that_leave_a_side_empty_are_refused(share):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        assign_splits([row("a", "x"), row("b", "y")], share, 0)


def test_one_conversation_is_refused():
    with pytest.raises(InvalidInput, match="at least two"):
        assign_splits([row("a", "x"), row("a", "y")], 0.1, 0)
