"""A thousand faults in one rollout, over a real connection: every group ends, and every loss has its name."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiohttp import web

from journeyman.engines.provider import ProviderEngine
from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.environment import Observation
from journeyman.environments.episode import named_loss
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.waiting import RolloutProgress
from journeyman.records import Message, Sampling, Scenario, Score
from journeyman.records.message import assistant, user

LIMITS = RolloutLimits(
    seconds_per_call=4, seconds_per_step=4, seconds_per_episode=60, max_context_tokens=5000, retries=1
)
BY_ENVIRONMENT = {
    "the step raises": "KeyError",
    "the step hangs": "DeadlineExceeded",
    "the step hangs and will not be stopped": "DeadlineExceeded",
    "the step cancels itself": "RuntimeError",
    "the step calls sys.exit": "RuntimeError",
    "the step returns nothing": "InvalidInput",
    "the step says too much": "ContextTooLong",
    "the score is NaN": "InvalidInput",
    "the score is infinite": "InvalidInput",
    "the score raises": "ZeroDivisionError",
    "the score is text": "InvalidInput",
    "the score calls sys.exit": "SystemExit",
    "the close raises": "OSError",
    "the close hangs": "DeadlineExceeded",
}
BY_ENGINE = {
    "engine answers 500": "UpstreamFailed",
    "engine answers 503 in HTML": "UpstreamFailed",
    "engine answers no JSON": "UpstreamFailed",
    "engine answers half a JSON": "UpstreamFailed",
    "engine answers an array": "UpstreamFailed",
    "engine answers without a choice": "UpstreamFailed",
    "engine answers a choice without a message": "UpstreamFailed",
    "engine answers text for tokens": "UpstreamFailed",
    "engine hangs": "UpstreamFailed",
    "engine hangs up": "UpstreamFailed",
    "engine refuses so long a prompt": "ContextTooLong",
    "engine knows no such model": "NotFound",
}
NO_LOSS = {
    "nothing": None,
    "engine answers an empty text": None,
    "engine answers null": None,
    "engine fails once": None,
}
KINDS = {**BY_ENVIRONMENT, **BY_ENGINE, **NO_LOSS}
SCENARIOS, ATTEMPTS = 25, 45


class Sabotaged:
    """Two turns. Its forks are numbered, and each has the fault whose turn it is; the engine hears of its own in the
    second message."""

    def __init__(self, first: int) -> None:
        self.first, self.fault, self.said = first, "nothing", list[str]()

    async def start(self) -> Observation:
        return Observation(messages=(user("begin"),))

    def fork(self, n: int) -> Sequence["Sabotaged"]:
        forks = [Sabotaged(self.first) for _ in range(n)]
        for number, fork in enumerate(forks):
            fork.fault = [*KINDS][(self.first + number) % len(KINDS)]
        return forks

    async def step(self, reply: Message) -> Observation:
        self.said.append(reply.text)
        if len(self.said) == 2:
            return Observation(done=True)
        match self.fault:
            case "the step raises":
                raise KeyError("account")
            case "the step hangs":
                await asyncio.Event().wait()
            case "the step hangs and will not be stopped":
                await stubborn(30)
            case "the step cancels itself":
                raise asyncio.CancelledError
            case "the step calls sys.exit":
                raise SystemExit(3)
            case "the step returns nothing":
                return None  # type: ignore[return-value]
            case "the step says too much":
                return Observation(messages=(user("word " * 6000),))
        return Observation(messages=(user(self.fault),))

    def score(self) -> tuple[Score, ...]:
        value = 1.0
        match self.fault:
            case "the score is NaN":
                value = float("nan")
            case "the score is infinite":
                value = float("inf")
            case "the score raises":
                value = 1 / 0
            case "the score is text":
                return "good"  # type: ignore[return-value]
            case "the score calls sys.exit":
                raise SystemExit("bye")
        return (Score(name="reward", value=value), Score(name="success", value=float(len(self.said) == 2)))

    async def close(self) -> None:
        if self.fault == "the close raises":
            raise OSError("disk full")
        if self.fault == "the close hangs":
            await asyncio.Event().wait()


async def stubborn(seconds: float) -> None:
    """Takes no notice of its cancellation, as code that swallows every exception."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not released.is_set():
        try:
            await asyncio.wait_for(released.wait(), 1)
        except (asyncio.CancelledError, TimeoutError):
            continue


released: asyncio.Event


class Suite:
    name = "sabotaged"

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        return [
            Scenario(id=f"{split}-{index}", environment=self.name, kind="talk", data={"first": index * ATTEMPTS})
            for index in range(count)
        ]

    def environment(self, scenario: Scenario) -> Sabotaged:
        return Sabotaged(scenario.data["first"])


@dataclass
class Upstream:
    """A server that does what the last message asks for."""

    url: str = ""
    failed_once: set[str] = field(default_factory=set)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        said = body["messages"][-1]["content"]
        session = request.headers["x-journeyman-session"]
        if said == "engine hangs":
            await asyncio.Event().wait()
        if said == "engine hangs up":
            assert request.transport is not None
            request.transport.abort()
        if said == "engine fails once" and session not in self.failed_once:
            self.failed_once.add(session)
            return problem(503, "starting again")
        return ANSWERS.get(said, partial(completion, "yes"))()


def completion(text: str | None, **more) -> web.Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    return web.json_response({"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})


def problem(status: int, message: str, code: str = "server_error") -> web.Response:
    return web.json_response({"error": {"message": message, "code": code}}, status=status)


TOO_LONG = "the prompt is 9000 tokens, but the model's context holds 4000"
JSON = "application/json"
ANSWERS: dict[str, Callable[[], web.Response]] = {
    "engine answers 500": lambda: problem(500, "internal"),
    "engine answers 503 in HTML": lambda: web.Response(status=503, text="<html>", content_type="text/html"),
    "engine answers no JSON": lambda: web.Response(body=b"\xff\x00\x80 not JSON"),
    "engine answers half a JSON": lambda: web.Response(text='{"choices": [{"mess', content_type=JSON),
    "engine answers an array": lambda: web.json_response([1, 2]),
    "engine answers without a choice": lambda: web.json_response({"choices": []}),
    "engine answers a choice without a message": lambda: web.json_response({"choices": [{"finish_reason": "stop"}]}),
    "engine answers text for tokens": lambda: completion("hm", token_ids="abc", token_logprobs="x"),
    "engine refuses so long a prompt": lambda: problem(400, TOO_LONG, "context_length_exceeded"),
    "engine knows no such model": lambda: problem(404, "no model named m"),
    "engine answers an empty text": lambda: completion(""),
    "engine answers null": lambda: completion(None),
}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


@pytest.mark.slow
async def test_a_thousand_faults_lose_their_own_attempts_and_nothing_else(upstream: Upstream) -> None:
    global released
    released = asyncio.Event()
    suite, progress = Suite(), RolloutProgress()
    async with ProviderEngine(upstream.url) as engine:
        groups = await roll_out_groups(
            suite, suite.scenarios("train", SCENARIOS, 0), engine, "m", Sampling(max_tokens=8),
            attempts=ATTEMPTS, limits=LIMITS, seed=0, concurrency=120, progress=progress,
            count_tokens=lambda messages, tools: sum(len(message.text.split()) for message in messages),
        )  # fmt: skip
        released.set()
    played = [
        ([*KINDS][(group.scenario.data["first"] + number) % len(KINDS)], trajectory)
        for group in groups
        for number, trajectory in enumerate(group.trajectories)
    ]
    assert len(groups) == SCENARIOS
    assert len(played) == SCENARIOS * ATTEMPTS
    wrong = {(kind, trajectory.error) for kind, trajectory in played if named_loss(trajectory) != KINDS[kind]}
    assert not wrong
    faults = [kind for kind, _ in played if kind != "nothing"]
    assert len(faults) >= 1000
    assert min(Counter(faults).values()) >= 30
    sound = [trajectory for kind, trajectory in played if KINDS[kind] is None]
    assert all(trajectory.score("success") == trajectory.score("reward") == 1 for trajectory in sound)
    assert all(trajectory.turns == 2 for trajectory in sound)
    # What was said before the fault is kept: all but two kinds came to a first reply.
    assert all(trajectory.turns >= 1 and trajectory.messages[1].text == "yes" for _, trajectory in played)
    assert all(score.value == score.value for _, trajectory in played for score in trajectory.scores)
    assert progress.waits == []
    assert (progress.done, progress.failed) == (len(played), len(played) - len(sound))
    assert progress.retried >= len([kind for kind in faults if kind == "engine fails once"])


class Hanging(Sabotaged):
    """Hangs in the method named `where`."""

    def __init__(self, where: str) -> None:
        super().__init__(0)
        self.where = where

    async def start(self) -> Observation:
        return await (asyncio.Event().wait() if self.where == "start" else super().start())

    async def step(self, reply: Message) -> Observation:
        return await (asyncio.Event().wait() if self.where == "step" else super().step(reply))

    async def close(self) -> None:
        if self.where == "close":
            await asyncio.Event().wait()

    def fork(self, n: int) -> Sequence[Sabotaged]:
        return [Hanging(self.where) for _ in range(n)]


class HangingSuite(Suite):
    def __init__(self, where: str) -> None:
        self.where = where

    def environment(self, scenario: Scenario) -> Sabotaged:
        return Hanging(self.where)


class Silent(ScriptedEngine):
    async def reply(self, *args, **kwargs):
        await asyncio.Event().wait()


def talkative() -> ScriptedEngine:
    return ScriptedEngine(lambda messages, tools: assistant("yes"))


@pytest.mark.parametrize(
    ("where", "limit", "words"),
    [
        ("start", "seconds_per_step", "DeadlineExceeded: the start of environment sabotaged took longer than 0.05 s"),
        ("step", "seconds_per_step", "DeadlineExceeded: a step of environment sabotaged took longer than 0.05 s; the "
         "attempt at train-0 ends here: see what its tools wait for, or allow more seconds_per_step"),
        ("close", "seconds_per_step", "DeadlineExceeded: the close of environment sabotaged took longer than 0.05 s"),
        ("step", "seconds_per_episode", "DeadlineExceeded: the attempt at train-0 took longer than 0.05 s, and ended "
         "while it waited for a step of environment sabotaged"),
        ("engine", "seconds_per_call", "UpstreamFailed: no reply of m within 0.05 s"),
        ("engine", "seconds_per_episode", "ended while it waited for a reply of m"),
    ],
)  # fmt: skip
async def test_a_watchdog_says_what_was_waited_for(where: str, limit: str, words: str) -> None:
    engine = Silent(lambda *_: assistant("")) if where == "engine" else talkative()
    suite = HangingSuite(where)
    limits = RolloutLimits().model_copy(update={limit: 0.05})
    [group] = await roll_out_groups(
        suite, suite.scenarios("train", 1, 0), engine, "m", Sampling(), attempts=2, limits=limits, seed=0
    )
    for trajectory in group.trajectories:
        assert words in str(trajectory.error)


async def test_a_tool_that_takes_no_notice_of_its_end_is_left_behind() -> None:
    global released
    released = asyncio.Event()

    class Stubborn(Sabotaged):
        async def step(self, reply: Message) -> Observation:
            await stubborn(30)
            raise AssertionError("nobody asks any more")

    class Suites(Suite):
        def environment(self, scenario: Scenario) -> Sabotaged:
            return Stubborn(0)

        name = "stubborn"

    Stubborn.fork = lambda self, n: [Stubborn(0) for _ in range(n)]
    suite = Suites()
    [group] = await roll_out_groups(
        suite, suite.scenarios("train", 1, 0), talkative(), "m", Sampling(),
        attempts=3, limits=RolloutLimits(seconds_per_step=0.05), seed=0,
    )  # fmt: skip
    assert [named_loss(trajectory) for trajectory in group.trajectories] == ["DeadlineExceeded"] * 3
    released.set()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [SystemExit("bye"), asyncio.CancelledError()])
async def test_an_agent_that_plays_once_survives_the_same(error: BaseException) -> None:
    class Leaving(Sabotaged):
        async def step(self, reply: Message) -> Observation:
            raise error

    class Suites(Suite):
        def environment(self, scenario: Scenario) -> Sabotaged:
            return Leaving(0) if scenario.id == "train-1" else Sabotaged(0)

    suite: Suite = Suites()
    played = await roll_out_many(suite, suite.scenarios("train", 3, 0), talkative(), "m")
    assert [named_loss(trajectory) for trajectory in played] == [None, "RuntimeError", None]
