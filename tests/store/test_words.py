import pytest

from journeyman.store.words import says, tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Our Refund-Policy: 30 days!", ["our", "refund", "policy", "30", "days"]),
        ("Résumé ÉTÉ straße İstanbul", ["resume", "ete", "strasse", "istanbul"]),
        ("a_b\0c\td", ["a", "b", "c", "d"]),
        ("退款policy です", ["退", "款", "policy", "て", "す"]),
        ("½ ﬁne ΣΑΣ", ["1", "2", "fine", "σασ"]),
        ("\ue000 \ue0011", ["1"]),
        ("half \ud83d pair", ["half", "pair"]),
        ("", []),
    ],
)
def test_words_are_the_same_whatever_their_case_and_accents(text, words):
    assert tokens(text) == words


def test_a_long_run_counts_as_several_words():
    assert [len(word) for word in tokens("x" * 150)] == [64, 64, 22]
    assert tokens("é" * 150) == ["e" * 64, "e" * 64, "e" * 22]


def test_a_phrase_lies_within_one_text():
    assert says(["the REFUND, policy says"], "refund policy")
    assert not says(["the refund", "policy"], "refund policy")
    assert not says(["refunds policy"], "refund policy")
    assert not says(["no refund for this policy"], "refund policy")
