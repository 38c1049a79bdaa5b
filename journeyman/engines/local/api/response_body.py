"""The request body of the Responses API, and the chat completion that it asks for in other words."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from journeyman.engines.local.api.body import ChatBody, read_as, read_body
from journeyman.engines.local.api.response_input import InputItem, to_messages
from journeyman.errors import InvalidInput

_REFUSED = {
    "previous_response_id": "this engine keeps no responses; send the whole conversation as input",
    "conversation": "this engine keeps no conversations; send the whole conversation as input",
    "store": "this engine keeps no responses; leave it out, or send false",
    "background": "this engine answers while you wait; leave it out, or send false",
    "prompt": "this engine keeps no prompts; send instructions and input",
    "reasoning": "how long this model thinks cannot be told to it; leave it out",
    "include": "there is nothing more to include; leave it out",
    "max_tool_calls": "this engine calls no tools itself; leave it out",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FunctionTool(_Strict):
    """A function that the model may call."""

    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class CalledFunction(_Strict):
    """The function that the model must call."""

    type: Literal["function"]
    name: str


class PlainText(_Strict):
    """Text of any kind, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaText(_Strict):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(_Strict):
    """How the reply is to be written."""

    format: Annotated[PlainText | SchemaText, Field(discriminator="type")] = PlainText(type="text")


class ResponseBody(_Strict):
    """`POST /v1/responses`."""

    model: str
    input: str | Annotated[list[InputItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    tools: list[FunctionTool] = []
    tool_choice: Literal["auto", "none", "required"] | CalledFunction = "auto"
    parallel_tool_calls: bool = True
    text: TextOptions = TextOptions()
    stream: bool = False
    truncation: Literal["disabled"] = "disabled"
    service_tier: Literal["auto", "default"] = "auto"
    metadata: dict[str, str] = {}
    """Comes back with the response, as do the rest."""
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def chat(self) -> ChatBody:
        """The same wishes as a chat completion."""
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [message.wire() for message in to_messages(self.instructions, self.input)],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_completion_tokens": self.max_output_tokens,
            "response_format": self._format(),
            "stream": self.stream,
        }
        if self.tools:
            tools = [tool.model_dump(exclude={"type"}, exclude_unset=True) for tool in self.tools]
            asked["tools"] = [{"type": "function", "function": tool} for tool in tools]
            asked["parallel_tool_calls"] = self.parallel_tool_calls
            asked["tool_choice"] = self._choice()
        elif self.tool_choice not in ("auto", "none"):
            raise InvalidInput("tool_choice: a call is demanded, but there are no tools")
        return read_body(asked)

    def _choice(self) -> str | dict[str, Any]:
        if isinstance(self.tool_choice, CalledFunction):
            return {"type": "function", "function": {"name": self.tool_choice.name}}
        return self.tool_choice

    def _format(self) -> dict[str, Any] | None:
        asked = self.text.format
        if isinstance(asked, PlainText):
            return None if asked.type == "text" else {"type": asked.type}
        schema = asked.model_dump(by_alias=True, exclude={"type"}, exclude_none=True)
        return {"type": "json_schema", "json_schema": schema}


def read_response_body(parsed: object) -> ResponseBody:
    """The body of a response; InvalidInput says why something is not done here."""
    if isinstance(parsed, dict):
        for name, reason in _REFUSED.items():
            value = parsed.get(name)
            if not (value is None or value is False or value == []):
                raise InvalidInput(f"{name}: {reason}")
        # Clients send null for "not given".
        parsed = {name: value for name, value in parsed.items() if value is not None and name not in _REFUSED}
    return read_as(ResponseBody, parsed)
