"""The matrix of models and cases: every model meets the same scenarios, and each cell is one case's result.

A conversation that ended in an error is a failed case: it stays in the denominator and is counted beside the rate.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from itertools import count as count_from
from statistics import fmean

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Suite
from journeyman.environments.rollout import roll_out_many
from journeyman.errors import InvalidInput
from journeyman.machine import describe_machine
from journeyman.prices import AS_OF, cost_usd
from journeyman.records import CaseResult, EvalReport, ModelReport, Sampling, Scenario, Trajectory, Usage, now
from journeyman.statistics import compare, proportion, quantile

Progress = Callable[[str, int, int], None]
"""Told the model that is playing, how many of its cases are done, and how many there are."""


async def evaluate(
    suite: Suite,
    models: Sequence[str],
    engine: Engine,
    *,
    count: int = 100,
    seed: int = 0,
    split: str = "held-out",
    concurrency: int = 8,
    sampling: Sampling = Sampling(temperature=0.0),
    every_pair: bool = False,
    priced_as: Mapping[str, str] | None = None,
    on_progress: Progress | None = None,
) -> EvalReport:
    """Play `count` scenarios with each model and report how they compare.

    The first model is the baseline that the others are compared with; `every_pair` compares each with each.
    `priced_as` names, for models without a price of their own, the one whose price applies (an adapter's base).
    """
    _check(models, count, concurrency, priced_as or {})
    started, scenarios = now(), suite.scenarios(split, count, seed)
    listener: Progress = on_progress or (lambda *_: None)
    counting = {model: _counting(model, len(scenarios), listener) for model in models}

    async def play(model: str, part: Sequence[Scenario]) -> list[Trajectory]:
        tags = {"stage": "eval", "suite": suite.name}
        return await roll_out_many(
            suite, part, engine, model, sampling, tags=tags, concurrency=concurrency, on_done=counting[model]
        )

    # Every model's first case comes first: a misspelt name ends the evaluation before it has cost anything.
    played = {model: await play(model, scenarios[:1]) for model in models}
    for model, (first,) in played.items():
        await _raise_if_absent(engine, model, first, sampling)
    for model in models:
        played[model] += await play(model, scenarios[1:])
    prices = {model: _sold_as(model) for model in models} | dict(priced_as or {})
    reports = [_summary(model, scenarios, played[model], prices[model]) for model in models]
    pairs = combinations(reports, 2) if every_pair else ((reports[0], other) for other in reports[1:])
    return EvalReport(
        at=started,  # an alias or a name that moves on later does not change what was measured
        suite=suite.name,
        seed=seed,
        split=split,
        sampling=sampling,
        concurrency=concurrency,
        models=tuple(reports),
        differences=tuple(compare(other, baseline) for baseline, other in pairs),
        machine=describe_machine(),
        prices_as_of=AS_OF,
    )


def _check(models: Sequence[str], count: int, concurrency: int, priced_as: Mapping[str, str]) -> None:
    if not models or len(set(models)) != len(models):
        raise InvalidInput(f"name each model once, and at least one; got: {', '.join(models) or 'none'}")
    if count < 1 or concurrency < 1:
        raise InvalidInput(f"count and concurrency must be at least 1, not {count} and {concurrency}")
    unknown = set(priced_as) - set(models)
    if unknown:
        raise InvalidInput(f"priced_as names models that are not evaluated: {', '.join(sorted(unknown))}")


async def _raise_if_absent(engine: Engine, model: str, first: Trajectory, sampling: Sampling) -> None:
    """Ask a model once more that gave no reply at all, outside the rollout, where its error is raised, not recorded."""
    if first.turns or not first.messages:
        return
    try:
        await engine.reply(model, first.messages, first.tools, sampling)
    except InvalidInput:
        return  # it refuses this conversation, such as one that is too long; that is a failed case, not an absent model


def _counting(model: str, total: int, listener: Progress) -> Callable[[Trajectory], None]:
    numbers = count_from(1)
    return lambda _: listener(model, next(numbers), total)


def _sold_as(model: str) -> str:
    """A provider's own name for a model: what follows the slash in provider/model."""
    return model.partition("/")[2] or model


def _summary(
    model: str, scenarios: Sequence[Scenario], trajectories: Sequence[Trajectory], priced_as: str
) -> ModelReport:
    cases = tuple(_case(*pair, priced_as) for pair in zip(scenarios, trajectories, strict=True))
    latencies = [seconds for trajectory in trajectories for seconds in trajectory.latencies]
    costs = [case.cost_usd for case in cases if case.cost_usd is not None]
    return ModelReport(
        model=model,
        success=proportion(sum(case.success for case in cases), len(cases)),
        turns=fmean(case.turns for case in cases),
        prompt_tokens=fmean(case.prompt_tokens for case in cases),
        completion_tokens=fmean(case.completion_tokens for case in cases),
        cost_usd_per_thousand=1000 * fmean(costs) if len(costs) == len(cases) else None,
        latency_p50=quantile(latencies, 0.5) if latencies else None,
        latency_p95=quantile(latencies, 0.95) if latencies else None,
        errors=sum(case.error is not None for case in cases),
        cases=cases,
    )


def _case(scenario: Scenario, trajectory: Trajectory, priced_as: str) -> CaseResult:
    verdict = next((score for score in trajectory.scores if score.name == "success"), None)
    reason = verdict.reason if verdict else "the environment gave no score named success"
    usage = Usage(prompt_tokens=trajectory.prompt_tokens, completion_tokens=trajectory.completion_tokens)
    return CaseResult(
        scenario_id=scenario.id,
        kind=scenario.kind,
        success=trajectory.error is None and verdict is not None and verdict.value >= 1,
        reason=trajectory.error or reason,
        turns=trajectory.turns,
        prompt_tokens=trajectory.prompt_tokens,
        completion_tokens=trajectory.completion_tokens,
        cost_usd=cost_usd(priced_as, usage),
        latency=sum(trajectory.latencies),
        session=trajectory.session,
        error=trajectory.error,
    )
