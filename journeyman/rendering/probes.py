"""The conversations by which a chat template is tried: small, of every kind that agents have."""

from dataclasses import dataclass

from journeyman.records import FunctionCall, Message, Tool, ToolCall
from journeyman.records.message import assistant, system, tool_result, user

TOOL = Tool.model_validate(
    {
        "function": {
            "name": "look_up",
            "description": "Look an order up.",
            "parameters": {
                "type": "object",
                "properties": {
                    "order": {"type": "string"},
                    "days": {"type": "integer"},
                    "share": {"type": "number"},
                    "nested": {"type": "object"},
                },
                "required": ["order"],
            },
        }
    }
)
ARGUMENTS = (
    '{"order": "0017", "days": 2}',
    '{"order": "a \\"quoted\\" line\\nand <b> & é 🙂", "days": -1}',
    '{"order": "true", "nested": {"list": [1.5, null, true, "3"]}}',
    "{}",
)
"""Arguments as models write them: strings that look like numbers, quotes, line breaks, nothing at all."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One conversation, and what it is to show; `needed` where no model could do without."""

    what: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    needed: bool = False


def calling(arguments: str, words: str | None = None, *, times: int = 1, thought: str | None = None) -> Message:
    """An assistant message that calls the probes' tool."""
    calls = [ToolCall(id=f"call_{n}", function=FunctionCall(name="look_up", arguments=arguments)) for n in range(times)]
    return _thinking(Message(role="assistant", content=words, tool_calls=tuple(calls)), thought)


def saying(words: str, thought: str | None = None) -> Message:
    """An assistant message of words, perhaps behind a thought."""
    return _thinking(assistant(words), thought)


def _thinking(message: Message, thought: str | None) -> Message:
    return message if thought is None else Message.model_validate(message.wire() | {"reasoning_content": thought})


def conversations(*, with_tools: bool, with_thoughts: bool) -> list[Probe]:
    """Whole conversations of several turns, with what the template says that it can show."""
    turns = (user("Where is it?"), assistant("Which one?"), user("The red one."), assistant("In the hall."))
    found = [
        Probe("two questions and their answers", turns, needed=True),
        Probe("a system message before them", (system("Be brief."), *turns)),
    ]
    if with_tools:
        loop = (
            user("Where is order 17?"), calling(ARGUMENTS[0]), tool_result("call_0", '{"state": "sent"}'),
            calling(ARGUMENTS[0]), tool_result("call_0", '{"state": "here"}'), assistant("It is here."),
        )  # fmt: skip
        found.append(Probe("a tool called twice", (*loop, user("Thanks."), assistant("Welcome.")), (TOOL,)))
    if with_thoughts:
        thinking = (saying("Which one?", "Two of them."), saying("In the hall.", "The red one is there."))
        found.append(Probe("thoughts before the answers", (turns[0], thinking[0], turns[2], thinking[1])))
    if with_tools and with_thoughts:
        thoughtful = (
            user("Where is order 17?"), calling(ARGUMENTS[0], thought="I look."), tool_result("call_0", "{}"),
            saying("Here.", "Found."),
        )  # fmt: skip
        found.append(Probe("a thought before a tool call", thoughtful, (TOOL,)))
    return found
