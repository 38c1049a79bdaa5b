"""What people write is never a control token, whatever it spells.

A template joins its own control tokens and other people's words into one text, where `<|im_end|>` in a customer's
message looks like the real one. So each such spelling in the messages gets a mark inside it before it is rendered;
the marks are taken out of the text again, and where they stood, a *seam*, no control token may lie across.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from journeyman.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered conversation; `seams` are the places that lie inside of something that only looks like a token."""

    text: str
    seams: tuple[int, ...] = ()

    def part(self, start: int, end: int | None = None) -> "Rendered":
        """The text from `start` to `end` with its seams."""
        end = len(self.text) if end is None else end
        return Rendered(self.text[start:end], tuple(at - start for at in self.seams if start < at < end))


class Spellings:
    """Finds the spellings of some control tokens in text."""

    def __init__(self, tokens: Iterable[str]) -> None:
        # In a token of one character there is no room for a seam.
        self._tokens = sorted({token for token in tokens if len(token) > 1}, key=len, reverse=True)
        self._first = {token[0] for token in self._tokens}

    @cached_property
    def _anywhere(self) -> re.Pattern[str]:
        return re.compile(f"(?={'|'.join(map(re.escape, self._tokens))})")

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(token[:length] for token in self._tokens for length in range(1, len(token)))

    def places(self, text: str) -> list[int]:
        """Where a token is spelled, or where the text ends in the beginning of one that what follows may complete."""
        if not any(first in text for first in self._first):
            return []
        longest = min(len(self._tokens[0]) - 1, len(text))
        cut = {len(text) - length for length in range(1, longest + 1) if text[-length:] in self._beginnings}
        return sorted(cut | {found.start() for found in self._anywhere.finditer(text)})

    def marked(self, value: Any, mark: str) -> Any:
        """The same JSON value with `mark` inside each spelling in its texts and names."""
        if isinstance(value, str):
            pieces, end = [], 0
            for place in self.places(value):
                pieces.append(value[end : place + 1])
                end = place + 1
            return mark.join([*pieces, value[end:]])
        if isinstance(value, list | tuple):
            return [self.marked(each, mark) for each in value]
        if isinstance(value, dict):
            return {self.marked(name, mark): self.marked(each, mark) for name, each in value.items()}
        return value

    def marked_message(self, message: dict[str, Any], mark: str) -> dict[str, Any]:
        """The same of a message, but for what templates compare and the wire allows but a few words for."""
        marked: dict[str, Any] = self.marked(message, mark) | {"role": message["role"]}
        if message.get("tool_calls"):
            both = zip(marked["tool_calls"], message["tool_calls"], strict=True)
            marked["tool_calls"] = [call | {"type": given["type"]} for call, given in both]
        return marked

    def marked_tool(self, tool: dict[str, Any], mark: str) -> dict[str, Any]:
        """The same of a tool, whose own type is ours, and every type in its schema somebody's words."""
        marked: dict[str, Any] = self.marked(tool, mark)
        return marked | {"type": tool["type"]}


def unused_mark(texts: Iterable[str]) -> str:
    """A private-use character that stands in none of the texts."""
    used = set().union(*map(set, texts))
    return next(mark for mark in map(chr, range(0xE000, 0xF900)) if mark not in used)


def texts_in(value: Any) -> Iterator[str]:
    """Every text and name in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield str(name)
            yield from texts_in(each)


def without_marks(marked: str, mark: str, plain: str) -> Rendered:
    """The rendered text with seams where its marks were; it must be what the template makes of the unmarked messages.

    InvalidInput otherwise: then the template looks into the words, and cannot be kept from being deceived by them.
    """
    pieces = marked.split(mark)
    seams, end = [], 0
    for piece in pieces[:-1]:
        end += len(piece)
        seams.append(end)
    if "".join(pieces) != plain:
        raise InvalidInput(
            "a message spells one of the model's control tokens, and the chat template treats such text specially; "
            "leave the token out of the message"
        )
    return Rendered(plain, tuple(seams))
