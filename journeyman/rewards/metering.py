"""Counts what judges and evaluations use: tokens and retries of each conversation, and money against a ceiling."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from journeyman.engines.engine import Engine, Reply
from journeyman.errors import InvalidInput, Overloaded, UpstreamFailed
from journeyman.records import Message, Sampling, Tool, Usage

BACKOFF = 0.25
"""Seconds before the first further try, unless the server says when; they double with each."""
LONGEST_WAIT = 30.0


class MeteredEngine:
    """An engine that tries again what the upstream failed at, and counts usage and retries by session."""

    def __init__(self, engine: Engine, retries: int = 2) -> None:
        self._engine, self._retries = engine, retries
        self._usage: dict[str, list[Usage]] = defaultdict(list)
        self._retried: dict[str, int] = defaultdict(int)

    async def reply(
        self,
        model: str,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        sampling: Sampling = Sampling(),
        *,
        session: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Reply:
        """The reply, perhaps of a further try; its latency is that of the try that succeeded."""
        for tried in range(self._retries + 1):
            try:
                reply = await self._engine.reply(model, messages, tools, sampling, session=session, tags=tags)
            except (UpstreamFailed, Overloaded) as problem:
                if tried == self._retries:
                    raise
                self._retried[session or ""] += 1
                await asyncio.sleep(min(problem.retry_after or BACKOFF * 2**tried, LONGEST_WAIT))
            else:
                self._usage[session or ""].append(reply.usage)
                return reply
        raise AssertionError("the last try returns or raises")

    def usage(self, session: str) -> Usage:
        """All tokens of a conversation."""
        parts = self._usage.get(session, [])
        return Usage(
            prompt_tokens=sum(each.prompt_tokens for each in parts),
            cached_prompt_tokens=sum(each.cached_prompt_tokens for each in parts),
            completion_tokens=sum(each.completion_tokens for each in parts),
        )

    def retries(self, session: str) -> int:
        """How many calls of a conversation were tried again."""
        return self._retried.get(session, 0)


class Ceiling:
    """Lets a case begin only while the dearest so far, for it and for all under way, would still fit below `usd`.

    A model's first case is let in unseen, one at a time: until then nobody knows what a case costs.
    """

    def __init__(self, usd: float | None) -> None:
        if usd is not None and usd <= 0:
            raise InvalidInput(f"a cost ceiling is above 0 US dollars, not {usd:g}")
        self.usd = usd
        self.spent = 0.0
        self._reserved = 0.0
        self._dearest: dict[str, float] = {}
        self._dearest_judgement = 0.0

    def admit(self, model: str, at_least: float = 0.0) -> float | None:
        """What is set aside for one more case of `model`, to be given to `settle`; None when it might not fit.

        `at_least` is what it will surely cost, where that is known before the first.
        """
        expected = max(at_least, self._dearest.get(model, 0.0)) + 2 * self._dearest_judgement
        if self.usd is not None and self.spent + self._reserved + expected > self.usd:
            return None
        self._reserved += expected
        return expected

    def settle(self, model: str, reserved: float, cost: float | None) -> None:
        """A case of `model` is over: what it cost, in place of what was set aside for it."""
        self._reserved -= reserved
        self.spent += cost or 0.0
        self._dearest[model] = max(self._dearest.get(model, 0.0), cost or 0.0)

    def resume(self, spent: float, costs: Iterable[tuple[str, float | None]]) -> None:
        """Go on from what an interrupted run had spent; `costs` are those of its cases, by model."""
        self.spent = spent
        for model, cost in costs:
            self._dearest[model] = max(self._dearest.get(model, 0.0), cost or 0.0)

    def judged(self, cost: float) -> None:
        """A judge has answered once."""
        self.spent += cost
        self._dearest_judgement = max(self._dearest_judgement, cost)
