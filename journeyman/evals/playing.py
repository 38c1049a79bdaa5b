"""Plays cases with models: what is done already is not done again, what is done now is kept at once."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count as count_from

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Suite
from journeyman.environments.rollout import roll_out_many
from journeyman.errors import InvalidInput
from journeyman.evals.journal import Finished, Journal
from journeyman.prices import Price, PriceList
from journeyman.records import CaseResult, Sampling, Scenario, Trajectory
from journeyman.rewards.metering import Ceiling, MeteredEngine

Progress = Callable[[str, int, int], None]
"""Told the model that is playing, how many of its cases are done, and how many there are."""
Names = Mapping[str, Sequence[str]]
"""By model: the name whose price applies, then names for which the installation may have a price of its own."""


@dataclass
class Play:
    """One evaluation's way of playing: with which engine, how, and what it may cost."""

    suite: Suite
    engine: Engine
    sampling: Sampling
    concurrency: int
    journal: Journal
    ceiling: Ceiling
    prices: Mapping[str, Price | None]
    retries: int = 2
    on_progress: Progress = lambda *_: None
    attempts: int = 1
    enough: Callable[[Sequence[Scenario]], Awaitable[bool]] | None = None
    """Asked after every part of the cases, with all that were played so far: whether no more are needed."""
    left: dict[str, int] = field(default_factory=dict)

    async def all(self, models: Sequence[str], scenarios: Sequence[Scenario]) -> None:
        """Play every scenario with every model, as far as the ceiling allows and until it is enough.

        The results are in the journal.

        Every model's first case comes first: a misspelt name ends the evaluation before it has cost anything.
        """
        self._meter = MeteredEngine(self.engine, self.retries)
        self._numbers = {model: count_from(1) for model in models}
        self._total = len(scenarios) * self.attempts
        known = self.journal.finished.values()
        self.ceiling.resume(self.journal.spent, ((each.model, each.result.cost_usd) for each in known))
        for model in models:
            if not any(self.journal.of(model, scenario.id) for scenario in scenarios):
                first = await self._play(model, scenarios[:1])
                for trajectory in first:
                    await self._raise_if_absent(model, trajectory)
        if self.ceiling.usd is None and self.enough is None:
            parts = [scenarios]
        else:
            # In small parts, all models advance together, and what the money reached can be compared.
            size = self.concurrency
            parts = [scenarios[at : at + size] for at in range(0, len(scenarios), size)]
        played = 0
        for part in parts:
            for model in models:
                await self._play(model, part)
            played += len(part)
            if self.enough is not None and await self.enough(scenarios[:played]):
                break
        self.left = {
            model: missing
            for model in models
            if (missing := sum(not self.met(model, scenario.id) for scenario in scenarios[:played]))
        }

    def met(self, model: str, case: str) -> bool:
        """Whether a model has finished every attempt at a case."""
        return len(self.of(model, case)) == self.attempts

    def of(self, model: str, case: str) -> list[Finished]:
        """Every finished attempt at a case."""
        found = (self.journal.of(model, case, number) for number in range(1, self.attempts + 1))
        return [each for each in found if each]

    async def _play(self, model: str, scenarios: Sequence[Scenario]) -> list[Trajectory]:
        places = asyncio.Semaphore(self.concurrency)
        played: list[Trajectory] = []

        async def attempt(scenario: Scenario, number: int) -> None:
            async with places:
                reserved = self.ceiling.admit(model)
                if reserved is None:
                    return
                (trajectory,) = await roll_out_many(
                    self.suite, [scenario], self._meter, model, self.sampling,
                    tags={"stage": "eval", "suite": self.suite.name},
                )  # fmt: skip
            played.append(trajectory)
            self._keep(model, scenario, number, trajectory, reserved)

        numbers = range(1, self.attempts + 1)
        waiting = [(each, at) for each in scenarios for at in numbers if self.journal.of(model, each.id, at) is None]
        async with asyncio.TaskGroup() as group:
            for scenario, number in waiting:
                group.create_task(attempt(scenario, number))
        return played

    def _keep(self, model: str, scenario: Scenario, number: int, trajectory: Trajectory, reserved: float) -> None:
        usage, price = self._meter.usage(trajectory.session), self.prices[model]
        cost = None if price is None else price.usd(usage)
        self.ceiling.settle(model, reserved, cost)
        self.journal.spent = self.ceiling.spent
        result = _result(scenario, number, trajectory, cost, self._meter.retries(trajectory.session))
        finished = Finished(model=model, result=result, latencies=trajectory.latencies, messages=trajectory.messages)
        # What a provider failed at says nothing of the model: whoever goes on later should ask again.
        keep = self.journal.add_unkept if (trajectory.error or "").startswith("UpstreamFailed") else self.journal.add
        keep(finished)
        self.on_progress(model, next(self._numbers[model]), self._total)

    async def _raise_if_absent(self, model: str, first: Trajectory) -> None:
        """Ask a model once more that gave no reply at all, outside the rollout: its error is raised, not recorded."""
        if first.turns or not first.messages:
            return
        try:
            await self.engine.reply(model, first.messages, first.tools, self.sampling)
        except InvalidInput:
            return  # it refuses this conversation, such as one that is too long: a failed case, not an absent model


def check_request(models: Sequence[str], count: int, concurrency: int, priced_as: Names) -> None:
    """Refuse what cannot be measured before anything is asked."""
    if not models or len(set(models)) != len(models):
        raise InvalidInput(f"name each model once, and at least one; got: {', '.join(models) or 'none'}")
    if count < 1 or concurrency < 1:
        raise InvalidInput(f"count and concurrency must be at least 1, not {count} and {concurrency}")
    unknown = set(priced_as) - set(models)
    if unknown:
        raise InvalidInput(f"priced_as names models that are not evaluated: {', '.join(sorted(unknown))}")


def find_prices(
    prices: PriceList, models: Sequence[str], priced_as: Names, ceiling: float | None
) -> dict[str, Price | None]:
    """Each model's price; with a ceiling, InvalidInput for a model without one, because its cost cannot be watched."""
    found = {model: find_price(prices, model, priced_as.get(model, ())) for model in models}
    unpriced = [model for model, price in found.items() if price is None]
    if ceiling is not None and unpriced:
        raise InvalidInput(
            f"a cost ceiling needs prices, and {', '.join(unpriced)} has none; give one under [prices] in the settings"
        )
    return found


def find_price(prices: PriceList, model: str, names: Sequence[str] = ()) -> Price | None:
    """A model's price: by `names`, else by its provider's own name for it, which follows the slash."""
    sold_as, *closer = names or (model.partition("/")[2] or model, model)
    return prices.find(sold_as, *closer)


def describe_price(price: Price | None) -> str:
    """A price in words, for a report."""
    if price is None:
        return "none known"
    return f"${price.input:g} in, ${price.cached:g} cached, ${price.output:g} out per million tokens ({price.note})"


def suite_hash(scenarios: Sequence[Scenario]) -> str:
    """What identifies the very cases that were measured: 12 hex digits of a SHA-256 over all that is in them."""
    contents = [[scenario.id, scenario.environment, scenario.kind, scenario.data] for scenario in scenarios]
    return hashlib.sha256(json.dumps(contents, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _result(scenario: Scenario, number: int, trajectory: Trajectory, cost: float | None, retries: int) -> CaseResult:
    verdict = next((score for score in trajectory.scores if score.name == "success"), None)
    reason = verdict.reason if verdict else "there was no score named success"
    tags = scenario.data.get("tags")
    return CaseResult(
        scenario_id=scenario.id,
        kind=scenario.kind,
        success=trajectory.error is None and verdict is not None and verdict.value >= 1,
        reason=trajectory.error or reason,
        turns=trajectory.turns,
        prompt_tokens=trajectory.prompt_tokens,
        completion_tokens=trajectory.completion_tokens,
        cost_usd=cost,
        latency=sum(trajectory.latencies),
        session=trajectory.session,
        error=trajectory.error,
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list | tuple) else (),
        retries=retries,
        attempt=number,
    )
