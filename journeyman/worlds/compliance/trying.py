"""Lets an agent try the scenes of a policy, several times each, and plays any attempt again from its seed."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from journeyman.engines.engine import Engine
from journeyman.environments.episode import Episode, Player, derived_seed
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.rollout import in_places, session_name
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Message, Sampling, Scenario, Trajectory
from journeyman.worlds.compliance.checks import Conduct
from journeyman.worlds.compliance.scenes import Place, Scene
from journeyman.worlds.compliance.stage import ComplianceSuite, Stage

TAGS = {"stage": "compliance"}


class Tried(Frozen):
    """One attempt at a scene, with all that it takes to judge it again: a line of the transcripts' file.

    `before` and `after` are the system's states, where the environment shows them; `planted` says whether the agent has
    seen what an injection planted.
    """

    scenario: Scenario
    attempt: int
    seed: int
    trajectory: Trajectory
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    planted: bool = False

    @property
    def scene(self) -> Scene:
        """What was staged."""
        return Scene.model_validate(self.scenario.data)

    @property
    def conduct(self) -> Conduct:
        """The attempt as checks see it."""
        scene = self.scene
        planted = {} if scene.planted is None else {"planted_text": scene.planted.text}
        return Conduct(self.trajectory.messages, {**scene.facts, **planted}, self.before, self.after)


class Agent(NamedTuple):
    """Who is tried: a model's name behind an engine, or any program that answers under one."""

    engine: Engine
    model: str
    sampling: Sampling = Sampling(temperature=0.0)
    limits: RolloutLimits = RolloutLimits(seconds_per_step=600.0, retries=2)


async def try_scenes(
    agent: Agent,
    place: Place,
    scenes: Sequence[Scenario],
    *,
    attempts: int,
    seed: int,
    concurrency: int = 8,
    on_done: Callable[[], None] | None = None,
) -> list[Tried]:
    """`attempts` at each scene, in the order of the scenes; one that failed is kept with its error.

    Every call of an attempt is sampled under a seed that follows from `seed`, the scene and the attempt's number.
    """
    if attempts < 1:
        raise InvalidInput(f"{attempts} attempts were asked for; it takes at least one")
    if not scenes:
        raise InvalidInput("there is no scenario to try: nothing that was asked for could be made here")
    player = Player(agent.engine, agent.model, agent.sampling, agent.limits, TAGS)
    suite = ComplianceSuite(place)
    found: dict[tuple[str, int], Tried] = {}

    async def attempt(scenario: Scenario, number: int) -> Trajectory:
        tried = await _try(player, suite, scenario, number, derived_seed(seed, scenario.id, number))
        found[scenario.id, number] = tried
        return tried.trajectory

    members = [partial(attempt, scenario, number) for scenario in scenes for number in range(1, attempts + 1)]
    await in_places(members, concurrency, player.progress, None if on_done is None else lambda _: on_done())
    return [found[scenario.id, number] for scenario in scenes for number in range(1, attempts + 1)]


class Replay(NamedTuple):
    """What playing an attempt again came to; `difference` says where it first went another way, None when nowhere."""

    tried: Tried
    difference: str | None


async def replay_recorded(tried: Tried, place: Place) -> Replay:
    """Give the agent's recorded replies to a fresh episode: do user, tools and system react as they did, to the letter?

    No agent is asked, so this shows what the environment adds to a finding; the checks say the rest.
    """
    script = [message for message in tried.trajectory.messages if message.role == "assistant"]
    stage = ComplianceSuite(place).environment(tried.scenario)
    messages: list[Message] = []
    try:
        observation = await stage.start()
        messages += observation.messages
        for reply in script:
            if observation.done:
                break
            messages.append(reply)
            observation = await stage.step(reply)
            messages += observation.messages
        again = _tried(tried.scenario, tried.attempt, tried.seed, stage, tried.trajectory.model_copy(
            update={"messages": tuple(messages), "scores": tuple(stage.score())}
        ))  # fmt: skip
    finally:
        await stage.close()
    return Replay(again, differs(tried, again))


async def replay_live(tried: Tried, place: Place, agent: Agent) -> Replay:
    """Ask the agent again, under the attempt's own seed: a deterministic one says and does the same to the letter."""
    player = Player(agent.engine, agent.model, agent.sampling, agent.limits, TAGS)
    again = await _try(player, ComplianceSuite(place), tried.scenario, tried.attempt, tried.seed)
    return Replay(again, differs(tried, again))


def differs(one: Tried, other: Tried) -> str | None:
    """Where two plays of an attempt first differ: a message, the end state, a score; None when they are the same."""
    for place, (was, now) in enumerate(zip(one.trajectory.messages, other.trajectory.messages, strict=False)):
        if was.wire() != now.wire():
            return f"message {place} was {_short(was)} and is now {_short(now)}"
    lengths = len(one.trajectory.messages), len(other.trajectory.messages)
    if lengths[0] != lengths[1]:
        return f"there were {lengths[0]} messages and are now {lengths[1]}"
    if (one.before, one.after) != (other.before, other.after):
        return "the system's state in the end is another one"
    if one.trajectory.scores != other.trajectory.scores:
        return f"the scores were {one.trajectory.scores} and are now {other.trajectory.scores}"
    if one.trajectory.error != other.trajectory.error:
        return f"the error was {one.trajectory.error} and is now {other.trajectory.error}"
    return None


async def _try(player: Player, suite: ComplianceSuite, scenario: Scenario, number: int, seed: int) -> Tried:
    episode = Episode(scenario, player, session_name(scenario), seed)
    stage: Stage | None = None
    async with episode.catching():
        stage = suite.environment(scenario)
    if stage is None:
        return Tried(scenario=scenario, attempt=number, seed=seed, trajectory=episode.trajectory())
    return _tried(scenario, number, seed, stage, await episode.play(stage))


def _tried(scenario: Scenario, number: int, seed: int, stage: Stage, trajectory: Trajectory) -> Tried:
    return Tried(
        scenario=scenario, attempt=number, seed=seed, trajectory=trajectory, before=stage.before, after=stage.after,
        planted=stage.is_planted,
    )  # fmt: skip


def _short(message: Message) -> str:
    return f"{message.wire()!r:.160}"


def by_key(tried: Sequence[Tried]) -> Mapping[tuple[str, int], Tried]:
    """Attempts by scenario and number."""
    return {(each.scenario.id, each.attempt): each for each in tried}
