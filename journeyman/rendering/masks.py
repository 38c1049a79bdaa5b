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
    then the tokens trained on would not be the tokens served.
    """
    ids: list[int] = []
    mask: list[bool] = []
    rendered = ""
    for position, message in enumerate(messages):
        if not learn(message):
            continue
        asking = message.role == "assistant"
        asked = tokenizer.render(messages[:position], tools, ask_for_reply=asking)
        answered = tokenizer.render(messages[: position + 1], tools, ask_for_reply=False)
        context = tokenizer.encoding(_continued(asked, rendered, position)).ids
        target, end = _cut_at_stop(tokenizer, _continued(answered, asked.text, position))
        ids += context + target
        mask += [False] * len(context) + [True] * len(target)
        rendered = answered.text[: len(asked.text) + end]
    if not any(mask):
        raise InvalidInput("this conversation has no message to learn from (no assistant turn)")
    return MaskedTokens(tuple(ids), tuple(mask))


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
