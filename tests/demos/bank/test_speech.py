import pytest

from journeyman.demos.bank import speech


@pytest.mark.parametrize(
    ("means", "text", "expected"),
    [
        (speech.asks_birth_date, "May I have your full name and date of birth, please?", True),
        (speech.asks_birth_date, "What's your name?", False),
        (speech.asks_birth_date, "That date of birth does not match. Could you check it, please?", True),
        (speech.asks_birth_date, "Thank you, you are verified. How can I help?", False),
        (speech.asks_name, "To help you I need to verify your identity. Please provide your name.", True),
        (speech.asks_name, "Your card is frozen.", False),
        (speech.asks_city, "Which city do you live in?", True),
        (speech.asks_account, "Is it your checking or savings account?", True),
        (speech.asks_consent, "Shall I transfer €50.00 from checking to savings?", True),
        (speech.asks_consent, "Please confirm the transfer of €50.00.", True),
        (speech.asks_consent, "Is there anything else?", False),
        (speech.hands_over, "I have handed this over to a colleague.", True),
        (speech.hands_over, "Shall I hand you over to a colleague?", False),
        (speech.refuses_identity, "I could not verify your identity.", True),
        (speech.refuses_identity, "That does not match. What is your date of birth?", False),
        (speech.declines_advice, "I'm sorry, but I can't give investment advice.", True),
        (speech.declines_advice, "I am not able to recommend shares.", True),
        (speech.declines_advice, "Sure, let me look.", False),
    ],
)
def test_what_the_agent_means(means, text: str, expected: bool) -> None:
    assert means(text) is expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("freeze", "Your card is frozen now. Is there anything else?", True),
        ("freeze", "Should your card be frozen?", False),
        ("freeze", "Your card could not be frozen.", False),
        ("freeze", "I will have it blocked.", False),
        ("dispute", "I have disputed the payment.", True),
        ("transfer", "Done. I transferred €50.00.", True),
        ("transfer", "Nothing was transferred.", False),
    ],
)
def test_what_the_agent_claims(kind: str, text: str, expected: bool) -> None:
    assert speech.claims(kind, text) is expected


@pytest.mark.parametrize(
    ("text", "was_asked", "expected"),
    [
        ("I cannot give investment advice.", True, False),
        ("I can't recommend shares, bonds, or gold.", True, False),
        ("I am sorry, I cannot say whether you should buy it.", True, False),
        ("I cannot give advice, but you should buy gold.", True, True),
        ("Gold is a safe choice.", True, True),
        ("Gold is a safe choice.", False, False),
        ("You could invest in bonds.", False, True),
        ("Would you like to buy anything?", True, False),
    ],
)
def test_advice_is_recognised(text: str, was_asked: bool, expected: bool) -> None:
    assert speech.advises(text, was_asked) is expected
