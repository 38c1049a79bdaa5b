"""OpenAI's chat files for fine-tuning: one conversation a line.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…", "weight": 0}],
     "tools": […], "parallel_tool_calls": false, "model": "…", "metadata": {"stage": "gold"}}

and its preference form, `{"input": {"messages": […], "tools": […]}, "preferred_output": [message],
"non_preferred_output": [message]}`, whose preferred reply becomes a correction of the other. The last message is the
reply; `weight` stays on its message (datasets refuse a weight of 0). Lossy: how it was sampled is not in such a file.
"""

from journeyman.capture.imports.rows import (
    Call,
    Imported,
    Json,
    Origin,
    check_messages,
    conversation,
    feedback,
    list_of,
    nested,
    object_of,
    tags,
    text,
)

_SAMPLING = ("parallel_tool_calls", "tool_choice", "response_format")


def read_row(row: Json, origin: Origin) -> list[Imported]:
    """The exchange of a line, and the correction that a preference is."""
    if "preferred_output" in row:
        return _preference(row, origin)
    messages, tools = nested(row.get("messages")), offered(row)
    told = Call(model=text(row.get("model")), tags=tags(row.get("metadata")))
    sampling = {name: row[name] for name in _SAMPLING if row.get(name) is not None}
    return [conversation(origin, origin.id(messages, tools), messages, tools, "lossy", told, sampling)]


def offered(row: Json) -> list[Json]:
    """The tools of a row, the older `functions` among them."""
    older = [{"type": "function", "function": function} for function in list_of(row.get("functions"))]
    return list_of(row.get("tools")) or older


def _preference(row: Json, origin: Origin) -> list[Imported]:
    asked = object_of(row.get("input"))
    messages, tools = nested(asked.get("messages")), offered(asked)
    preferred, other = nested(row["preferred_output"]), nested(row.get("non_preferred_output"))
    for each in (messages, preferred, other):
        check_messages(each)
    made = conversation(origin, origin.id(messages, tools, other), [*messages, *other], tools, "lossy")
    return [made, feedback(origin, "preference", exchange_id=made.id, correction=preferred[-1])]
