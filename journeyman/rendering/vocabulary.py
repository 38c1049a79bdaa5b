"""A model's tokenizer file: text into ids and back, with control tokens only where they are meant."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.rendering import reasoning, tool_calls
from journeyman.rendering.seams import Rendered

MARKERS = frozenset(
    {reasoning.OPENING, reasoning.CLOSING, tool_calls.OPENING, tool_calls.CLOSING, tool_calls.PYTHON_TAG}
)
"""Tokens by which a model structures its reply: we must see them to read it, even where its file calls them special."""

_FILE = "tokenizer.json"
_WAY_OUT = "take the file again from where the model came from"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids and the characters [from, to) that each stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]

    def extend(self, more: "Encoded", shift: int = 0) -> None:
        """Append what was encoded of text that begins at `shift`."""
        self.ids.extend(more.ids)
        self.offsets.extend((start + shift, end + shift) for start, end in more.offsets)


def check_tokenizer(adapter: Path, base: Path) -> None:
    """InvalidInput when an adapter's folder brings a tokenizer that has other ids than its base model's.

    Most bring none, or the very file of the base; what was only added, such as a token for padding, does no harm.
    """
    own, others = adapter / _FILE, base / _FILE
    if not own.is_file() or own.read_bytes() == others.read_bytes():
        return
    known = _read(base).get_vocab()
    for token, id in _read(adapter).get_vocab().items():
        if known.get(token, id) != id:
            raise InvalidInput(
                f"the adapter in {adapter.name} learned under another tokenizer than that of {base.name}: in its "
                f"{_FILE} {token!r} is token {id}, here it is {known[token]}. Use it with the model it was trained on"
            )


class Vocabulary:
    """The tokenizer of a model folder."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = _with_exact_controls(_read(folder))
        # Some models ship with a length to cut or pad to: a prompt is never cut in silence.
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        added = self.tokenizer.get_added_tokens_decoder()
        self.added = {token.content: id for id, token in added.items()}
        """All that the file adds to the words it learned: control tokens, and often line breaks and tags."""
        self.special = frozenset(token.content for token in added.values() if token.special)
        """Control tokens, which never are text."""
        self._added, self._special_ids = frozenset(added), frozenset(self.added[text] for text in self.special)
        self._silent = frozenset(self.added[text] for text in self.special - MARKERS)

    @property
    def words(self) -> int:
        """How many tokens the words that it learned take: one more than the greatest of their ids."""
        return max(self.tokenizer.get_vocab(with_added_tokens=False).values(), default=-1) + 1

    def encode(self, rendered: Rendered) -> Encoded:
        """Ids of a text: control tokens are read as such, except across a seam."""
        found = _encode(self.tokenizer, rendered.text)
        spelled = [self._is_spelled(*token, rendered.seams) for token in zip(found.ids, found.offsets, strict=True)]
        if not any(spelled):
            return found
        whole, last = Encoded([], []), -1
        real = [place for place, id in enumerate(found.ids) if id in self._added and not spelled[place]]
        for place in (*real, len(found.ids)):
            # The tokenizer itself reads what lies between two control tokens by itself.
            if any(spelled[last + 1 : place]):
                start = found.offsets[last][1] if last >= 0 else 0
                end = found.offsets[place][0] if place < len(found.ids) else len(rendered.text)
                whole.extend(self._as_words(rendered.text[start:end]), start)
            else:
                whole.extend(Encoded(found.ids[last + 1 : place], found.offsets[last + 1 : place]))
            whole.extend(Encoded(found.ids[place : place + 1], found.offsets[place : place + 1]))
            last = place
        return whole

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Text of ids, without control tokens unless they are to be kept."""
        shown = list(ids) if keep_special else [id for id in ids if id not in self._silent]
        return str(self.tokenizer.decode(shown, skip_special_tokens=False))

    def _is_spelled(self, id: int, offset: tuple[int, int], seams: Sequence[int]) -> bool:
        """Whether a control token was read where a message only spells it."""
        place = bisect_right(seams, offset[0])
        return id in self._added and place < len(seams) and seams[place] < offset[1]

    def _as_words(self, text: str) -> Encoded:
        encoded = _encode(self._words_alone, text)
        if not self._special_ids.isdisjoint(encoded.ids):
            raise InvalidInput("a message spells a control token, which this model's tokenizer cannot take as text")
        return encoded

    @cached_property
    def _words_alone(self) -> Tokenizer:
        """The same tokenizer without the tokens that its file adds; made when it is first needed."""
        written = json.loads(self.tokenizer.to_str())
        return Tokenizer.from_str(json.dumps(written | {"added_tokens": []}))


def _read(folder: Path) -> Tokenizer:
    path = folder / _FILE
    if not path.is_file():
        raise ModelFileBroken(f"{folder.name}: {_FILE} is missing; {_WAY_OUT}")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises nothing more exact.
        raise ModelFileBroken(f"{folder.name}: {_FILE} is damaged ({error}); {_WAY_OUT}") from error


def _with_exact_controls(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with control tokens and tags that are read in their own characters only.

    A file may ask for them to be sought in the normalised text. There `＜|im_end|＞` in full-width characters, which no
    search for the token's spelling finds, would be the token.
    """
    written = json.loads(tokenizer.to_str())
    loose = [
        token for token in written["added_tokens"]
        if token["normalized"] and (token["special"] or (token["content"][:1] in "<[" and len(token["content"]) > 1))
    ]  # fmt: skip
    if not written["normalizer"] or not loose:
        return tokenizer
    for token in loose:
        token["normalized"] = False
    return Tokenizer.from_str(json.dumps(written))


def _encode(tokenizer: Tokenizer, text: str) -> Encoded:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the conversation holds half a character (a lone surrogate): {error}") from error
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return Encoded(list(encoding.ids), list(encoding.offsets))
