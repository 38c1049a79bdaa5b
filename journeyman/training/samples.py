"""What every method learns from: rows of a dataset as token sequences, rendered exactly as they are served."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from journeyman.errors import InvalidInput
from journeyman.records import Message, Row
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import MaskedTokens, mask_conversation, mask_rows


@dataclass(frozen=True, slots=True)
class Sample(MaskedTokens):
    """One token sequence to learn from. The mask is True on the tokens that the policy would have sampled, or did.

    `logprobs` are the sampler's, one for each masked token; `reference` is their sum under the policy that the run
    began with; `weight`, `advantage`, `score` and `good` are for the methods that read them.
    """

    weight: float = 1.0
    advantage: float = 0.0
    logprobs: tuple[float, ...] | None = None
    reference: float = 0.0
    score: float = 0.0
    good: bool = True

    @property
    def learned(self) -> int:
        """How many tokens are learned; the first one of all is never predicted."""
        return sum(self.mask[1:])


Example = tuple[Sample, ...]
"""What a loss looks at together: one sample, or a better one and a worse one."""
BETTER_AND_WORSE = ("better", "worse")
"""What the two samples of a pair are, for people."""


def whole(tokenizer: ChatTokenizer, row: Row) -> list[Sample]:
    """The whole conversation; every assistant message is learned, once.

    More than one sample where the template rewrites earlier turns: each as the conversation is served at that point.
    """
    with _naming(row):
        return [Sample(each.ids, each.mask) for each in mask_rows(tokenizer, row.messages, row.tools)]


def last_reply(tokenizer: ChatTokenizer, row: Row) -> Sample:
    """The conversation, of which only what the assistant said after the last question is learned."""
    return Sample(*_masked(tokenizer, row, row.messages, _asked(row.messages) + 1))


def pair(tokenizer: ChatTokenizer, row: Row) -> tuple[Sample, Sample]:
    """The better and the worse reply; only what comes after the messages that both begin with is learned."""
    if row.rejected is None:
        raise InvalidInput(
            f"conversation {row.conversation} has nothing that was `rejected`, and this method learns from pairs: "
            "add it (`dataset build NAME --pairs` takes it from corrections), or choose a method that learns from "
            "single replies (sft, kto)"
        )
    same = 0
    while same < min(len(row.messages), len(row.rejected)) and row.messages[same] == row.rejected[same]:
        same += 1
    if same in (len(row.messages), len(row.rejected)):
        raise InvalidInput(
            f"conversation {row.conversation}: one reply only continues the other, so neither is worse; leave it out"
        )
    chosen = Sample(*_masked(tokenizer, row, row.messages, same))
    return chosen, Sample(*_masked(tokenizer, row, row.rejected, same))


def question(tokenizer: ChatTokenizer, row: Row) -> tuple[int, ...]:
    """Ids of the conversation up to where the assistant is to answer the last question."""
    asked = _asked(row.messages)
    if asked < 0:
        raise InvalidInput(f"conversation {row.conversation} asks nothing, so there is nothing to answer; leave it out")
    return tuple(tokenizer.prompt(row.messages[: asked + 1], row.tools))


def check_lengths(examples: Sequence[Example], row: Row, longest: int) -> None:
    """InvalidInput for a conversation of more than `longest` tokens: it is never silently cut."""
    length = max(len(sample.ids) for example in examples for sample in example)
    if length > longest:
        raise InvalidInput(
            f"conversation {row.conversation} is {length} tokens, longer than max_length {longest}: "
            "raise --max-length, or leave it out of the dataset"
        )


def _asked(messages: Sequence[Message]) -> int:
    return max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)


def _masked(
    tokenizer: ChatTokenizer, row: Row, messages: Sequence[Message], first: int
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    learned = {id(message) for message in messages[first:] if message.role == "assistant"}
    with _naming(row):
        masked = mask_conversation(tokenizer, messages, row.tools, lambda message: id(message) in learned)
    return masked.ids, masked.mask


@contextmanager
def _naming(row: Row) -> Iterator[None]:
    """An error inside names the conversation."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"conversation {row.conversation}: {error}") from error
