"""Asks a model that judges for answers in a strict form, and counts how well it keeps to it and what it costs.

What cannot be read is asked for again, with what was wrong, then given up and counted: a judge that rambles must not
turn into scores for anybody.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from journeyman.engines.engine import Engine
from journeyman.engines.scripted import estimated_usage
from journeyman.errors import InvalidInput, Refused, UpstreamFailed
from journeyman.prices import Price
from journeyman.records import Message, Sampling, Usage
from journeyman.records.message import assistant, user
from journeyman.rewards.metering import Ceiling, MeteredEngine

T = TypeVar("T")

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_TIMES = {1: "once", 2: "twice"}


class Malformed(NamedTuple):
    """What is wrong with an answer, in words that the judge can mend it by."""

    problem: str


@dataclass
class Asker:
    """Asks `model`, up to `tries` times for one answer; `on_cost` is told US dollars as they go.

    `timeout` is in seconds, for one answer with its retries.
    A `ceiling` is shared by all that may spend from it; it needs a price to count by.
    """

    engine: Engine
    model: str
    price: Price | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))
    on_cost: Callable[[float], None] | None = None
    judgements: int = 0
    answers: int = 0
    unreadable: int = 0
    lost: int = 0
    usage: Usage = field(default_factory=Usage)
    retries: int = 2
    tries: int = 2
    ceiling: Ceiling | None = None
    timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise InvalidInput(f"a judge is asked at least once, not {self.tries} times")
        if self.ceiling is not None and self.ceiling.usd is not None and self.price is None:
            raise InvalidInput(
                f"a cost ceiling needs the price of {self.model}, which is unknown: give one in the settings "
                f"([prices.{self.model}]), or leave the ceiling out"
            )
        self._asked = MeteredEngine(self.engine, self.retries)

    @property
    def cost_usd(self) -> float | None:
        """US dollars so far; None without a price."""
        return None if self.price is None else self.price.usd(self.usage)

    async def ask(self, messages: Sequence[Message], read: Callable[[str], T | Malformed]) -> T:
        """What `read` finds in an answer. UpstreamFailed when none can be read; Refused by the ceiling."""
        self.judgements += 1
        asked, text = list(messages), ""
        for _ in range(self.tries):
            text = await self._reply(asked)
            found = read(text)
            if not isinstance(found, Malformed):
                return found
            self.unreadable += 1
            asked += [assistant(text), user(_again(found.problem))]
        self.lost += 1
        times = _TIMES.get(self.tries, f"{self.tries} times")
        raise UpstreamFailed(
            f"the judge {self.model} answered {times} without a verdict that can be read; the case counts as unjudged. "
            f"Its last answer began: {text[:120]!r}. Take a judge that keeps to a form"
        )

    async def _reply(self, messages: Sequence[Message]) -> str:
        reserved = self._reserve(messages)
        cost: float | None = None
        try:
            async with asyncio.timeout(self.timeout):
                reply = await self._asked.reply(self.model, messages, (), self.sampling, tags={"stage": "judge"})
            self._count(reply.usage)
            cost = None if self.price is None else self.price.usd(reply.usage)
        except TimeoutError:
            raise UpstreamFailed(
                f"no answer of the judge {self.model} within {self.timeout:g} s; what it was asked about counts as "
                "unjudged: see whether its engine is overloaded",
                status=504,
            ) from None
        finally:
            if self.ceiling is not None:
                self.ceiling.settle(self.model, reserved, cost)
        if self.on_cost is not None and cost is not None:
            self.on_cost(cost)
        return reply.message.text

    def _reserve(self, messages: Sequence[Message]) -> float:
        """What is set aside for one answer: what the dearest cost, and at the least what the question will."""
        if self.ceiling is None or self.price is None:
            return 0.0
        reserved = self.ceiling.admit(self.model, self.price.usd(estimated_usage(messages, (), assistant(""))))
        if reserved is None:
            raise Refused(
                f"the ceiling of {self.ceiling.usd:g} US dollars for judging leaves no room for one more answer of "
                f"{self.model} ({self.ceiling.spent:.4f} are spent); nothing was asked. Raise it, or judge fewer "
                "attempts"
            )
        return reserved

    def _count(self, usage: Usage) -> None:
        self.answers += 1
        self.usage = Usage(
            prompt_tokens=self.usage.prompt_tokens + usage.prompt_tokens,
            cached_prompt_tokens=self.usage.cached_prompt_tokens + usage.cached_prompt_tokens,
            completion_tokens=self.usage.completion_tokens + usage.completion_tokens,
        )


async def all_of(asked: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them give, or the first failure once none is under way any more: what was paid for is not lost."""
    found = await asyncio.gather(*asked, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if not isinstance(each, BaseException)]


def read_object(text: str, keys: set[str]) -> dict[str, Any] | Malformed:
    """The one JSON object with exactly these keys that an answer is.

    A code fence around it and a model's thinking before it are part of how models speak; anything else is not read.
    """
    text = _THOUGHT.sub("", text)
    fenced = _FENCED.match(text)
    try:
        found: Any = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return Malformed("That was not one JSON object of the form that was asked for")
    if not isinstance(found, dict):
        return Malformed("That was not one JSON object of the form that was asked for")
    if set(found) != keys:
        return Malformed(f"The object must have the keys {', '.join(sorted(keys))} and no other")
    return found


def framed(**shown: object) -> Message:
    """What a judge is shown, as JSON: so no answer can end its own frame and speak in the judge's name."""
    known = {name: each for name, each in shown.items() if each is not None}
    return user(json.dumps(known, ensure_ascii=False, indent=1))


def _again(problem: str) -> str:
    return f"{problem}. Answer again, with that object and nothing else."
