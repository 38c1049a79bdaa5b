"""Agents that are programs: whatever calls an OpenAI-compatible URL gets one that carries its session.

Nothing in the program changes. Its calls go through the gateway, which captures them with tokens and log-probabilities,
and the attempt is read back from the store: `read_back` is how (`journeyman.training.reading_back`).
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from journeyman.environments.episode import keeping
from journeyman.environments.groups import check_groups
from journeyman.environments.processes import kill_all
from journeyman.environments.rollout import in_places, session_name
from journeyman.environments.waiting import RolloutProgress, bounded
from journeyman.errors import DeadlineExceeded, InvalidInput, ProgramFailed
from journeyman.records import Sampling, Scenario, Score, Trajectory, TrajectoryGroup

_READ_BACK_SECONDS = 60.0
_LAST_WORDS = 2000
"""Bytes of what a failed program wrote that its error repeats."""


@dataclass(frozen=True)
class Assignment:
    """What a program is told of one attempt. `base_url` is what an OpenAI client takes, and carries the session."""

    scenario: Scenario
    model: str
    base_url: str
    api_key: str
    session: str


Program = Callable[[Assignment], Awaitable[Sequence[Score] | None]]
"""Makes one attempt, and says how it went where it knows; what it raises is the attempt's error."""
ReadBack = Callable[[Assignment], Awaitable[Trajectory]]
"""The attempt as it was captured."""


class Command:
    """A program that is started anew for each attempt.

    It finds OPENAI_BASE_URL, OPENAI_API_KEY, JOURNEYMAN_MODEL, JOURNEYMAN_SESSION and JOURNEYMAN_SCENARIO (JSON: id,
    kind, data) in its environment, beside `environment`, and runs in `folder`. It has failed when its exit code is not
    0. When its time is over, it and all that it started are killed.
    """

    def __init__(
        self, words: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        if not words:
            raise InvalidInput("a command has at least one word: the program")
        self._words, self._environment, self._folder = tuple(words), dict(environment or {}), folder

    async def __call__(self, assignment: Assignment) -> None:
        """Run it once; ProgramFailed with its last words when it cannot be run, or ends with an error."""
        with tempfile.TemporaryFile() as said:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._words, stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said, cwd=self._folder,
                    env=os.environ | self._environment | _told(assignment), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise ProgramFailed(f"{self._words[0]} cannot be started: {error}") from error
            try:
                code = await process.wait()
            finally:
                kill_all(process.pid)
            if code:
                said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST_WORDS))
                words = said.read().decode(errors="replace").strip() or "it said nothing"
                raise ProgramFailed(f"{self._words[0]} ended with {code}: {words}")


async def roll_out_programs(
    program: Program,
    scenarios: Sequence[Scenario],
    model: str,
    *,
    gateway: str,
    read_back: ReadBack,
    attempts: int,
    seconds_per_episode: float,
    api_key: str = "unused",
    concurrency: int = 8,
    on_done: Callable[[Trajectory], None] | None = None,
    progress: RolloutProgress | None = None,
) -> list[TrajectoryGroup]:
    """`attempts` of a program at each scenario, at most `concurrency` at a time; groups in the order of the scenarios.

    `gateway` is its URL, with or without `/v1`; `model` is the name that the program is told to ask for. A program
    that fails or takes longer than `seconds_per_episode` has a trajectory with its error, and what it said until then.
    How a program samples is its own affair: its attempts cannot be repeated by a seed.
    """
    check_groups(scenarios, attempts, Sampling())
    if seconds_per_episode <= 0:
        raise InvalidInput(f"seconds_per_episode is {seconds_per_episode:g}; a program needs time")
    progress = progress or RolloutProgress()
    root = gateway.rstrip("/").removesuffix("/v1")

    async def attempt(scenario: Scenario) -> Trajectory:
        session = session_name(scenario)
        url = f"{root}/v1/sessions/{quote(session, safe='')}"
        run = _Run(Assignment(scenario, model, url, api_key, session), seconds_per_episode, progress)
        return await run.trajectory(program, read_back)

    members = [partial(attempt, scenario) for scenario in scenarios for _ in range(attempts)]
    played = await in_places(members, concurrency, progress, on_done)
    return [
        TrajectoryGroup(scenario=scenario, trajectories=tuple(played[at * attempts : (at + 1) * attempts]))
        for at, scenario in enumerate(scenarios)
    ]


@dataclass(frozen=True)
class _Run:
    """One attempt of a program."""

    assignment: Assignment
    seconds: float
    progress: RolloutProgress

    async def trajectory(self, program: Program, read_back: ReadBack) -> Trajectory:
        assignment, errors = self.assignment, list[str]()
        name = assignment.scenario.id
        scores: Sequence[Score] | None = None
        found = Trajectory(scenario_id=name, model=assignment.model, session=assignment.session, messages=())
        async with keeping(errors):
            with self.progress.waiting("an agent's program"):
                scores = await bounded(program(assignment), self.seconds, lambda: DeadlineExceeded(
                    f"the agent's program took longer than {self.seconds:g} s at {name} and was stopped; see what it "
                    "waits for, or allow more seconds_per_episode"
                ))  # fmt: skip
        async with keeping(errors):
            with self.progress.waiting("calls of an agent's program to be stored"):
                found = await bounded(read_back(assignment), _READ_BACK_SECONDS, lambda: DeadlineExceeded(
                    f"the calls of {assignment.session} were not read back within {_READ_BACK_SECONDS:g} s; see "
                    "whether the ingester runs"
                ))  # fmt: skip
        if found.error is not None:
            errors.append(found.error)
        return found.model_copy(update={
            "scenario_id": name, "scores": (*found.scores, *(scores or ())), "error": "; ".join(errors) or None,
        })  # fmt: skip


def _told(assignment: Assignment) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": assignment.base_url,
        "OPENAI_API_KEY": assignment.api_key,
        "JOURNEYMAN_MODEL": assignment.model,
        "JOURNEYMAN_SESSION": assignment.session,
        "JOURNEYMAN_SCENARIO": assignment.scenario.model_dump_json(include={"id", "kind", "data"}),
    }
