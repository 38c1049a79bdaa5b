"""Shows conversations in a terminal. What a model or a stranger wrote is never taken for markup or control codes."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from journeyman.records import Message, ToolCall

_COLOURS = {"system": "magenta", "developer": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}


def harmless(text: str) -> str:
    """The text with everything that could steer a terminal replaced."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def one_line(text: str, style: str = "") -> Text:
    """Text for a table's cell: cut off with an ellipsis where the column ends."""
    return Text(harmless(" ".join(text.split())), style=style, no_wrap=True, overflow="ellipsis")


def first_words(message: Message | None) -> Text:
    """The start of what a message says, or of the tools that it calls."""
    if message is None:
        return one_line("-")
    return one_line(" ".join([message.text, *map(_written, message.tool_calls or ())]))


def print_thread(console: Console, messages: Iterable[Message]) -> None:
    """Print a conversation turn by turn, tool calls as `name(arguments)`."""
    for message in messages:
        answers = f" → {message.tool_call_id}" if message.tool_call_id else ""
        console.print(Text(harmless(message.role + answers), style=f"bold {_COLOURS[message.role]}"))
        if message.text:
            console.print(Text(harmless(message.text)), soft_wrap=True)
        for part in message.content if isinstance(message.content, list) else ():
            if part.get("type") != "text":
                console.print(Text(harmless(f"[{part.get('type', 'part')}]"), style="dim"))
        for call in message.tool_calls or ():
            console.print(Text(harmless(f"{call.id} → {_written(call)}")), soft_wrap=True)
        console.print()


def _written(call: ToolCall) -> str:
    return f"{call.function.name}({call.function.arguments})"
