"""Has a stronger model answer again what a weaker one had answered."""

from journeyman.datasets.asking import Question
from journeyman.datasets.cache import Answer
from journeyman.datasets.soundness import what_is_wrong
from journeyman.records import Message, Row
from journeyman.records.message import system


def question_of(row: Row, instruction: str | None = None) -> Question:
    """All that was said before the row's last assistant turn, under another system message where one is given."""
    asked = row.messages[: _last_turn(row)]
    if instruction is not None:
        asked = (system(instruction), *(each for each in asked if each.role not in ("system", "developer")))
    return Question(row.source, asked, row.tools)


def relabelled(row: Row, answer: Answer) -> Row | str:
    """The row with the answer in the place of its last assistant turn; or why it cannot be learned.

    What followed that turn is dropped: it went on from what was said before.
    """
    if answer.finish_reason == "length":
        return "the new reply was cut off; allow more max_tokens"
    messages = (*row.messages[: _last_turn(row)], _plain(answer.message))
    problem = what_is_wrong(messages)
    return f"the new reply cannot be learned: {problem}" if problem else row.model_copy(update={"messages": messages})


def _last_turn(row: Row) -> int:
    return max(place for place, message in enumerate(row.messages) if message.role == "assistant")


def _plain(message: Message) -> Message:
    """The message without the nulls that servers write for what is not there."""
    return Message.model_validate({key: value for key, value in message.wire().items() if value is not None})
