"""Says why a conversation cannot be learned from; the same gate for captured and for imported rows."""

from collections.abc import Sequence

from journeyman.records import Message


def what_is_wrong(messages: Sequence[Message]) -> str | None:
    """The first problem with the conversation, or None: order of roles, empty messages, nothing to learn."""
    if not messages:
        return "it has no messages"
    pending: set[str] = set()
    for number, message in enumerate(messages, start=1):
        problem = _empty(message) or _out_of_order(message, pending)
        if problem:
            return f"message {number} ({message.role}) {problem}"
        if message.role == "assistant":
            pending = {call.id for call in message.tool_calls or ()}
        elif message.role == "tool":
            pending.discard(str(message.tool_call_id))
    if not any(message.role == "assistant" for message in messages):
        return "it has no assistant turn to learn from"
    return None


def _empty(message: Message) -> str | None:
    if message.role == "assistant":
        # OpenAI's weight 0 says "do not learn this turn"; we learn every assistant turn, so we must not pretend.
        if (message.model_extra or {}).get("weight") == 0:
            return "has weight 0, but every assistant turn is learned; remove the weight or the row"
        return None if message.content or message.tool_calls else "has neither content nor tool calls"
    if message.tool_calls:
        return "calls tools, which only an assistant does"
    if message.role == "tool":
        return "has no content" if message.content is None else None
    return None if message.content else "has no content"


def _out_of_order(message: Message, pending: set[str]) -> str | None:
    if message.role == "tool":
        if message.tool_call_id is None:
            return "has no tool_call_id"
        if message.tool_call_id not in pending:
            return f"answers the call {message.tool_call_id!r}, which the assistant turn before it did not make"
        return None
    if pending:
        return f"comes before the tool call {min(pending)!r} was answered"
    return None
