"""Finds conversations that say almost the same: candidates by MinHash and bands, each then compared exactly.

A conversation is the set of its three-word sequences, without system messages, which many conversations share. Two are
alike by the Jaccard index of these sets: what both hold, over what either holds (Broder 1997). MinHash keeps for each
of 125 bins the smallest hash that falls into it (one permutation, Li, Owen and Zhang 2012; empty bins are filled as by
Shrivastava 2017), so that two sets agree in a bin with a probability of their index. 25 bands of 5 bins let a pair with
an index of 0.8 through with a probability of 99.99%, with 0.7 of 99.0%, and what gets through is compared by its words:
nothing is called alike that is not. Written here because libraries for it bring numpy and scipy, which curating needs
for nothing else.
"""

import hashlib
import random
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from journeyman.errors import InvalidInput
from journeyman.records import Message, Row

WORDS = 3
BANDS, BINS_OF_A_BAND = 25, 5
LEAST = 0.7
"""The lowest likeness that can be asked for: of pairs that are less alike too many would be missed."""
_BINS = BANDS * BINS_OF_A_BAND
_EMPTY = (1 << 64) - 1
# In which order an empty bin looks for one to borrow from: it depends on the bin alone, so that like sets borrow alike.
_ORDERS = [random.Random(f"bin {place}").sample(range(_BINS), _BINS) for place in range(_BINS)]
MOST_IN_A_BUCKET = 20
"""With so many conversations that came first into the same bucket each later one is compared: time stays linear."""
# Scripts that put no blanks between words count letter by letter.
_UNSPACED = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


class Pair(NamedTuple):
    """Two rows, by their places, and how alike they are (Jaccard index, 0 to 1)."""

    first: int
    second: int
    likeness: float


def check_threshold(threshold: float) -> None:
    """InvalidInput when it is no likeness that can be asked for."""
    if not LEAST <= threshold <= 1:
        raise InvalidInput(f"the likeness is {threshold:g}; it must lie between {LEAST:g} and 1, such as 0.8")


def likeness(first: Iterable[Message], second: Iterable[Message]) -> float:
    """The Jaccard index of two conversations' three-word sequences, 0 to 1."""
    return _jaccard(_sequences(first), _sequences(second))


def near_pairs(rows: Sequence[Row], threshold: float) -> list[Pair]:
    """All pairs of rows that are at least that alike, but for the few that MinHash misses (see the module)."""
    check_threshold(threshold)
    sequences = [array("Q", sorted(_sequences(row.messages))) for row in rows]
    found: dict[tuple[int, int], float] = {}
    compared: set[tuple[int, int]] = set()
    for pair in _candidates([_signature(each) for each in sequences]):
        if pair in compared:
            continue
        compared.add(pair)
        first, second = (sequences[place] for place in pair)
        # The index cannot exceed the ratio of sizes, so most candidates need no look at their words.
        if min(len(first), len(second)) < threshold * max(len(first), len(second)):
            continue
        alike = _jaccard(set(first), set(second))
        if alike >= threshold:
            found[pair] = alike
    return [Pair(*pair, alike) for pair, alike in sorted(found.items())]


def without_near_duplicates(rows: Sequence[Row], threshold: float) -> tuple[list[Row], int]:
    """Rows of which no two are that alike (an earlier one stays, unless it went itself), and how many went."""
    gone: set[int] = set()
    for pair in near_pairs(rows, threshold):
        if pair.first not in gone:
            gone.add(pair.second)
    return [row for place, row in enumerate(rows) if place not in gone], len(gone)


def _sequences(messages: Iterable[Message]) -> set[int]:
    """Hashes of the three-word sequences of all that was said, tools called and answers of tools included."""
    words: list[str] = []
    for message in messages:
        if message.role in ("system", "developer"):
            continue
        calls = [f"{call.function.name} {call.function.arguments}" for call in message.tool_calls or ()]
        words.append(f"<{message.role}>")
        words += _WORD.findall(" ".join([message.text, *calls]).lower())
    grams = {" ".join(words[place : place + WORDS]) for place in range(max(1, len(words) - WORDS + 1))}
    return {int.from_bytes(hashlib.blake2b(gram.encode("utf-8", "replace"), digest_size=8).digest()) for gram in grams}


def _signature(sequences: Iterable[int]) -> "array[int]":
    bins = array("Q", [_EMPTY]) * _BINS
    for value in sequences:
        place = value % _BINS
        bins[place] = min(bins[place], value)
    filled = array("Q", bins)
    for place, value in enumerate(bins):
        if value == _EMPTY:
            filled[place] = next((bins[other] for other in _ORDERS[place] if bins[other] != _EMPTY), _EMPTY)
    return filled


def _candidates(signatures: "Sequence[array[int]]") -> Iterator[tuple[int, int]]:
    for band in range(BANDS):
        begin = band * BINS_OF_A_BAND
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for place, signature in enumerate(signatures):
            buckets[signature[begin : begin + BINS_OF_A_BAND].tobytes()].append(place)
        for together in buckets.values():
            for number, second in enumerate(together):
                yield from ((first, second) for first in together[: min(number, MOST_IN_A_BUCKET)])


def _jaccard(first: set[int], second: set[int]) -> float:
    both = len(first & second)
    either = len(first) + len(second) - both
    return both / either if either else 1.0
