"""What is alike is found, what is not is never called so, and time stays in bounds."""

import random
import time

import pytest

from journeyman.datasets.leaks import near_leaks, refuse_leaks
from journeyman.datasets.near import likeness, near_pairs, without_near_duplicates
from journeyman.datasets.split import assign_splits
from journeyman.errors import InvalidInput
from journeyman.records import Row
from journeyman.records.message import assistant, call, system, tool_result, user

WORDS = [a + b for a in ("ba", "de", "fi", "go", "hu", "ja", "ke", "li", "mo") for b in ("rs", "tn", "lk", "mp", "st")]


def row(text, conversation="c", **fields):
    messages = (system("The same long instruction for all of us. " * 20), user(text), assistant("Yes."))
    return Row(messages=messages, conversation=conversation, source=conversation, **fields)


def written(dice, words):
    return [dice.choice(WORDS) for _ in range(words)]


def changed(dice, words, places):
    altered = list(words)
    for place in dice.sample(range(len(words)), places):
        altered[place] = "other" + str(place)
    return altered


@pytest.mark.parametrize("words", [20, 100, 600])
def test_pairs_that_are_alike_are_found(words):
    dice = random.Random(words)
    rows, expected = [], set()
    for number in range(150):
        text = written(dice, words)
        rows += [row(" ".join(text), f"{number}a"), row(" ".join(changed(dice, text, words // 25 or 1)), f"{number}b")]
        if likeness(rows[-2].messages, rows[-1].messages) >= 0.75:
            expected.add((2 * number, 2 * number + 1))
    found = {(pair.first, pair.second): pair.likeness for pair in near_pairs(rows, 0.75)}
    assert len(expected) > 100
    assert len(set(found) & expected) >= 0.99 * len(expected)
    assert not set(found) - expected
    assert all(0.75 <= alike <= 1 for alike in found.values())


def test_a_system_message_in_common_makes_nobody_alike():
    dice = random.Random(1)
    assert near_pairs([row(" ".join(written(dice, 15))) for _ in range(60)], 0.7) == []


def test_likeness_is_the_share_of_three_word_sequences_in_common():
    one, other = (user("a b c d e"),), (user("a b c d f"),)
    # <user> a b c d e: four sequences each, of which three are the same.
    assert likeness(one, other) == pytest.approx(3 / 5)
    assert likeness(one, one) == 1
    assert likeness((user("A, b! C d E?"),), one) == 1
    assert likeness((user("你好吗朋友们好"),), (user("你好吗朋友们坏"),)) == pytest.approx(5 / 7)
    assert likeness((), ()) == 1


def test_calls_of_tools_and_their_answers_count():
    def paid(amount):
        return (user("pay"), call("1", "pay", amount=amount), tool_result("1", f"paid {amount} of it all"))

    assert likeness(paid(1), paid(1)) == 1
    assert likeness(paid(1), paid(2)) < 1


def test_of_what_is_alike_the_first_stays():
    long = " ".join(WORDS)
    rows = [row(f"{long} a"), row("quite another thing"), row(f"{long} b"), row(f"{long} c")]
    kept, gone = without_near_duplicates(rows, 0.8)
    assert (kept, gone) == (rows[:2], 2)


def test_a_threshold_without_meaning_is_refused():
    for wrong in (0.6, 1.1):
        with pytest.raises(InvalidInput, match=r"must lie between 0\.7 and 1"):
            near_pairs([], wrong)


def test_thousands_that_are_all_alike_are_compared_in_linear_time():
    rows = [row(" ".join(WORDS) + f" number {number}") for number in range(3000)]
    begun = time.process_time()
    kept, gone = without_near_duplicates(rows, 0.8)
    assert (len(kept), gone) == (1, 2999)
    assert time.process_time() - begun < 30


def test_what_is_tied_is_split_together():
    rows = [row(f"question {number}", f"c{number}") for number in range(200)]
    ties = [(f"c{number}", f"c{number + 1}") for number in range(0, 200, 2)]
    alone, tied = ({each.conversation: each.split for each in assign_splits(rows, 0.3, 0, some)} for some in ((), ties))
    assert all(tied[one] == tied[other] for one, other in ties)
    assert any(alone[one] != alone[other] for one, other in ties)
    assert 0.15 < list(tied.values()).count("validation") / len(tied) < 0.45


def test_near_leaks_are_rows_to_train_on():
    long = " ".join(WORDS)
    rows = [row(f"{long} a", split="train"), row(f"{long} b", split="validation"), row(f"{long} c", split="train")]
    assert near_leaks(rows, near_pairs(rows, 0.8)) == [0, 2]
    rows = [each.model_copy(update={"split": "train"}) for each in rows]
    assert near_leaks(rows, near_pairs(rows, 0.8)) == []


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_held_out_conversation_in_train_is_refused(side):
    other = {"train": "validation", "validation": "train"}[side]
    short = row("Hello", "short", split=side)
    longer = short.model_copy(
        update={"messages": (*short.messages, user("And?"), assistant("More.")), "conversation": "long", "split": other}
    )
    with pytest.raises(InvalidInput, match=rf"what these {side} conversations say is in {other}, too: short;"):
        refuse_leaks([short, longer], "file")
    refuse_leaks([short, longer.model_copy(update={"split": side})], "file")
    same = row("Hello", "other name", split=other)
    with pytest.raises(InvalidInput, match="measured on what it has learned"):
        refuse_leaks([short, same], "file")
