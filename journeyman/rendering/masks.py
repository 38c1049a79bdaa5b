"""Which tokens of a conversation are learned: exactly those that the model itself would have sampled.

A target is found by rendering, not by searching for markers: the text that the template adds when the reply
is appended to what the model was shown, up to and including its end-of-sequence token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from journeyman.errors import InvalidInput
from journeyman.records import Message, Tool
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.seams import Rendered

Chooses = Callable[[Message], bool]


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """Token ids of one conversation, `ids` and `mask` of equal length; the mask is True where the loss applies."""

    ids: tuple[int, ...]
    mask: tuple[bool, ...]


def on(role: str) -> Chooses:
    """Learn the messages of one role: `assistant` for an agent, `tool` for a world model."""
    return lambda message: message.role == role


def mask_conversation(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Tool] = (), learn: Chooses = on("assistant")
) -> MaskedTokens:
    """Ids of the whole conversation and the mask of its targets.

    InvalidInput when nothing is learned, or when the template rewrites earlier turns as a conversation grows:
    then the tokens trained on would not be the tokens served (`mask_rows` makes more than one row of it).
    """
    return _mask(tokenizer, messages, tools, learn, one_row=True)[0]


def mask_rows(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Tool] = (), learn: Chooses = on("assistant")
) -> list[MaskedTokens]:
    """The conversation in as few rows as show every target behind exactly what serving would show before it.

    One row where the template only appends. Where it rewrites earlier turns (Qwen3 forgets old thoughts), or where the
    next prompt reads a reply in other tokens than those it was sampled in, a row ends, and the next begins with the
    conversation as it is served now; each target is learned in one row only.
    InvalidInput when nothing is learned, or when a reply does not continue what the model was asked with.
    """
    return _mask(tokenizer, messages, tools, learn, one_row=False)


def _mask(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Tool], learn: Chooses, *, one_row: bool
) -> list[MaskedTokens]:
    rows: list[MaskedTokens] = []
    ids: list[int] = []
    mask: list[bool] = []
    rendered, appends = "", True
    for position, message in enumerate(messages):
        if not learn(message):
            continue
        asking = message.role == "assistant"
        asked = tokenizer.render(messages[:position], tools, ask_for_reply=asking)
        answered = tokenizer.render(messages[: position + 1], tools, ask_for_reply=False)
        if not one_row and ids and not (appends and asked.text.startswith(rendered)):
            rows.append(MaskedTokens(tuple(ids), tuple(mask)))
            ids, mask, rendered = [], [], ""
        context = tokenizer.encoding(_continued(asked, rendered, position)).ids
        began = len(rendered)
        target, end = _cut_at_stop(tokenizer, _continued(answered, asked.text, position))
        ids += context + target
        mask += [False] * len(context) + [True] * len(target)
        rendered = answered.text[: len(asked.text) + end]
        appends = one_row or _reads_alike(tokenizer, answered.part(began, len(rendered)), context + target)
    if not any(mask):
        raise InvalidInput("this conversation has no message to learn from (no assistant turn)")
    return [*rows, MaskedTokens(tuple(ids), tuple(mask))]


def _reads_alike(tokenizer: ChatTokenizer, written: Rendered, ids: list[int]) -> bool:
    """Whether the next prompt will hold a reply as it was sampled: the tokenizer may join it to what stands before.

    `written` begins behind a stop token, so that nothing before it plays a part.
    """
    return tokenizer.encoding(written).ids == ids


def _continued(rendered: Rendered, before: str, position: int) -> Rendered:
    if not rendered.text.startswith(before):
        raise InvalidInput(
            f"the chat template renders earlier turns differently once message {position} is there; "
            "training on it would not match serving: use a template that only appends"
        )
    return rendered.part(len(before))


def _cut_at_stop(tokenizer: ChatTokenizer, written: Rendered) -> tuple[list[int], int]:
    """The target's ids up to its stop token, and where the text goes on after it (with a newline, mostly)."""
    encoded = tokenizer.encoding(written)
    for position, token in enumerate(encoded.ids):
        if token in tokenizer.stop_ids:
            return encoded.ids[: position + 1], encoded.offsets[position][1]
    raise InvalidInput(
        "the chat template does not end an assistant turn with a stop token: the model could not learn to stop"
    )
