"""What the captured calls of a model amount to: how many a month, how many tokens, how much of a prompt is repeated."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from journeyman.errors import InvalidInput
from journeyman.records import Condition, Exchange, Filter
from journeyman.store.store import Store

DAYS_A_MONTH = 365.25 / 12
FEWEST_DAYS = 1.0
"""A shorter time says nothing of a month."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls of one model. Tokens are means per call; `cached` and `repeated` are shares of the prompt, 0 to 1.

    `cached` is what the provider served from its cache; `repeated` the share that an earlier call had begun with, too:
    what a cache that never forgets would serve. `calls_per_month` is None where nobody knows.
    """

    calls_per_month: float | None
    prompt_tokens: float
    completion_tokens: float
    cached: float = 0.0
    repeated: float | None = None
    calls_per_conversation: float = 1.0
    calls: int = 0
    days: float = 0.0

    def usd_per_call(self, price: tuple[float, float, float], cached: float | None = None) -> float:
        """What a mean call costs at (input, cached, output) for a million tokens, `cached` of its prompt cached."""
        share = self.cached if cached is None else cached
        prompt = self.prompt_tokens * ((1 - share) * price[0] + share * price[1])
        return (prompt + self.completion_tokens * price[2]) / 1e6


def measure_traffic(store: Store, model: str, where: Filter | None = None, limit: int = 5000) -> Traffic:
    """Measure the newest `limit` complete calls that asked for `model`, or were answered by it.

    `model` is an alias, a model's own name or `provider/model`. InvalidInput when there is no such call.
    """
    complete = Condition(field="state", operator="=", value="complete")
    asked = Filter(conditions=(complete, _of(model), *([where] if where else [])))
    found = sorted(store.find(Exchange, asked, limit=limit), key=lambda exchange: (exchange.at, exchange.id))
    if not found:
        raise InvalidInput(
            f"no complete call of {model} was captured{f' where {where}' if where and where.conditions else ''}; give "
            "--calls, --prompt-tokens and --completion-tokens yourself, or see which calls there are: "
            "`journeyman traces list`"
        )
    days = (found[-1].at - found[0].at).total_seconds() / 86_400
    prompt = fmean(exchange.usage.prompt_tokens for exchange in found)
    cached = fmean(exchange.usage.cached_prompt_tokens for exchange in found)
    conversations = len({exchange.session or exchange.id for exchange in found})
    return Traffic(
        # The first call opens the time that is measured, and is not in it.
        calls_per_month=(len(found) - 1) / days * DAYS_A_MONTH if days >= FEWEST_DAYS else None,
        prompt_tokens=prompt,
        completion_tokens=fmean(exchange.usage.completion_tokens for exchange in found),
        cached=min(cached / prompt, 1.0) if prompt else 0.0,
        repeated=repeated_share(found),
        calls_per_conversation=len(found) / conversations,
        calls=len(found),
        days=days,
    )


def repeated_share(exchanges: Sequence[Exchange]) -> float | None:
    """The share of all prompts' characters with which an earlier call had begun, too; None where there are none.

    Tools come first, then the messages in their order, as providers' caches see a prompt; it is told message by
    message, so a part of one that is repeated does not count. `exchanges` are in the order in which they came.
    """
    seen: set[bytes] = set()
    repeated = whole = 0
    for exchange in exchanges:
        parts = [tool.model_dump_json() for tool in exchange.tools]
        parts += [message.model_dump_json(exclude_none=True) for message in exchange.messages]
        digest, known = hashlib.sha256(), True
        for part in parts:
            digest.update(part.encode() + b"\0")
            begun = digest.digest()
            known = known and begun in seen
            seen.add(begun)
            whole += len(part)
            repeated += len(part) if known else 0
    return repeated / whole if whole else None


def _of(model: str) -> Filter:
    names: list[Condition | Filter] = [
        Condition(field=field, operator="=", value=model) for field in ("model", "served")
    ]
    provider, slash, own = model.partition("/")
    if slash:
        upstream = Condition(field="upstream", operator="=", value=provider)
        names.append(Filter(conditions=(upstream, Condition(field="served", operator="=", value=own))))
    return Filter(join="or", conditions=tuple(names))
