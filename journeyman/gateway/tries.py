"""When a call is tried again, and where: only what no client has seen anything of, and by the rule of its route."""

import random
from collections.abc import Mapping
from typing import NamedTuple

from journeyman.config import RouteRule
from journeyman.gateway.transport import Answer, Header, Unreached

_LONGEST_PAUSE = 8.0
_LONGEST_PATIENCE = 30.0
"""Seconds that an upstream may ask us to wait; one that asks for more is not tried again for this call."""
_UNREACHED_PAUSE = 0.1


class Plan(NamedTuple):
    """Who is asked for a model's name, in order, and how often. Without a rule only what reached nobody is retried."""

    names: tuple[str, ...]
    rule: RouteRule | None = None

    @property
    def tries(self) -> int:
        """How often each target may be asked."""
        return 2 if self.rule is None else 1 + self.rule.retries

    def retries(self, failure: Exception | int) -> bool:
        """Whether an upstream's failure, or its status, may be overcome by another try."""
        if self.rule is None:
            return isinstance(failure, Unreached)
        if isinstance(failure, int):
            return failure in (408, 429) or failure >= 500
        return True

    def pause(self, number: int, retry_after: float | None = None) -> float | None:
        """Seconds before the try behind the `number`-th (from 0); None when this target is better left alone."""
        if retry_after is not None and retry_after > _LONGEST_PATIENCE:
            return None
        first = _UNREACHED_PAUSE if self.rule is None else self.rule.backoff
        pause = min(_LONGEST_PAUSE, first * 2.0**number) * random.uniform(0.5, 1.0)
        return max(pause, retry_after or 0.0)


class Held(NamedTuple):
    """An answer of which nothing was passed on, and what was read of it; `whole` when that is all of it."""

    answer: Answer
    streamed: bool
    body: bytes
    whole: bool


class Routes:
    """The settings' rules for models' names."""

    def __init__(self, rules: Mapping[str, RouteRule]) -> None:
        self._plans = {name: Plan(tuple(rule.targets) or (name,), rule) for name, rule in rules.items()}

    def plan(self, name: str) -> Plan:
        """Who answers for a name."""
        return self._plans.get(name) or Plan((name,))


def retry_after(headers: list[Header]) -> float | None:
    """Seconds that an answer asks to wait; None when it does not, or names a date."""
    for name, value in headers:
        if name == b"retry-after" and len(value) < 10:
            try:
                return max(0.0, float(value))
            except ValueError:
                return None
    return None
