"""What a word is when text is searched: the same in every database, because this file alone decides.

`text ~ "refund policy"` holds where these words stand one after the other in one text of a message, whatever their
case, their accents and what stands between them. Words are runs of letters and digits; a letter of a script that writes
without spaces (Chinese, Japanese) is a word of its own.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

WORDS = 1
"""Version of this rule; a database indexed by another is indexed anew."""
_LONGEST = 64
"""Characters; a longer run, such as base64, counts as several words, so that none is too long for an index."""
_BETWEEN = "\ue000"
"""Stands before each text, so that no phrase reaches from one into the next; it is no letter, so no word holds it."""
_PART = "\ue001"

_RUN = re.compile(
    rf"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    rf"|(?:(?![\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])[^\W_]){{1,{_LONGEST}}}"
)
_ASCII_RUN = re.compile(rf"[a-z0-9]{{1,{_LONGEST}}}")


def tokens(text: str) -> list[str]:
    """The words of a text."""
    if text.isascii():
        return _ASCII_RUN.findall(text.lower())
    plain = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    # Folding may bring accents back (İ), which then belong to no word.
    folded = "".join(
        each for each in unicodedata.normalize("NFKD", plain.casefold()) if not unicodedata.combining(each)
    )
    return _RUN.findall(folded)


def says(texts: Iterable[str], phrase: str) -> bool:
    """Whether one of the texts holds the words of the phrase one after the other."""
    wanted = f" {' '.join(tokens(phrase))} "
    return any(wanted in f" {' '.join(tokens(text))} " for text in texts)


def texts_of(message: dict[str, Any]) -> list[str]:
    """A message's words alone: its content, or each of its text parts; other parts are left out."""
    content = message.get("content")
    if isinstance(content, list):
        found = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return [each for each in found if isinstance(each, str)]
    return [content] if isinstance(content, str) else []


def part_word(number: int | str) -> str:
    """The word that stands in the index for a piece that is kept apart."""
    return f"{_PART}{number}"


def indexed_words(messages: Sequence[dict[str, Any]], parts: Iterable[int] = ()) -> str:
    """Messages as the index takes them: words between single spaces, and a sign before each text."""
    found = [part_word(number) for number in parts]
    for message in messages:
        for text in texts_of(message):
            if words := tokens(text):
                found += [_BETWEEN, *words]
    return " ".join(found)
