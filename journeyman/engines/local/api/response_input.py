"""The items that a response continues, read as the messages of a conversation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from journeyman.records import FunctionCall, Message, ToolCall


class _Item(BaseModel):
    """Clients send back what they were given, with ids and states that mean nothing to the model."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = None
    status: str | None = None


class TextPart(BaseModel):
    """Words of a message; what a reply carried beside them is not read."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["input_text", "output_text", "text", "reasoning_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class MessageItem(_Item):
    """What somebody said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[TextPart]
    phase: str | None = None


class CallItem(_Item):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    namespace: None = None
    caller: None = None


class CallOutputItem(_Item):
    """What the function answered."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[TextPart]
    caller: None = None


class ReasoningItem(_Item):
    """What the model thought before it spoke."""

    type: Literal["reasoning"]
    summary: list[Any] = []
    content: list[TextPart] | None = None
    encrypted_content: None = None


def _kind(item: Any) -> str:
    found = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return "message" if found is None else str(found)


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


def to_messages(instructions: str | None, given: str | Sequence[InputItem]) -> list[Message]:
    """The conversation, with what one assistant turn consists of put together again."""
    transcript = _Transcript([] if instructions is None else [Message(role="system", content=instructions)])
    if isinstance(given, str):
        return [*transcript.messages, Message(role="user", content=given)]
    for item in given:
        if isinstance(item, MessageItem) and item.role == "assistant":
            transcript.say(_text(item.content))
        elif isinstance(item, CallItem):
            function = FunctionCall(name=item.name, arguments=item.arguments)
            transcript.calls.append(ToolCall(id=item.call_id, type="function", function=function))
        elif isinstance(item, ReasoningItem):
            transcript.end_turn()
            transcript.thought = _text(item.content or ())
        else:
            transcript.end_turn()
            transcript.messages.append(_message(item))
    transcript.end_turn()
    return transcript.messages


@dataclass(slots=True)
class _Transcript:
    """Messages, and the assistant's turn that is being put together from its items."""

    messages: list[Message]
    thought: str = ""
    said: str | None = None
    calls: list[ToolCall] = field(default_factory=list)

    def say(self, words: str) -> None:
        """An assistant's words: they begin a turn unless only thoughts came before."""
        if self.said is not None or self.calls:
            self.end_turn()
        self.said = words

    def end_turn(self) -> None:
        """Add the turn, if there is one, as a message."""
        more: dict[str, Any] = {"reasoning_content": self.thought} if self.thought else {}
        if self.calls:
            more["tool_calls"] = tuple(self.calls)
        if more or self.said is not None:
            self.messages.append(Message(role="assistant", content=self.said, **more))
        self.thought, self.said, self.calls = "", None, []


def _message(item: MessageItem | CallOutputItem) -> Message:
    if isinstance(item, CallOutputItem):
        return Message(role="tool", content=_text(item.output), tool_call_id=item.call_id)
    # Chat templates know no developer; the two names stand for the same voice.
    role = "system" if item.role == "developer" else item.role
    return Message(role=role, content=_text(item.content))


def _text(content: str | Sequence[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
