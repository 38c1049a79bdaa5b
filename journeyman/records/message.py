"""Chat messages and tools in OpenAI's shapes; unknown wire fields are kept."""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

Role = Literal["system", "developer", "user", "assistant", "tool"]


class Wire(BaseModel):
    """A value that crosses the wire as it is: frozen, and fields we do not know survive."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_serializer(mode="wrap")
    def _as_it_came(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what was set, also when a record that holds this value is written."""
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}

    def wire(self) -> dict[str, Any]:
        """The JSON object as a client would send it: fields that were never set are absent."""
        return self.model_dump(mode="json")


class FunctionCall(Wire):
    """Which function a model called; `arguments` stay the string that the model wrote."""

    name: str
    arguments: str

    def read(self) -> dict[str, Any] | None:
        """The arguments by name; None where the model wrote no JSON object."""
        try:
            found = json.loads(self.arguments)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


class Typed(Wire):
    """A wire value that always says its type: servers refuse it otherwise."""

    type: Literal["function"] = "function"

    def model_post_init(self, context: Any, /) -> None:
        """Count `type` as given."""
        self.__pydantic_fields_set__.add("type")


class ToolCall(Typed):
    """One call to a tool inside an assistant message."""

    id: str
    function: FunctionCall


class Function(Wire):
    """A function that a model may call; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Typed):
    """A tool offered to a model."""

    function: Function


class Message(Wire):
    """One message of a conversation."""

    role: Role
    content: str | list[dict[str, Any]] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The message's words alone: text parts joined, other parts left out."""
        if isinstance(self.content, list):
            return "".join(part.get("text", "") for part in self.content if part.get("type") == "text")
        return self.content or ""


def system(text: str) -> Message:
    """A system message."""
    return Message(role="system", content=text)


def user(text: str) -> Message:
    """A user message."""
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    """An assistant message that says something."""
    return Message(role="assistant", content=text)


def call(id: str, function: str, /, **arguments: Any) -> Message:
    """An assistant message that calls one tool."""
    written = FunctionCall(name=function, arguments=json.dumps(arguments, ensure_ascii=False, separators=(",", ":")))
    return Message(role="assistant", content=None, tool_calls=(ToolCall(id=id, type="function", function=written),))


def tool_result(call_id: str, content: str) -> Message:
    """What a tool answered."""
    return Message(role="tool", content=content, tool_call_id=call_id)
