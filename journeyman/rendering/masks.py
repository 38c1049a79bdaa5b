"""Which tokens of a conversation are learned: exactly those that the model itself would have sampled.

A target is found by rendering, not by searching for markers: the text that the template adds when the reply
is appended to what the model was shown, up to and including its end-of-sequence token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from journeyman.errors import InvalidInput
from journeyman.records import Message, Tool
from journeyman.rendering.chat import ChatTokenizer

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
    template = tokenizer.template
    ids: list[int] = []
    mask: list[bool] = []
    rendered = ""
    for position, message in enumerate(messages):
        if not learn(message):
            continue
        asking = message.role == "assistant"
        shown = _continued(template.render(messages[:position], tools, ask_for_reply=asking), rendered, position)
        answered = template.render(messages[: position + 1], tools, ask_for_reply=False)
        context = tokenizer.encode(shown)
        target, rest = _cut_at_stop(tokenizer, _continued(answered, rendered + shown, position))
        ids += context + target
        mask += [False] * len(context) + [True] * len(target)
        rendered = answered[: len(answered) - len(rest)]
    if not any(mask):
        raise InvalidInput("this conversation has no message to learn from (no assistant turn)")
    return MaskedTokens(tuple(ids), tuple(mask))


def _continued(text: str, before: str, position: int) -> str:
    if not text.startswith(before):
        raise InvalidInput(
            f"the chat template renders earlier turns differently once message {position} is there; "
            "training on it would not match serving: use a template that only appends"
        )
    return text[len(before) :]


def _cut_at_stop(tokenizer: ChatTokenizer, written: str) -> tuple[list[int], str]:
    """The target's ids up to its stop token, and the text (a newline, mostly) that follows it."""
    encoding = tokenizer.encoding(written)
    for position, token in enumerate(encoding.ids):
        if token in tokenizer.stop_ids:
            return encoding.ids[: position + 1], written[encoding.offsets[position][1] :]
    raise InvalidInput(
        "the chat template does not end an assistant turn with a stop token: the model could not learn to stop"
    )
