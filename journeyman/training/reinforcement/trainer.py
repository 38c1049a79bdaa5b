"""The loop of reinforcement learning: attempts, rewards, an update, and the new weights handed to the engine."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from journeyman.environments.environment import Suite
from journeyman.environments.waiting import RolloutProgress, beating
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import Score, Trajectory, TrajectoryGroup
from journeyman.records.reinforcement import RLConfig
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.contract import require_contract
from journeyman.training.checkpoints import Progress, writing_folder
from journeyman.training.reinforcement.anchoring import ANCHOR, LANE, SUITE
from journeyman.training.reinforcement.drawn import Drawn
from journeyman.training.reinforcement.guards import Exploited, Guards
from journeyman.training.reinforcement.held_out import HeldOut, measure
from journeyman.training.reinforcement.learner import Learner, Tell
from journeyman.training.reinforcement.policy_loss import equation
from journeyman.training.reinforcement.preflight import Finding, Preflight, preflight
from journeyman.training.reinforcement.scoring import Scored, score_groups
from journeyman.training.reinforcement.step_report import RLStepReport, report_step
from journeyman.training.reinforcement.task import Task
from journeyman.training.reinforcement.watching import Watching, words_of

_MOST_STEPS = 2**20
_PARTS = 64
_KEPT = 5
"""Adapters of every so many steps are kept until the run has ended well: the watch may want to go back to one."""

Log = Callable[[RLStepReport], None]
Keep = Callable[[Sequence[Trajectory]], None]
Beat = Callable[[str], None]
BEAT_SECONDS = 30.0


@dataclass(slots=True)
class _Sampled:
    """The attempts of one step, and the step whose weights sampled them."""

    groups: list[TrajectoryGroup]
    weights: int
    seconds: float


@dataclass(slots=True)
class _Phases:
    """Seconds of a step by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, name: str):  # type: ignore[no-untyped-def]
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


class ReinforcementTrainer:
    """One run: it can be stopped after any step and go on in another process exactly where it was.

    What a step attempts and samples depends on its number alone: a step that was cut short is done again, alike.
    `keep` is given the scored attempts of each step, whose ids say where they belong: none is ever counted twice.
    `beat` is told, every half minute of sampling, how many attempts wait for what; `tell` reaches the other processes
    of a run that several compute.
    """

    def __init__(
        self, config: RLConfig, task: Task, model_folder: Path, run_folder: Path, *, start: Path | None = None,
        keep: Keep = lambda trajectories: None,
        beat: Beat = lambda line: None,
        tell: Tell | None = None,
    ) -> None:  # fmt: skip
        plain = ChatTokenizer(model_folder)
        self.tokenizer = plain if start is None else plain.for_adapter(start)
        require_contract(self.tokenizer)
        self.config, self.task, self._keep, self._beat = config, task, keep, beat
        self._learner = Learner(config, model_folder, run_folder, start, tell)
        self.policy = self._learner.policy
        self._watching = Watching(run_folder, truth=config.truth, held_out=task.held_out)
        self._guards = Guards(run_folder, config, task)
        self._loaded: list[int] = []
        self._ahead: asyncio.Task[_Sampled] | None = None

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._learner.progress

    @property
    def model(self) -> str:
        """The name under which the engine serves the weights of now."""
        return self._model(self.progress.step)

    @property
    def equation(self) -> str:
        """What an update computes."""
        return equation(self.config.algorithm)

    async def train(self, log: Log) -> None:
        """Run to the end. A KeyboardInterrupt that `log` raises stops the run between two steps."""
        try:
            while self.progress.step < self.config.steps:
                report = await self._step()
                # What is told of a step is kept before the step counts as done: a kill between the two repeats it.
                try:
                    log(report)
                finally:
                    self._learner.save()
        finally:
            if self._ahead is not None:
                self._ahead.cancel()
                await asyncio.wait([self._ahead])

    async def held_out(self) -> HeldOut:
        """How the weights of now do on held-out scenarios."""
        await self._publish(self.progress.step)
        return await measure(self.config, self.task, self.model)

    async def preflight(self) -> Preflight:
        """What a first batch of attempts says of the run; nothing is learned and nothing kept."""
        await self._publish(0)
        sampled = await self._sample(0, 0)
        batch = Drawn(sampled.groups, await self._scored(sampled.groups)).batch(
            self.config.algorithm, self.config.new_tokens
        )
        context = getattr(self.policy.network.config.get_text_config(), "max_position_embeddings", 2**31)
        return preflight(self.config, batch, context).beside(await self._canaries())

    async def _canaries(self) -> Finding:
        try:
            await self._guards.check_canaries(1)
        except Exploited as found:
            return Finding("stop", str(found))
        return Finding("fine", self._guards.said())

    async def release(self) -> None:
        """Unload what the engine still holds of this run; one that is gone holds nothing."""
        while self._loaded:
            with contextlib.suppress(NotFound, UpstreamFailed):
                await self.task.engine.unload(self._model(self._loaded.pop()))

    def discard(self) -> None:
        """Give the space back, once the adapter is kept elsewhere."""
        self._learner.discard()
        shutil.rmtree(self.task.weights, ignore_errors=True)

    async def _step(self) -> RLStepReport:
        started, number = time.monotonic(), self.progress.step
        phases = _Phases()
        with phases.timing("hand over"):
            await self._publish(number)
        if number == 0 or self._is_due():
            with phases.timing("canaries"):
                await self._guards.check_canaries(number + 1)
        with phases.timing("sample"):
            sampled = await self._sampled(number)
        with phases.timing("reward"):
            scored = await self._scored(sampled.groups)
        drawn = await self._drawn(sampled, scored, number, phases)
        with phases.timing("audit"):
            drawn = await self._audited(drawn, number + 1)
        with phases.timing("watch"):
            alarms = await self._watched(number + 1, *drawn.seen)
        batch = drawn.batch(self.config.algorithm, self.config.new_tokens)
        with phases.timing("learn"):
            outcome = await asyncio.to_thread(self._learner.learn, batch, number, sampled.weights)
        self._learner.count(outcome, time.monotonic() - started)
        evaluated = None
        if self._is_due():
            with phases.timing("measure"):
                evaluated = await self.held_out()
        return report_step(
            self.progress,
            self.config.steps,
            batch,
            outcome,
            phases.seconds,
            number - sampled.weights,
            evaluated,
            alarms,
            self._guards.curves(number + 1),
            compares=self.config.algorithm.compares_groups,
        )

    async def _sampled(self, number: int) -> _Sampled:
        """The attempts of a step, sampled ahead where the config allows weights that are one step old."""
        ahead, self._ahead = self._ahead, None
        if ahead is None and self.config.staleness and number:
            await self._hold_older(number - 1)
            found = await self._sample(number, number - 1)
        else:
            found = await (ahead if ahead is not None else self._sample(number, number))
        if self.config.staleness and number + 1 < self.config.steps:
            self._ahead = asyncio.create_task(self._sample(number + 1, number))
        return found

    async def _hold_older(self, number: int) -> None:
        """After a stop: what the step was to be sampled under, which is one step old."""
        folder = self.task.weights / str(number)
        if not folder.is_dir():
            raise InvalidInput(
                f"step {number + 2} is to be sampled under the weights of step {number}, and {folder} is gone; start a "
                "new run, or one without --staleness"
            )
        await self.task.engine.load(self._model(number), folder)
        self._loaded.insert(0, number)

    async def _sample(self, number: int, weights: int, part: int = 0, count: int | None = None) -> _Sampled:
        config = self.config
        started = time.monotonic()
        seed = (config.seed * _MOST_STEPS + number) * _PARTS + part
        anchored = 0 if part else self._guards.anchored(number)
        tags, progress = {"stage": "training", "step": str(number)}, RolloutProgress()

        async def lane(suite: Suite, named: str, share: int) -> list[TrajectoryGroup]:
            labels = tags | {LANE: named}
            scenarios = suite.scenarios("train", share, seed)
            groups = await self.task.play(
                config, scenarios, self._model(weights), config.attempts, seed, tags=labels, progress=progress,
                suite=suite,
            )  # fmt: skip
            return [_tagged(each, labels | {"environment": each.scenario.environment}) for each in groups]

        lanes = [lane(self.task.suite, SUITE, (count or config.scenarios) - anchored)]
        if self.task.anchor is not None and anchored:
            lanes.append(lane(self.task.anchor, ANCHOR, anchored))
        async with beating(progress, self._beat, BEAT_SECONDS):
            groups = [each for found in await _together(lanes) for each in found]
        named = f"{number}.{part}" if part else f"{number}"
        return _Sampled(_with_ids(groups, named), weights, time.monotonic() - started)

    async def _scored(self, groups: Sequence[TrajectoryGroup]) -> Scored:
        """Rewards for what can be rewarded; the attempts are kept, with their scores."""
        scored = await score_groups(self.task.reward, groups, self.config.abstained)
        self._keep([
            _with_score(each, score)
            for group, given in zip(groups, scored.rewards, strict=True)
            for each, score in zip(group.trajectories, given, strict=True)
        ])  # fmt: skip
        return scored

    async def _audited(self, drawn: Drawn, step: int) -> Drawn:
        """The step's groups with wins that do not hold in the real system marked, and kept so; Exploited, before
        anything is learned, where that or the anchor lane says that it is not the task that pays."""
        rewards = drawn.scored.rewards
        found = await self._guards.audit(step, drawn.groups, rewards)
        looked_at = {each.attempt for each in found.verdicts if each.holds is not None}
        self._keep([
            _with_score(each, score)
            for group, given in zip(found.groups, rewards, strict=True)
            for each, score in zip(group.trajectories, given, strict=True) if each.id in looked_at
        ])  # fmt: skip
        self._guards.require_holding(step, found)
        groups, scored = drawn.seen
        self._guards.compare(step, groups, scored.rewards)
        return replace(drawn, groups=found.groups)

    async def _watched(self, step: int, groups: Sequence[TrajectoryGroup], scored: Scored) -> tuple[str, ...]:
        """The watch's alarms; RewardHacked when it freezes the run, before anything is learned from this step."""
        report = await self._watching.see(step, groups, self.task.reward.name, scored.parts)
        if report.freeze and self._watching.may_freeze:
            raise self._watching.frozen(step, report, self._clean(report.last_clean_step))
        return tuple(words_of(each) for each in report.alarms)

    def _clean(self, step: int | None) -> Path | None:
        """The newest kept adapter that the attempts up to a clean step were sampled under."""
        kept = sorted(int(each.name) for each in self.task.weights.glob("[0-9]*") if step and int(each.name) < step)
        return self.task.weights / str(kept[-1]) if kept else None

    async def _drawn(self, sampled: _Sampled, scored: Scored, number: int, phases: _Phases) -> Drawn:
        """The step's groups. Dynamic sampling puts other scenarios in the place of groups without signal, at most as
        often as the config allows; what stays silent after that is left out, unless nothing else is there."""
        drawn = Drawn(sampled.groups, scored)
        for part in range(1, self.config.algorithm.refills + 1):
            missing = self.config.scenarios - drawn.loud
            if missing <= 0:
                break
            with phases.timing("sample"):
                more = await self._sample(number, sampled.weights, part, missing)
            with phases.timing("reward"):
                drawn = drawn.refilled(more.groups, await self._scored(more.groups))
        return drawn

    async def _publish(self, number: int) -> None:
        """Hand the weights of now to the engine under the name of the step; older ones are given up."""
        if number in self._loaded:
            return
        folder = self.task.weights / str(number)
        with writing_folder(folder) as partial:
            self.policy.save_adapter(partial, self.tokenizer.template)
        await self.task.engine.load(self._model(number), folder)
        self._loaded.append(number)
        while len(self._loaded) > 2:
            old = self._loaded.pop(0)
            await self.task.engine.unload(self._model(old))
            if old % _KEPT:
                shutil.rmtree(self.task.weights / str(old), ignore_errors=True)

    def _model(self, number: int) -> str:
        return f"{self.task.label}@{number}"

    def _is_due(self) -> bool:
        every, step = self.config.evaluate_every, self.progress.step
        return bool(every) and (step % every == 0 or step == self.config.steps)


async def _together(lanes: Sequence[Coroutine[Any, Any, list[TrajectoryGroup]]]) -> list[list[TrajectoryGroup]]:
    """What each lane comes to; the first that fails ends the others and says why."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(lane) for lane in lanes]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [each.result() for each in running]


def _with_ids(groups: Sequence[TrajectoryGroup], named: str) -> list[TrajectoryGroup]:
    """Attempts known by their place in the run."""
    return [
        group.model_copy(update={"trajectories": tuple(
            each.model_copy(update={"id": f"{named}-{at}-{place}"}) for place, each in enumerate(group.trajectories)
        )})
        for at, group in enumerate(groups)
    ]  # fmt: skip


def _tagged(group: TrajectoryGroup, tags: Mapping[str, str]) -> TrajectoryGroup:
    """Attempts that say what they were made for, and in which of several environments."""
    labelled = tuple(each.model_copy(update={"tags": {**each.tags, **tags}}) for each in group.trajectories)
    return group.model_copy(update={"trajectories": labelled})


def _with_score(trajectory: Trajectory, score: Score | None) -> Trajectory:
    """An attempt as the store keeps it, with what it was rewarded."""
    scores = trajectory.scores if score is None or score in trajectory.scores else (*trajectory.scores, score)
    return trajectory.model_copy(update={"scores": scores})
