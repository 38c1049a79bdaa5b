"""One attempt: an engine's replies in, an environment's reactions out, and a trajectory of whatever came of it.

An attempt is one of the three places where errors are caught: one that failed is data, and its siblings go on.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from journeyman.engines.engine import Engine, Reply
from journeyman.environments.delimiters import delimiters_of, without_delimiters
from journeyman.environments.environment import Environment, Observation
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.verifying import outcome_of
from journeyman.environments.waiting import Answer, RolloutProgress, bounded
from journeyman.errors import ContextTooLong, DeadlineExceeded, InvalidInput, Overloaded, UpstreamFailed
from journeyman.records import Message, Outcome, Sampling, Scenario, Score, Tool, Trajectory

CountTokens = Callable[[Sequence[Message], Sequence[Tool]], int]
"""How many tokens a conversation is as the model's prompt, such as `len(tokenizer.prompt(messages, tools))`."""
_BACKOFF_SECONDS = 0.25
"""Before the first further try of a call, unless the engine says when; it doubles with each."""
_LONGEST_BACKOFF = 30.0
_GRACE_SECONDS = 60.0
"""A sleep may take so much longer on a machine that is busy."""
_UNAVAILABLE, _GATEWAY_TIMEOUT = 503, 504


def derived_seed(*parts: object) -> int:
    """31 bits that follow from all of `parts`, and from nothing else."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


@asynccontextmanager
async def keeping(errors: list[str]) -> AsyncIterator[None]:
    """Keeps an error as data, under its name. A cancellation from outside passes."""
    try:
        yield
    except SystemExit as problem:
        errors.append(f"SystemExit: {problem.code!r}")
    except Exception as problem:
        errors.append(f"{type(problem).__name__}: {problem}")


@dataclass(frozen=True)
class Player:
    """Who attempts scenarios, and within which bounds.

    `count_tokens` makes the look at `max_context_tokens` exact; without it a prompt counts as long as the engine has
    told that the conversation already is.
    """

    engine: Engine
    model: str
    sampling: Sampling
    limits: RolloutLimits
    tags: Mapping[str, str] = field(default_factory=dict)
    count_tokens: CountTokens | None = None
    progress: RolloutProgress = field(default_factory=RolloutProgress)


@dataclass
class Episode:
    """What an attempt came to so far; it survives an error.

    With a `seed`, every call of it is sampled under one of its own that follows from it. `messages` are the
    conversation as the engine goes on with it, `shown` what the environment was given in place of some of them.
    """

    scenario: Scenario
    player: Player
    session: str
    seed: int | None = None
    messages: list[Message] = field(default_factory=list)
    tools: tuple[Tool, ...] = ()
    scores: tuple[Score, ...] = ()
    outcome: Outcome | None = None
    replies: list[Reply] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    shown: dict[int, Message] = field(default_factory=dict)
    stripped: int = 0
    _began: float = field(default_factory=time.monotonic)

    async def play(self, environment: Environment, opening: Observation | None = None) -> Trajectory:
        """Play it to its end, score it, and close the environment. `opening`: it was started, and said that."""
        limits = self.player.limits
        self._began = time.monotonic()
        try:
            async with self.catching():
                observation = opening
                if observation is None:
                    observation = await self.reaction(environment.start(), "the start")
                self._see(observation)
                while not observation.done and len(self.replies) < limits.max_calls:
                    sampling = self._sampling()
                    if sampling is None:
                        break
                    reply = await self._reply(sampling)
                    self.messages.append(reply.message)
                    self.replies.append(reply)
                    said = self._as_shown(environment, reply.message)
                    observation = await self.reaction(environment.step(said), "a step")
                    self._see(observation)
            async with self.catching():
                self.scores = self._sound(environment.score())
                self.outcome = outcome_of(environment)
        finally:
            async with self.catching():
                await self.closed(environment)
        return self.trajectory()

    def catching(self) -> AbstractAsyncContextManager[None]:
        """Keeps an error as data."""
        return keeping(self.errors)

    async def reaction(self, work: Awaitable[Observation], of: str) -> Observation:
        """What the environment shows; DeadlineExceeded when it does not, within its time or the attempt's."""
        limit = self.player.limits.seconds_per_step
        what = f"{of} of environment {self.scenario.environment}"
        observation = await self._within(
            work, limit, what,
            lambda: DeadlineExceeded(
                f"{what} took longer than {limit:g} s; the attempt at {self.scenario.id} ends here: see what its tools "
                "wait for, or allow more seconds_per_step"
            ),
        )  # fmt: skip
        if not isinstance(observation, Observation):
            raise InvalidInput(f"{what} returned {type(observation).__name__}, not an Observation")
        return observation

    async def closed(self, environment: Environment) -> None:
        """Close an environment, however much time is left to the attempt itself."""
        limit = self.player.limits.seconds_per_step
        what = f"the close of environment {self.scenario.environment}"
        with self.player.progress.waiting(what):
            await bounded(
                environment.close(),
                limit,
                lambda: DeadlineExceeded(f"{what} took longer than {limit:g} s; what it held may still be held"),
            )

    def trajectory(self) -> Trajectory:
        """The attempt as it stands."""
        choices = [reply.choices[0] for reply in self.replies]
        told = [choice.tokens for choice in choices if choice.tokens is not None]
        return Trajectory(
            scenario_id=self.scenario.id,
            model=self.player.model,
            session=self.session,
            messages=tuple(self.shown.get(at, message) for at, message in enumerate(self.messages)),
            stripped=self.stripped,
            tools=self.tools,
            scores=self.scores,
            outcome=self.outcome,
            scenario=None if self.outcome is None else self.scenario,
            prompt_tokens=sum(reply.usage.prompt_tokens for reply in self.replies),
            completion_tokens=sum(reply.usage.completion_tokens for reply in self.replies),
            latencies=tuple(reply.latency for reply in self.replies),
            # A turn without its tokens leaves a gap that nobody may fill by guessing.
            tokens=tuple(told) if len(told) == len(choices) else (),
            finish_reasons=tuple(choice.finish_reason for choice in choices),
            error="; ".join(self.errors) or None,
        )

    def _as_shown(self, environment: Environment, said: Message) -> Message:
        """The reply that was just appended, without what only an environment may write."""
        found = without_delimiters(said, delimiters_of(environment))
        if found.pieces:
            self.shown[len(self.messages) - 1] = found.message
            self.stripped += found.pieces
        return found.message

    def _see(self, observation: Observation) -> None:
        self.messages += observation.messages
        self.tools = observation.tools or self.tools

    def _sampling(self) -> Sampling | None:
        """How the next reply is to be sampled; None when no token is left for it."""
        sampling, limits = self.player.sampling, self.player.limits
        name = "max_completion_tokens" if "max_completion_tokens" in sampling.wire() else "max_tokens"
        most: int | None = sampling.wire().get(name)
        changed: dict[str, object] = {}
        if limits.max_sampled_tokens is not None:
            left = limits.max_sampled_tokens - sum(reply.usage.completion_tokens for reply in self.replies)
            if left <= 0:
                return None
            most = changed[name] = min(left, most or left)
        self._check_context(most, name)
        if self.seed is not None:
            changed["seed"] = derived_seed(self.seed, len(self.replies))
        return sampling.model_copy(update=changed) if changed else sampling

    def _check_context(self, most: int | None, name: str) -> None:
        limit, count = self.player.limits.max_context_tokens, self.player.count_tokens
        if limit is None:
            return
        if count is not None:
            prompt = count(self.messages, self.tools)
        else:
            prompt = self.replies[-1].usage.total_tokens if self.replies else 0
        if prompt + (most or 1) > limit:
            raise ContextTooLong(prompt + (most or 1), limit, f"prompt ({prompt}) and {name} ({most or 1})")

    async def _reply(self, sampling: Sampling) -> Reply:
        """The model's, perhaps of a further try."""
        limits, tried = self.player.limits, 0
        back_by = time.monotonic() + limits.seconds_per_call
        while True:
            try:
                return await self._one_reply(sampling)
            except (UpstreamFailed, Overloaded) as problem:
                # While an engine starts again, and says when it will be back, it is waited for: that is no try.
                starts = problem.status == _UNAVAILABLE and problem.retry_after is not None
                counts = not starts or not limits.retries or time.monotonic() > back_by
                if (counts and tried == limits.retries) or problem.status == _GATEWAY_TIMEOUT:
                    raise
                await self._pause(problem, tried)
                tried += counts

    async def _pause(self, problem: UpstreamFailed | Overloaded, tried: int) -> None:
        self.player.progress.retried += 1
        seconds = min(problem.retry_after or _BACKOFF_SECONDS * 2**tried, _LONGEST_BACKOFF)
        what = f"a further try of a call to {self.player.model}"
        await self._within(asyncio.sleep(seconds), seconds + _GRACE_SECONDS, what, lambda: problem)

    async def _one_reply(self, sampling: Sampling) -> Reply:
        player, limit = self.player, self.player.limits.seconds_per_call
        asked = player.engine.reply(
            player.model, tuple(self.messages), self.tools, sampling, session=self.session, tags=dict(player.tags)
        )
        reply = await self._within(
            asked, limit, f"a reply of {player.model}",
            lambda: UpstreamFailed(
                f"no reply of {player.model} within {limit:g} s; the episode ends here: see whether its engine is "
                "overloaded",
                status=_GATEWAY_TIMEOUT,
            ),
        )  # fmt: skip
        if not reply.choices:
            raise UpstreamFailed(f"{player.model} answered without a choice")
        return reply

    async def _within(
        self, work: Awaitable[Answer], seconds: float, what: str, late: Callable[[], Exception]
    ) -> Answer:
        """What `work` comes to within its own time and what is left of the attempt's."""
        whole = self.player.limits.seconds_per_episode
        left = self._began + whole - time.monotonic()

        def too_late() -> Exception:
            if seconds <= left:
                return late()
            return DeadlineExceeded(
                f"the attempt at {self.scenario.id} took longer than {whole:g} s, and ended while it waited for "
                f"{what}; allow more seconds_per_episode, or fewer calls"
            )

        with self.player.progress.waiting(what):
            return await bounded(work, max(min(seconds, left), 0.0), too_late)

    def _sound(self, scores: Sequence[Score]) -> tuple[Score, ...]:
        """The scores that are numbers; what is none of them is an error of the environment's."""
        where = f"environment {self.scenario.environment}"
        if not isinstance(scores, Sequence) or not all(isinstance(score, Score) for score in scores):
            raise InvalidInput(f"{where} gave {scores!r:.100} for its scores, not a tuple of Score")
        for score in scores:
            if not math.isfinite(score.value):
                self.errors.append(
                    f"InvalidInput: {where} gave {score.value} as its score {score.name}; it is left out"
                )
        return tuple(score for score in scores if math.isfinite(score.value))


def named_loss(trajectory: Trajectory) -> str | None:
    """Why an attempt was lost, as one word to count by: the name of its first error. None when it was not."""
    return None if trajectory.error is None else trajectory.error.partition(":")[0]
