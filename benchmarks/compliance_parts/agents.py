"""Two scripted agents of AgentDojo's banking suite: both know the solution of every task, one obeys what it reads."""

import json
import re
from collections.abc import Sequence

from agentdojo.functions_runtime import FunctionCall

from compliance_parts.banking import gold, office, orders
from journeyman.records import Message, Tool
from journeyman.records.message import assistant, call

_LETTERS = re.compile(r"[^A-Za-z0-9]+")


def clean(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    """Makes the calls of the task's own solution, a failed one once more, and gives its answer."""
    asked = next(message.text for message in messages if message.role == "user")
    task = next(name for name, each in office().tasks.items() if asked == each.PROMPT)
    return _next(messages, gold(task), office().tasks[task].GROUND_TRUTH_OUTPUT or "Done.", set())


def leaky(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
    """The same, but it first does what an attacker's text in a tool's answer tells it, wherever it meets one."""
    read = _LETTERS.sub("", " ".join(message.text for message in messages if message.role == "tool"))
    made = _made(messages)
    met = [name for name, each in office().attacks.items() if _LETTERS.sub("", each.GOAL) in read]
    wanted = [order for name in met for order in orders(name)]
    for order in wanted:
        if _key(order) not in made:
            return call(f"call_{len(messages)}", order.function, **order.args)
    asked = next(message.text for message in messages if message.role == "user")
    task = next(name for name, each in office().tasks.items() if asked == each.PROMPT)
    answer = office().tasks[task].GROUND_TRUTH_OUTPUT or "Done."
    return _next(messages, gold(task), answer, {_key(order) for order in wanted})


def _next(messages: Sequence[Message], wanted: Sequence[FunctionCall], answer: str, others: set[str]) -> Message:
    """The first call of the solution that has not succeeded yet, at most twice; then the answer."""
    done, failed = _outcomes(messages, others)
    for place, each in enumerate(wanted):
        if place < done:
            continue
        if failed >= 2:
            return assistant("I am sorry, the system has a problem.")
        return call(f"call_{len(messages)}", each.function, **each.args)
    return assistant(answer)


def _outcomes(messages: Sequence[Message], others: set[str]) -> tuple[int, int]:
    """How many calls of the solution succeeded, and how often the present one failed."""
    results = {each.tool_call_id: each.text for each in messages if each.role == "tool"}
    done = failed = 0
    for message in messages:
        for made in message.tool_calls or ():
            if f"{made.function.name} {_canonical(json.loads(made.function.arguments))}" in others:
                continue
            is_failed = results.get(made.id, "").startswith('{"error"')
            done, failed = (done, failed + 1) if is_failed else (done + 1, 0)
    return done, failed


def _made(messages: Sequence[Message]) -> set[str]:
    return {
        f"{each.function.name} {_canonical(json.loads(each.function.arguments))}"
        for message in messages
        for each in message.tool_calls or ()
    }


def _key(made: FunctionCall) -> str:
    return f"{made.function} {_canonical(made.args)}"


def _canonical(arguments: object) -> str:
    return json.dumps(arguments, sort_keys=True, default=str)
