"""Prompts that come as plain text or as token ids: what completions, embeddings and tokenize take."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from journeyman.errors import InvalidInput
from journeyman.rendering.chat import ChatTokenizer

TokenId = Annotated[int, Field(ge=0, strict=True)]
Ids = Annotated[list[TokenId], Field(min_length=1)]
Texts = Annotated[list[str], Field(min_length=1)]
Prompts = str | Texts | Ids | Annotated[list[Ids], Field(min_length=1)]
"""One text, several, the ids of one, or the ids of several, as OpenAI takes them."""


def read_prompts(tokenizer: ChatTokenizer, given: Prompts, *, add_special_tokens: bool = True) -> list[list[int]]:
    """The ids of each prompt; InvalidInput for an empty one, or for ids that are not in the vocabulary."""
    parts: Sequence[str | int | list[int]] = [given] if isinstance(given, str) else given
    if isinstance(parts[0], int):
        prompts = [check_ids(tokenizer, [part for part in parts if isinstance(part, int)])]
    else:
        prompts = [
            encode(tokenizer, part, add_special_tokens=add_special_tokens)
            if isinstance(part, str)
            else check_ids(tokenizer, part if isinstance(part, list) else [part])
            for part in parts
        ]
    for position, prompt in enumerate(prompts):
        if not prompt:
            where = "" if len(prompts) == 1 else f" number {position}"
            raise InvalidInput(f"the prompt{where} is empty: there is nothing to read")
    return prompts


def encode(tokenizer: ChatTokenizer, text: str, *, add_special_tokens: bool = True) -> list[int]:
    """Ids of plain text, with the special tokens that the tokenizer itself puts around a text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the text holds half a character (a lone surrogate): {error}") from error
    return list(tokenizer.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)


def check_ids(tokenizer: ChatTokenizer, ids: Sequence[int]) -> list[int]:
    """The ids, once all of them are known; InvalidInput names one that is not."""
    size = tokenizer.tokenizer.get_vocab_size()
    for id in ids:
        if not 0 <= id < size:
            raise InvalidInput(f"token id {id} is not in the vocabulary, which has {size} entries (0 to {size - 1})")
    return list(ids)
