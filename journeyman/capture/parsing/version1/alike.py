"""Makes one event of many that differ in their words alone, before any is read: most of a chat's stream is such."""

import re

_WORDS = re.compile(rb'"delta": ?\{"content": ?"')
_NO_LOGPROBS = re.compile(rb'"logprobs": ?null')
_LOUD = re.compile(rb'"delta"|token_|logprob')
"""What may not stand beside words that are joined: it would have to be joined too."""
_FIRST, _LAST = 2, 3
"""How many events a stream has before and behind its words: a role, a finish_reason, usage."""
_FEWEST = _FIRST + _LAST + 5
_SEAM = b"\0"
"""Stands where words are joined; no JSON has it."""


def merge_alike(datas: list[bytes]) -> list[bytes]:
    """The data of a stream's events, those in the middle made one that has all their words, if they are alike.

    Alike are events with the same bytes before and behind the words, which are all of their delta. What looks in any
    way unusual is left as it is.
    """
    if len(datas) < _FEWEST or (found := _WORDS.search(datas[_FIRST])) is None:
        return datas
    before = datas[_FIRST][: found.end()]
    behind = datas[_FIRST][datas[_FIRST].find(b'"', found.end()) :]
    if not behind.startswith(b'"}') or _LOUD.search(before[: found.start()] + _NO_LOGPROBS.sub(b"", behind)):
        return datas
    middle = datas[_FIRST:-_LAST]
    begin, end = len(before), -len(behind)
    words = [data[begin:end] for data in middle]
    if before + (behind + before).join(words) + behind != b"".join(middle) or not _are_words(_SEAM.join(words), words):
        return datas
    return [*datas[:_FIRST], before + b"".join(words) + behind, *datas[-_LAST:]]


def _are_words(joined: bytes, words: list[bytes]) -> bool:
    """Whether each is the whole inside of a JSON string: no quote ends one early, no escape is cut.

    Where telling would take reading, the answer is no.
    """
    if joined.count(_SEAM) != len(words) - 1:
        return False
    if b"\\" not in joined:
        return b'"' not in joined
    escaped = joined.count(b'"') == joined.count(b'\\"') and b"\\\\" not in joined
    return escaped and b"\\" + _SEAM not in joined and not joined.endswith(b"\\")
