"""Groups: equal beginnings, seeds that repeat, and every attempt kept."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from journeyman.demos.bank.environment import BankSuite
from journeyman.demos.bank.players import gold
from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.scripted import ScriptedEngine
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.environments.environment import Observation
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.scripted import ScriptedEnvironment
from journeyman.environments.waiting import RolloutProgress
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Message, Sampling, Scenario, Trajectory, Usage
from journeyman.records.message import assistant
from tests.engines.conftest import QUICK, post, program, until

LIMITS = RolloutLimits(max_calls=8)


class Talks:
    """Scripted talks; what was made of them is kept."""

    name = "talk"

    def __init__(self, *lines: str, kind: type[ScriptedEnvironment] = ScriptedEnvironment) -> None:
        self.lines, self.kind = lines or ("one", "two"), kind
        self.made: list[ScriptedEnvironment] = []

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        return [Scenario(id=f"{split}-{seed}-{index}", environment="talk", kind="talk") for index in range(count)]

    def environment(self, scenario: Scenario) -> ScriptedEnvironment:
        made = self.kind(self.lines, lambda replies: all(reply.text for reply in replies))
        self.made.append(made)
        return made


class Noting(ScriptedEngine):
    """Says `yes`, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(lambda messages, tools: assistant("yes"))
        self.asked: list[tuple[str, Sequence[Message], Sampling]] = []

    async def reply(self, model, messages, tools=(), sampling=Sampling(), *, session=None, tags=None):
        self.asked.append((session or "", messages, sampling))
        await asyncio.sleep(0)
        return await super().reply(model, messages, tools, sampling, session=session, tags=tags)


async def play(suite, engine, count: int = 2, attempts: int = 3, **more) -> list:
    more = {"limits": LIMITS, "seed": 7} | more
    sampling = more.pop("sampling", Sampling(temperature=1.0, max_tokens=8))
    return await roll_out_groups(
        suite, suite.scenarios("train", count, 0), engine, "m", sampling, attempts=attempts, **more
    )


async def test_groups_come_in_order_and_every_attempt_has_its_own_session() -> None:
    suite, done = Talks(), []
    groups = await play(suite, Noting(), 3, 4, on_done=done.append, concurrency=5)
    assert [group.scenario.id for group in groups] == [each.id for each in suite.scenarios("train", 3, 0)]
    played = [trajectory for group in groups for trajectory in group.trajectories]
    assert [len(group.trajectories) for group in groups] == [4, 4, 4]
    assert len({trajectory.session for trajectory in played}) == 12
    assert {trajectory.id for trajectory in played} == {trajectory.id for trajectory in done}
    assert all(
        trajectory.scenario_id == group.scenario.id and trajectory.error is None and trajectory.turns == 2
        for group in groups
        for trajectory in group.trajectories
    )


async def test_an_episode_is_started_once_and_closed_with_all_its_forks() -> None:
    forks: list[ScriptedEnvironment] = []

    class Kept(ScriptedEnvironment):
        starts = 0

        async def start(self) -> Observation:
            Kept.starts += 1
            return await super().start()

        def fork(self, n: int) -> Sequence[ScriptedEnvironment]:
            forks.extend(made := super().fork(n))
            return made

    suite = Talks(kind=Kept)
    await play(suite, Noting(), 2, 3)
    assert (Kept.starts, len(forks)) == (2, 6)
    assert all(each.is_closed for each in (*suite.made, *forks))


async def test_members_of_a_group_meet_the_same_bank() -> None:
    suite = BankSuite()
    scenarios = suite.scenarios("train", 6, 3)
    groups = await roll_out_groups(
        suite, scenarios, ScriptedEngine(gold), "expert", Sampling(), attempts=3, limits=RolloutLimits(), seed=0
    )
    for group in groups:
        first, *others = group.trajectories
        assert first.error is None
        assert first.score("success") == 1
        for other in others:  # the expert is a function of what it sees
            assert (other.messages, other.scores) == (first.messages, first.scores)


async def test_every_call_has_a_seed_of_its_own_and_the_same_one_again() -> None:
    first, again, other = Noting(), Noting(), Noting()
    await play(Talks(), first, concurrency=1)
    await play(Talks(), again, concurrency=6)
    await play(Talks(), other, seed=8)

    def seeds(engine: Noting) -> list[int | None]:
        return sorted(sampling.seed for _, _, sampling in engine.asked)

    assert len(set(seeds(first))) == len(first.asked) == 12
    assert seeds(first) == seeds(again)
    assert not set(seeds(first)) & set(seeds(other))


async def test_the_same_call_samples_the_same_tokens_again(tiny: Path, tmp_path: Path) -> None:
    """On the real local engine, whatever is in the batch beside an attempt: in float32, which alone promises it."""
    suite = Talks("the balance of", "please transfer")
    sampling = Sampling(temperature=1.0, max_tokens=12)
    process = EngineProcess.local(tiny, "m", tmp_path, precision="float32")
    async with SupervisedEngine(process) as running, HeldEngine(running) as engine:
        wide = await play(suite, engine, 2, 4, sampling=sampling, concurrency=8)
        alone = await play(suite, engine, 2, 4, sampling=sampling, concurrency=1)
        others = await play(suite, engine, 2, 4, sampling=sampling, seed=9)

    def sampled(groups) -> list[list[tuple[int, ...]]]:
        assert all(trajectory.error is None for group in groups for trajectory in group.trajectories)
        return [[tokens.reply for tokens in each.tokens] for group in groups for each in group.trajectories]

    assert sampled(wide) == sampled(alone)
    assert sampled(wide) != sampled(others)
    for trajectory in wide[0].trajectories:
        assert len(trajectory.tokens) == trajectory.turns == 2
        assert trajectory.finish_reasons == tuple(
            "length" if len(tokens.reply) == 12 else "stop" for tokens in trajectory.tokens
        )
        assert sum(len(tokens.reply) for tokens in trajectory.tokens) == trajectory.completion_tokens
        assert all(len(tokens.logprobs) == len(tokens.reply) for tokens in trajectory.tokens)
    # The members of a group were asked the same, and did not answer the same.
    assert len({trajectory.tokens[0].prompt for trajectory in wide[0].trajectories}) == 1
    assert len({trajectory.tokens[0].reply for trajectory in wide[0].trajectories}) == 4


async def test_what_the_engine_does_not_tell_is_not_made_up() -> None:
    [group] = await play(Talks(), Noting(), 1, 1)
    [trajectory] = group.trajectories
    assert (trajectory.tokens, trajectory.finish_reasons) == ((), ("stop", "stop"))


async def test_a_start_that_fails_is_the_error_of_each_member_and_of_no_other_group() -> None:
    class Sometimes(ScriptedEnvironment):
        async def start(self) -> Observation:
            if self is suite.made[0]:
                raise OSError("no such file")
            return await super().start()

    suite = Talks(kind=Sometimes)
    broken, sound = await play(suite, Noting(), 2, 3, concurrency=1)
    assert [each.error for each in broken.trajectories] == ["OSError: no such file"] * 3
    assert [each.error for each in sound.trajectories] == [None] * 3
    assert suite.made[0].is_closed


@pytest.mark.parametrize("forks", [lambda self, n: [self] * n, lambda self, n: [], lambda self, n: None])
async def test_forks_that_are_none_are_refused(forks) -> None:
    suite = Talks(kind=type("Forks", (ScriptedEnvironment,), {"fork": forks}))
    [group] = await play(suite, Noting(), 1, 2)
    assert all(trajectory.error for trajectory in group.trajectories)
    assert all(trajectory.turns == 0 for trajectory in group.trajectories)


async def test_a_conversation_that_would_not_fit_is_not_sent() -> None:
    engine = Noting()
    [group] = await play(
        Talks("one two three", "four five six seven", "eight"), engine, 1, 1,
        limits=RolloutLimits(max_context_tokens=14),
        count_tokens=lambda messages, tools: sum(len(message.text.split()) for message in messages),
    )  # fmt: skip
    [trajectory] = group.trajectories
    assert len(engine.asked) == 1  # 3 and 8 fit; 3, 1, 4 and 8 do not
    assert trajectory.error == (
        "ContextTooLong: the prompt (8) and max_tokens (8) is 16 tokens, but the model's context holds 14; "
        "shorten the messages or lower max_tokens"
    )
    assert trajectory.turns == 1
    assert [score.value for score in trajectory.scores] == [1.0]


async def test_without_a_count_a_prompt_is_at_least_what_the_engine_told() -> None:
    class Telling(Noting):
        async def reply(self, *args, **kwargs):
            reply = await super().reply(*args, **kwargs)
            return reply.model_copy(update={"usage": Usage(prompt_tokens=90, completion_tokens=5)})

    [group] = await play(Talks(), Telling(), 1, 1, limits=RolloutLimits(max_context_tokens=100))
    assert "ContextTooLong: the prompt (95) and max_tokens (8) is 103 tokens" in str(group.trajectories[0].error)
    [group] = await play(Talks(), Telling(), 1, 1, limits=RolloutLimits(max_context_tokens=103))
    assert group.trajectories[0].error is None


async def test_sampled_tokens_are_a_budget_of_the_whole_attempt() -> None:
    class Talkative(Noting):
        async def reply(self, model, messages, tools=(), sampling=Sampling(), **kwargs):
            reply = await super().reply(model, messages, tools, sampling, **kwargs)
            return reply.model_copy(update={"usage": Usage(completion_tokens=sampling.max_tokens)})

    engine = Talkative()
    [group] = await play(Talks(*"abcdef"), engine, 1, 1, limits=RolloutLimits(max_sampled_tokens=20))
    assert [sampling.max_tokens for _, _, sampling in engine.asked] == [8, 8, 4]
    assert (group.trajectories[0].completion_tokens, group.trajectories[0].error) == (20, None)


async def test_an_engine_that_is_started_again_costs_no_attempt(tmp_path: Path) -> None:
    crashed = False

    def crash_once(_: Trajectory) -> None:
        nonlocal crashed
        if not crashed:
            crashed = True
            crashes.append(asyncio.create_task(post(f"{running.url}/crash")))

    crashes: list[asyncio.Task[None]] = []
    progress = RolloutProgress()
    suite = Talks(*"abcdefgh")
    async with SupervisedEngine(program(tmp_path / "log", "m"), QUICK) as running, HeldEngine(running) as engine:
        limits = RolloutLimits(retries=8)
        groups = await play(suite, engine, 4, 8, limits=limits, concurrency=4, on_done=crash_once, progress=progress)
        await asyncio.gather(*crashes)
        assert running.epoch > 1
    assert [each.error for group in groups for each in group.trajectories] == [None] * 32
    assert (progress.total, progress.done, progress.failed) == (32, 32, 0)


async def test_one_can_see_what_is_waited_for_and_since_when() -> None:
    class Slow(ScriptedEnvironment):
        async def step(self, reply: Message) -> Observation:
            await going_on.wait()
            return await super().step(reply)

    progress, going_on = RolloutProgress(), asyncio.Event()
    playing = asyncio.create_task(play(Talks(kind=Slow), Noting(), 1, 3, progress=progress))
    await until(lambda: progress.waits and progress.waits[0].attempts == 3)
    [wait] = progress.waits
    assert (wait.what, wait.attempts) == ("a step of environment talk", 3)
    assert progress.line().startswith("0 of 3 attempts done; 3 wait for a step of environment talk (0 s)")
    going_on.set()
    await playing
    assert progress.line() == "3 of 3 attempts done"


async def test_giving_up_half_way_closes_everything() -> None:
    forks: list[ScriptedEnvironment] = []

    class Kept(ScriptedEnvironment):
        def fork(self, n: int) -> Sequence[ScriptedEnvironment]:
            forks.extend(made := super().fork(n))
            return made

        async def step(self, reply: Message) -> Observation:
            stepping.set()
            await asyncio.Event().wait()
            raise AssertionError

    suite, stepping = Talks(kind=Kept), asyncio.Event()
    playing = asyncio.create_task(play(suite, Noting(), 3, 4, concurrency=2))
    await stepping.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert len(forks) == 4
    assert all(each.is_closed for each in (*suite.made, *forks))


@pytest.mark.parametrize(
    ("scenarios", "changed", "words"),
    [
        ([Scenario(environment="talk", kind="greeting")], {}, "no id of their own (the first is of kind 'greeting')"),
        ([Scenario(id="a", environment="talk", kind="k")] * 2, {}, "the scenario a is asked for more than once"),
        ([], {"attempts": 0}, "a group has at least one"),
        ([], {"sampling": Sampling(seed=1)}, "would sample every attempt alike"),
        ([], {"sampling": Sampling(n=2)}, "an episode goes on with one"),
        ([], {"concurrency": 0}, "at least one episode must be allowed"),
    ],
)
async def test_what_cannot_be_a_group_is_refused_first(scenarios, changed, words) -> None:
    engine, asked = Noting(), {"sampling": Sampling(), "attempts": 2, "limits": LIMITS, "seed": 0} | changed
    with pytest.raises(InvalidInput) as refused:
        await roll_out_groups(Talks(), scenarios, engine, "m", asked.pop("sampling"), **asked)
    assert words in str(refused.value)
    assert not engine.asked


class StartsAgain(Noting):
    """Says for a while when it will be back, then answers."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.left = refusals

    async def reply(self, *rest, **options):
        if self.left:
            self.left -= 1
            raise UpstreamFailed("the engine is being started again", 503, retry_after=0.001)
        return await super().reply(*rest, **options)


async def test_an_engine_that_starts_again_is_waited_for_and_not_counted_as_a_try() -> None:
    limits = RolloutLimits(retries=1)
    [group] = await play(Talks(), StartsAgain(9), count=1, attempts=2, limits=limits)
    assert [each.error for each in group.trajectories] == [None, None]
    brief = RolloutLimits(retries=1, seconds_per_call=0.01)
    [group] = await play(Talks(), StartsAgain(10**6), count=1, attempts=2, limits=brief)
    assert all("UpstreamFailed: the engine is being started again" in each.error for each in group.trajectories)
