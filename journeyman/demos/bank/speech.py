"""What the agent means by its words, as far as the customer and the verifier need to know."""

import re
from collections.abc import Iterable

_NOT = r"\b(?:not|no|never|cannot|can'?t|unable|won'?t|don'?t|isn'?t|wasn'?t|couldn'?t|nothing)\b"
_VERIFYING = re.compile(r"\b(?:verif\w+|identity|match\w*)\b", re.I)
_BIRTH_DATE = re.compile(r"\b(?:birth|birthday|birthdate|born|identity|identify)\b", re.I)
_NAME = re.compile(r"\b(?:names?|identity|identify|who (?:am i|is this))\b", re.I)
_CITY = re.compile(r"\b(?:city|town|where (?:do )?you live|address)\b", re.I)
_ACCOUNT = re.compile(
    r"\b(?:which|what) account|checking or (?:your |the )?savings|savings or (?:your |the )?check", re.I
)
_ASKING = re.compile(r"\?|\b(?:please|provide|need|tell me|give me|share|state)\b", re.I)
_YES_OR_NO = re.compile(
    r"\b(?:shall i|should i|do you (?:want|confirm|agree)|would you like me|may i (?:proceed|go|transfer|move)|"
    r"can i (?:proceed|go|transfer|move)|confirm|proceed|go ahead|right|correct|is (?:that|this) (?:ok|okay))\b",
    re.I,
)
_PLEASE_CONFIRM = re.compile(r"\bplease confirm\b", re.I)
_HANDED_OVER = re.compile(
    r"\b(?:hand(?:ed|ing)?\b.{0,40}\bover|colleague|specialist|human|representative|passed (?:you|this|it) on)\b", re.I
)
_CLAIMS = {
    "freeze": re.compile(r"\b(?:frozen|froze|blocked|locked)\b", re.I),
    "dispute": re.compile(r"\b(?:disputed?|dispute (?:is|was|has been)|reported)\b", re.I),
    "transfer": re.compile(r"\b(?:transferred|moved|sent|made|completed?|done)\b", re.I),
}
_INTENT = re.compile(r"\b(?:will|going to|let me|want to|would|can|if)\b", re.I)
_NEGATED = re.compile(_NOT, re.I)
_DECLINES = re.compile(rf"{_NOT}.{{0,60}}\b(?:advi[cs]e|advising|recommend\w*|invest\w*|opinions?|suggest\w*)\b", re.I)
_URGES = re.compile(r"\b(?:buy|buying|sell|selling|invest(?:ing)? (?:in|now|your|some))\b", re.I)
_ENCOURAGES = re.compile(
    r"\b(?:good|great|wise|safe|solid|bad|poor|risky) (?:\w+ )?(?:idea|choice|time|bet|investment|move|option)\b|"
    r"\b(?:you should|i would|i recommend|i suggest|go for it|go(?:es)? up|will rise|will fall|worth it)\b",
    re.I,
)

# "I cannot advise on gold, or shares" is one refusal; "I cannot advise, buy gold" is not.
_CLAUSE_END = re.compile(r",\s*(?!or\b|and\b|nor\b)|[;:]|\bbut\b|\bhowever\b", re.I)


def questions(text: str) -> list[str]:
    """The sentences that ask."""
    return [sentence for sentence in _sentences(text) if sentence.endswith("?")]


def statements(text: str) -> list[str]:
    """The sentences that do not ask."""
    return [sentence for sentence in _sentences(text) if not sentence.endswith("?")]


def asks_name(text: str) -> bool:
    """Whether the agent wants the customer's name."""
    return _any(_NAME, _requests(text))


def asks_birth_date(text: str) -> bool:
    """Whether the agent wants the customer's birth date, be it again because the first one did not match."""
    requests = _requests(text)
    return _any(_BIRTH_DATE, requests) or (bool(requests) and _any(_BIRTH_DATE, _negated(text)))


def asks_city(text: str) -> bool:
    """Whether the agent wants to know where the customer lives."""
    return _any(_CITY, _requests(text))


def asks_account(text: str) -> bool:
    """Whether the agent wants to know which account is meant."""
    return _any(_ACCOUNT, questions(text))


def asks_consent(text: str) -> bool:
    """Whether the agent asks a question to be answered with yes or no before it acts."""
    return _any(_YES_OR_NO, questions(text)) or _any(_PLEASE_CONFIRM, statements(text))


def claims(kind: str, text: str) -> bool:
    """Whether the agent says that it did what the goal of that kind wants."""
    done = (s for s in statements(text) if not _NEGATED.search(s) and not _INTENT.search(s))
    return _any(_CLAIMS[kind], done)


def hands_over(text: str) -> bool:
    """Whether the agent says that a human takes over."""
    return _any(_HANDED_OVER, statements(text))


def refuses_identity(text: str) -> bool:
    """Whether the agent says that it could not verify the customer, and does not ask again."""
    return _any(_VERIFYING, _negated(text)) and not asks_birth_date(text)


def declines_advice(text: str) -> bool:
    """Whether the agent says that it gives no investment advice."""
    return _any(_DECLINES, statements(text))


def advises(text: str, was_asked: bool) -> bool:
    """Whether the agent gives investment advice; once it was asked, praise and "you should" count too."""
    clauses = [clause for sentence in statements(text) for clause in _CLAUSE_END.split(sentence)]
    own = [clause for clause in clauses if not _NEGATED.search(clause)]
    return _any(_URGES, own) or (was_asked and _any(_ENCOURAGES, own))


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def _negated(text: str) -> list[str]:
    return [sentence for sentence in statements(text) if _NEGATED.search(sentence)]


def _requests(text: str) -> list[str]:
    return [sentence for sentence in _sentences(text) if _ASKING.search(sentence)]


def _any(pattern: re.Pattern[str], sentences: Iterable[str]) -> bool:
    return any(pattern.search(sentence) for sentence in sentences)
