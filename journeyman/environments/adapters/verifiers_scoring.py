"""What a task of verifiers says of a kept episode: its own reward and metric functions, on a trace made of it."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitedTooLong
from typing import Any, NamedTuple

from journeyman.errors import DeadlineExceeded, UpstreamFailed
from journeyman.records import Message, Outcome

SECONDS = 120.0
"""For all functions of a task together."""


class Rewards(NamedTuple):
    """The weighted sum, and each reward (unweighted) and metric by its name."""

    total: float
    parts: dict[str, float]


def rewards_of(task: Any, outcome: Outcome) -> Rewards:
    """Run the task's functions. UpstreamFailed where one fails, DeadlineExceeded where they do not end."""
    trace = _trace(task, outcome)
    _wait_for(task.score(trace))
    unscored = [name for name, each in {**trace.rewards, **trace.metrics}.items() if each is None]
    if unscored:
        raise UpstreamFailed(f"verifiers gave no value for {', '.join(unscored)}")
    parts = {name: each.score for name, each in trace.rewards.items()} | dict(trace.metrics)
    return Rewards(float(trace.reward), {name: float(each) for name, each in parts.items()})


def _trace(task: Any, outcome: Outcome) -> Any:
    """The trace that verifiers would have kept: the agent's own messages count as sampled."""
    from verifiers.v1.configs.agent import AgentConfig
    from verifiers.v1.graph import MessageNode
    from verifiers.v1.state import state_cls
    from verifiers.v1.trace import AgentInfo, Trace, TraceTask

    given = 1 if isinstance(task.data.prompt, str) else len(task.data.prompt)
    given += bool(task.data.system_prompt)
    messages = [Message.model_validate(each) for each in outcome.state["messages"]]
    nodes = [
        MessageNode(
            parent=number - 1 if number else None, message=_theirs(each, messages),
            sampled=each.role == "assistant" and number >= given,
        )
        for number, each in enumerate(messages)
    ]  # fmt: skip
    trace = Trace(
        task=TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        state=state_cls(type(task)).model_validate(outcome.state["shared"]),
        agent=AgentInfo(config=AgentConfig()), nodes=nodes,
    )  # fmt: skip
    trace.is_completed = trace.ok = True
    return trace


def _theirs(message: Message, all_of_them: Sequence[Message]) -> Any:
    from verifiers.v1 import types

    if message.role == "assistant":
        calls = [
            types.ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in message.tool_calls or ()
        ]
        return types.AssistantMessage(content=message.text or None, tool_calls=calls or None)
    if message.role == "tool":
        made = (call for each in all_of_them for call in each.tool_calls or () if call.id == message.tool_call_id)
        name = next((call.function.name for call in made), None)
        return types.ToolMessage(tool_call_id=message.tool_call_id or "", content=message.text, name=name)
    kind = types.SystemMessage if message.role in ("system", "developer") else types.UserMessage
    return kind(content=message.text)


def _wait_for(work: Coroutine[Any, Any, None]) -> None:
    """Scores are asked for without waiting, in the middle of a loop: so the functions have one of their own."""
    pool = ThreadPoolExecutor(1, "verifiers-scoring")
    try:
        pool.submit(asyncio.run, work).result(SECONDS)
    except WaitedTooLong:
        raise DeadlineExceeded(
            f"the task's rewards took longer than {SECONDS:g} s; the attempt has no scores"
        ) from None
    except Exception as problem:
        raise UpstreamFailed(f"a reward of the task failed: {problem!r}; there are no scores") from problem
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
