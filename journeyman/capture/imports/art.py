"""ART's trajectories: one trajectory, or one group of them, a line.

    {"trajectories": [{"messages_and_choices": [message | choice, …], "tools": […], "reward": 0.7,
      "metrics": {"turns": 3}, "metadata": {"scenario_id": "7"}, "additional_histories": [{…}], "logs": ["…"]}, …]}

A choice (`{"message": {…}, "finish_reason": "stop", "logprobs": {…}, "token_ids": […]}`) is what the trained model
said: each becomes an exchange whose request is everything before it. Where a trajectory has none, its last assistant
message is taken. The exchanges of a trajectory are one session; reward and metrics are feedback on it, and those of a
group carry one `art.group` tag. Reconstructed, for the wire's bodies are not in such a file; lossy without choices.
"""

from collections.abc import Iterator

from journeyman.capture.imports.openai_chat import offered
from journeyman.capture.imports.rows import (
    Call,
    Imported,
    Json,
    Origin,
    check_messages,
    conversation,
    exchange,
    feedback,
    list_of,
    nested,
    object_of,
    score,
    tags,
    text,
)
from journeyman.errors import InvalidInput


def read_row(row: Json, origin: Origin) -> list[Imported]:
    """The exchanges of a trajectory or of a group, and their rewards and metrics."""
    if "trajectories" not in row:
        return list(_trajectory(row, origin, {}))
    attempts = list_of(row["trajectories"])
    if not attempts:
        raise InvalidInput("is a group without trajectories")
    group = {"art.group": origin.id("group", attempts)[:12]}
    return [each for attempt in attempts for each in _trajectory(attempt, origin, group)]


def _trajectory(row: Json, origin: Origin, group: dict[str, str]) -> Iterator[Imported]:
    session = f"art-{origin.id(row)[:16]}"
    told = Call(session=session, model=text(row.get("model")), tags={**tags(row.get("metadata")), **group})
    yield from _history(row, origin, told, 0)
    for number_, other in enumerate(list_of(row.get("additional_histories")), start=1):
        yield from _history(other, origin, told, number_)
    scores = {"reward": row.get("reward"), **object_of(row.get("metrics"))}
    for name, value in scores.items():
        found = score(name, value)
        if found is not None:
            yield feedback(origin, name or "metric", session=session, value=found)


def _history(row: Json, origin: Origin, told: Call, number_: int) -> Iterator[Imported]:
    items, tools = nested(row.get("messages_and_choices")), offered(row)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidInput("has no list of messages and choices")
    said: list[Json] = []
    chosen = 0
    for item in items:
        if "message" not in item:
            said.append({name: each for name, each in item.items() if each is not None})
            continue
        message = {"role": "assistant", **object_of(item["message"])}
        check_messages([*said, message])
        request = {"messages": list(said), **({"tools": tools} if tools else {})}
        response = {**_ids(item), "choices": [{"index": 0, **item, "message": message}]}
        id = origin.id(told.session, number_, chosen)
        yield exchange(origin, id, request, response, "reconstructed", told)
        said.append({name: each for name, each in message.items() if each is not None})
        chosen += 1
    if not chosen:
        while said and said[-1].get("role") != "assistant":
            said.pop()
        yield conversation(origin, origin.id(told.session, number_, 0), said, tools, "lossy", told)


def _ids(choice: Json) -> Json:
    return {"prompt_token_ids": choice["prompt_token_ids"]} if "prompt_token_ids" in choice else {}
