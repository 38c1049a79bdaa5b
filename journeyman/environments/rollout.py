"""Plays episodes: an engine's replies in, an environment's reactions out, one trajectory each.

A rollout is one of the three places where errors are caught: an episode that failed is data, and its siblings go on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from journeyman.engines.engine import Engine
from journeyman.environments.environment import Environment, Observation, Suite
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Message, Sampling, Scenario, Score, Tool, Trajectory, Usage, new_id

MAX_CALLS = 32
CALL_TIMEOUT = 600.0


@dataclass
class _Episode:
    """What an attempt came to so far; it survives an error."""

    messages: list[Message] = field(default_factory=list)
    tools: tuple[Tool, ...] = ()
    scores: tuple[Score, ...] = ()
    usages: list[Usage] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def see(self, observation: Observation) -> None:
        self.messages += observation.messages
        self.tools = observation.tools or self.tools

    @asynccontextmanager
    async def catching(self) -> AsyncIterator[None]:
        """Keeps an error as data. A cancellation is no `Exception` and passes."""
        try:
            yield
        except Exception as problem:
            self.errors.append(f"{type(problem).__name__}: {problem}")

    def trajectory(self, scenario: Scenario, model: str, session: str) -> Trajectory:
        return Trajectory(
            scenario_id=scenario.id,
            model=model,
            session=session,
            messages=tuple(self.messages),
            tools=self.tools,
            scores=self.scores,
            prompt_tokens=sum(usage.prompt_tokens for usage in self.usages),
            completion_tokens=sum(usage.completion_tokens for usage in self.usages),
            latencies=tuple(self.latencies),
            error="; ".join(self.errors) or None,
        )


async def roll_out(
    environment: Environment,
    scenario: Scenario,
    engine: Engine,
    model: str,
    sampling: Sampling = Sampling(),
    *,
    session: str | None = None,
    tags: Mapping[str, str] | None = None,
    max_calls: int = MAX_CALLS,
    call_timeout: float = CALL_TIMEOUT,
) -> Trajectory:
    """One attempt at `scenario`, scored by its environment, which is closed in the end.

    A failure of the engine or the environment becomes the trajectory's `error`, beside the scores of the episode as
    far as it went. `call_timeout` is in seconds, for each model call. The cost is left to whoever knows prices.
    """
    session = session or _session(scenario)
    episode = _Episode()
    try:
        async with episode.catching():
            observation = await environment.start()
            episode.see(observation)
            while not observation.done and len(episode.latencies) < max_calls:
                async with _patience(call_timeout, model):
                    reply = await engine.reply(
                        model, tuple(episode.messages), episode.tools, sampling, session=session, tags=dict(tags or {})
                    )
                episode.messages.append(reply.message)
                episode.usages.append(reply.usage)
                episode.latencies.append(reply.latency)
                observation = await environment.step(reply.message)
                episode.see(observation)
        async with episode.catching():
            episode.scores = environment.score()
    finally:
        async with episode.catching():
            await environment.close()
    return episode.trajectory(scenario, model, session)


async def roll_out_many(
    suite: Suite,
    scenarios: Sequence[Scenario],
    engine: Engine,
    model: str,
    sampling: Sampling = Sampling(),
    *,
    tags: Mapping[str, str] | None = None,
    max_calls: int = MAX_CALLS,
    call_timeout: float = CALL_TIMEOUT,
    concurrency: int = 8,
    on_done: Callable[[Trajectory], None] | None = None,
) -> list[Trajectory]:
    """One attempt at each scenario, at most `concurrency` at a time; trajectories in the order of the scenarios.

    `on_done` is told of each trajectory as it ends. Every attempt has a session of its own.
    """
    if concurrency < 1:
        raise InvalidInput(f"concurrency is {concurrency}; at least one episode must be allowed at a time")
    places = asyncio.Semaphore(concurrency)

    async def attempt(scenario: Scenario) -> Trajectory:
        async with places:
            episode, environment = _Episode(), None
            async with episode.catching():
                environment = suite.environment(scenario)
            if environment is None:
                trajectory = episode.trajectory(scenario, model, _session(scenario))
            else:
                trajectory = await roll_out(
                    environment, scenario, engine, model, sampling,
                    tags=tags, max_calls=max_calls, call_timeout=call_timeout,
                )  # fmt: skip
        if on_done is not None:
            on_done(trajectory)
        return trajectory

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(scenario)) for scenario in scenarios]
    return [task.result() for task in tasks]


@asynccontextmanager
async def _patience(seconds: float, model: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise UpstreamFailed(
            f"no reply of {model} within {seconds:g} s; the episode ends here: see whether its engine is overloaded",
            status=504,
        ) from None


def _session(scenario: Scenario) -> str:
    return f"{scenario.id}-{new_id()}"
