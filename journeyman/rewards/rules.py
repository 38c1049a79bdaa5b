"""Rewards by code, each a rule on one trajectory: exact, free, and the first choice where they fit."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.records import Message, Score, Trajectory
from journeyman.rewards.reward import Reward, each

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)


def own_score(score: str = "success", name: str | None = None) -> Reward:
    """The environment's own score of that name; an attempt that never got it cannot be scored."""

    def rule(trajectory: Trajectory) -> Score | None:
        return next((found for found in trajectory.scores if found.name == score), None)

    return each(rule, name or score)


def matches(pattern: str, name: str, *, flags: re.RegexFlag = re.RegexFlag(0)) -> Reward:
    """1 where the last reply's words match the regular expression anywhere, else 0."""
    try:
        compiled = re.compile(pattern, flags)
    except re.error as error:
        raise InvalidInput(f"the pattern of {name} is no regular expression ({error}): {pattern!r}") from error
    return each(lambda trajectory: bool(compiled.search(last_reply(trajectory))), name)


def says_json(name: str = "json", *, keys: Sequence[str] = ()) -> Reward:
    """1 where the last reply is one JSON object (a code fence around it is fine) with all these keys, else 0."""

    def rule(trajectory: Trajectory) -> bool:
        text = last_reply(trajectory)
        fenced = _FENCED.match(text)
        try:
            found: Any = json.loads(fenced[1] if fenced else text)
        except ValueError:
            return False
        return isinstance(found, dict) and all(key in found for key in keys)

    return each(rule, name)


def overlong_penalty(length: int, most: int, buffer: int) -> float:
    """DAPO's soft punishment (arXiv 2503.14476, eq. 13): 0 up to `most − buffer` tokens, falling to −1 at `most`."""
    if not 0 < buffer <= most:
        raise InvalidInput(f"the buffer of an overlong penalty must lie within 1..{most} tokens, not {buffer}")
    return -min(max(length - (most - buffer), 0) / buffer, 1.0)


def overlong(most: int, buffer: int, name: str = "overlong") -> Reward:
    """`overlong_penalty` for all sampled tokens; an attempt whose tokens were not counted cannot be scored."""
    overlong_penalty(0, most, buffer)

    def rule(trajectory: Trajectory) -> float | None:
        if trajectory.turns and not trajectory.completion_tokens:
            return None
        return overlong_penalty(trajectory.completion_tokens, most, buffer)

    return each(rule, name)


def finished(name: str = "finished") -> Reward:
    """1 where no error ended the attempt and no reply was cut off by its token limit, else 0."""
    return each(lambda trajectory: trajectory.error is None and "length" not in trajectory.finish_reasons, name)


def few_repeats(most: int = 2, name: str = "few_repeats") -> Reward:
    """1 where no tool was called more than `most` times with the same arguments, else 0."""
    if most < 1:
        raise InvalidInput(f"{name} must allow at least one call, not {most}")

    def rule(trajectory: Trajectory) -> bool:
        calls = Counter(
            (call.function.name, call.function.arguments)
            for message in trajectory.messages
            for call in message.tool_calls or ()
        )
        return max(calls.values(), default=0) <= most

    return each(rule, name)


def last_reply(trajectory: Trajectory) -> str:
    """The words of the last message that the model wrote; empty when it wrote none."""
    return next((message.text for message in reversed(trajectory.messages) if message.role == "assistant"), "")


def own_part(trajectory: Trajectory) -> tuple[Message, ...]:
    """What the attempt added: everything from the model's first message on."""
    first = next((at for at, each in enumerate(trajectory.messages) if each.role == "assistant"), None)
    return () if first is None else trajectory.messages[first:]
