"""Traces of the bank demo by four policies, as a gateway would capture them: answers only, no state.

`gold` is the scripted expert, `curious` the expert that now and then looks again at what it has read, and at balances
around transfers, `noisy` one that
makes a random call in between, `random` calls anything.
"""

import asyncio
import json
import random
from collections.abc import Sequence

from journeyman.demos.bank.environment import BankSuite
from journeyman.demos.bank.players import gold, random_calls
from journeyman.engines.scripted import Script, ScriptedEngine
from journeyman.environments.rollout import roll_out_many
from journeyman.records import Message, Tool, Trajectory
from journeyman.records.message import call

POLICIES = ("gold", "curious", "noisy", "random")
_LOOKS_AGAIN = 0.45
_NOISE = 0.25


def trajectories(policy: str, split: str, count: int, seed: int) -> list[Trajectory]:
    """One attempt of a policy at each of `count` scenarios; the same seed gives the same calls."""
    suite = BankSuite()
    played = roll_out_many(suite, suite.scenarios(split, count, seed), ScriptedEngine(script(policy, seed)), policy)
    return asyncio.run(played)


def script(policy: str, seed: int) -> Script:
    """The policy as a scripted player."""
    if policy == "gold":
        return gold
    if policy == "random":
        return random_calls(seed)
    wander = random_calls(seed)

    def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        rng = random.Random(f"{policy}/{seed}/{len(messages)}/{messages[-1].text}")
        if messages[-1].role == "tool" and policy == "curious" and rng.random() < _LOOKS_AGAIN:
            calls = [each for message in messages for each in message.tool_calls or ()]
            looks = [each for each in calls if each.function.name.startswith(("get_", "list_"))]
            if looks:
                again = rng.choice(looks).model_copy(update={"id": f"again_{len(messages)}"})
                return Message(role="assistant", content=None, tool_calls=(again,))
        if policy == "curious":
            return _careful(messages, gold(messages, tools))
        if messages[-1].role == "tool" and policy == "noisy" and rng.random() < _NOISE:
            return wander(messages, tools)
        return gold(messages, tools)

    return act


def _careful(messages: Sequence[Message], reply: Message) -> Message:
    """The reply, after a look at the balance where it is a transfer, or follows one."""
    made = [each.function for message in messages for each in message.tool_calls or ()]
    last = made[-1] if made and messages[-1].role == "tool" else None
    if last is not None and last.name == "transfer":
        account = json.loads(last.arguments)["from_account"]
        return call(f"after_{len(messages)}", "get_balance", account=account)
    for each in reply.tool_calls or ():
        if each.function.name == "transfer" and (last is None or last.name != "get_balance"):
            account = json.loads(each.function.arguments)["from_account"]
            return call(f"before_{len(messages)}", "get_balance", account=account)
    return reply
