"""Keeps the guards against exploitation beside a run: canaries, the audit by replay, and the gap to the anchor lane.

What they found stands in the run's folder, so that a run that goes on is guarded from its start. A guard that is sure
stops the run before anything is learned from the step.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, TypeAdapter

from journeyman.datasets.formats import write_whole
from journeyman.environments.counterparts import counterparts_of
from journeyman.errors import InvalidInput, JourneymanError
from journeyman.records import Frozen, TrajectoryGroup
from journeyman.records.reinforcement import RLConfig
from journeyman.training.reinforcement import anchoring
from journeyman.training.reinforcement.anchoring import Gap, anchored_groups, gap_of, is_anchored
from journeyman.training.reinforcement.canary_policies import Earned, earned_by_canaries, leaks
from journeyman.training.reinforcement.replaying import Audited, Auditor, Verdict
from journeyman.training.reinforcement.scoring import Rewards
from journeyman.training.reinforcement.task import Task
from journeyman.training.reinforcement.wins import LEAST_SHARE, SURE, Replayed

_FILE, _EVIDENCE = "guards.jsonl", "exploits.jsonl"
_LATER = 4
"""Canaries play so many times fewer scenarios once the run is under way."""
_SHOWN = 3


class Exploited(JourneymanError):
    """Something pays that is not the task: a bug of a simulation, or a leak of a verifier. The run was stopped."""

    code = "exploited"
    status = 409


class _Guarded(Frozen):
    """What the guards found at one step."""

    step: int
    suite: tuple[float, ...] = ()
    anchor: tuple[float, ...] = ()
    audited: int = 0
    held: int = 0
    wins: int = 0
    wins_held: int = 0
    broken: int = 0
    quarantined: int = 0
    canaries: dict[str, Earned] = Field(default_factory=dict)
    real_canaries: dict[str, Earned] = Field(default_factory=dict)

    @property
    def replayed(self) -> Replayed:
        """What was replayed and counts."""
        return Replayed(self.audited, self.held, self.wins, self.wins_held)


_KINDS: TypeAdapter[_Guarded] = TypeAdapter(_Guarded)


class Guards:
    """The guards of one run. Steps are counted from 1 here, as people see them."""

    def __init__(self, folder: Path, config: RLConfig, task: Task) -> None:
        self._file, self._evidence = folder / _FILE, folder / _EVIDENCE
        self._config, self._task = config, task
        self._steps: dict[int, _Guarded] = {}
        if self._file.is_file():
            read = [_KINDS.validate_json(line) for line in self._file.read_text().splitlines()]
            self._steps = {each.step: each for each in read}
        self._auditor = None
        if task.anchor is not None and config.audited and counterparts_of(task.anchor) is not None:
            names = [each for each in (config.reward, config.truth) if each is not None and ":" not in each]
            self._auditor = Auditor(task.anchor, [*names, "success"], config.seed)
        self._gap: Gap | None = None

    def anchored(self, number: int) -> int:
        """How many groups of the step `number`, counted from 0, play the anchor."""
        share = self._config.anchor_share if self._task.anchor is not None else 0.0
        return anchored_groups(number, share, self._config.scenarios)

    async def check_canaries(self, step: int) -> None:
        """Let the canaries play before a step's update; Exploited when one of them earns what only the task should."""
        config, task = self._config, self._task
        if not config.canaries:
            return
        count = config.canaries if step == 1 else -(-config.canaries // _LATER)
        seed = config.seed * 1_000_003 + step
        found = await earned_by_canaries(config, task, task.suite, seed, count)
        real = {} if task.anchor is None else await earned_by_canaries(config, task, task.anchor, seed, count)
        self._write(step, canaries=found, real_canaries=real)
        own, theirs = self._summed("canaries", step), self._summed("real_canaries", step)
        if leaking := leaks(own, theirs):
            told = "; ".join(f"{name} {own[name].said()}, and {own[name].example}" for name in leaking)
            raise Exploited(
                f"stopped before update {step}: who does nothing of use is rewarded in {task.suite.name}. {told}. "
                "Nothing was learned from this step. Correct the verifier or the reward that pays for this (journeyman "
                "env check tries the same players); where it is meant to, leave the canaries out: --canaries 0"
            )

    def said(self) -> str:
        """What the canaries earned so far, in a line."""
        last = max(self._steps, default=0)
        found = self._summed("canaries", last)
        return "canaries: " + (", ".join(f"{name} {each.said()}" for name, each in found.items()) or "not asked for")

    async def audit(self, step: int, groups: Sequence[TrajectoryGroup], rewards: Sequence[Rewards]) -> Audited:
        """The groups with wins that do not hold in the real system marked."""
        if self._auditor is None:
            return Audited([*groups])
        found = await self._auditor.audit(groups, rewards, self._config.audited)
        counted = [each for each in found.verdicts if each.counts]
        self._write(
            step, audited=len(counted), held=sum(each.holds is True for each in counted),
            wins=sum(each.won for each in counted), wins_held=sum(each.won and each.holds is True for each in counted),
            broken=sum(each.holds is None for each in found.verdicts), quarantined=found.quarantined,
        )  # fmt: skip
        false = [each for each in found.verdicts if each.holds is False]
        if false:
            with self._evidence.open("a") as file:
                file.writelines(f"{each.model_dump_json()}\n" for each in false)
        return found

    def require_holding(self, step: int, found: Audited) -> None:
        """Exploited when the wins of the run so far that were replayed hold too seldom."""
        replayed = Replayed()
        for number, each in self._steps.items():
            replayed = replayed.plus(each.replayed) if number <= step else replayed
        if replayed.evidence >= SURE:
            raise self._not_held(step, replayed, [each for each in found.verdicts if each.holds is False])

    def compare(self, step: int, groups: Sequence[TrajectoryGroup], rewards: Sequence[Rewards]) -> None:
        """Hold what the suite pays against what the anchor does; Exploited when only the former rises."""
        if self._task.anchor is None or not self._config.anchor_share:
            return
        lanes: dict[bool, list[float]] = {True: [], False: []}
        for group, given in zip(groups, rewards, strict=True):
            values = [score.value for score in given if score is not None]
            is_real = is_anchored(group.trajectories[0])
            if values:
                lanes[is_real].append(sum(values) / len(values))
            elif is_real:
                self._check_rewarded(group)
        self._write(step, suite=tuple(lanes[False]), anchor=tuple(lanes[True]))
        history = [
            anchoring.Rewards(number, each.suite, each.anchor)
            for number, each in sorted(self._steps.items()) if number <= step
        ]  # fmt: skip
        self._gap = gap_of(history, self._config.steps)
        if self._gap is not None and self._gap.is_exploited:
            raise self._drifted(step, self._gap)

    def _check_rewarded(self, group: TrajectoryGroup) -> None:
        """InvalidInput where the anchor does not have the score that the suite is rewarded by."""
        alive = [each for each in group.trajectories if each.error is None]
        never = not any(each.anchor for each in self._steps.values())
        if ":" not in self._config.reward and alive and never:
            given = sorted({score.name for each in alive for score in each.scores})
            raise InvalidInput(
                f"attempts in the anchor {self._config.anchor} have no score called {self._config.reward}, only "
                f"{', '.join(given) or 'none'}; name one that both give with --reward, or --anchor-share 0"
            )

    def curves(self, step: int) -> dict[str, float]:
        """What the run's curves keep of a step."""
        found, values = self._steps.get(step, _Guarded(step=step)), dict[str, float]()
        if found.anchor:
            values["anchor reward"] = sum(found.anchor) / len(found.anchor)
        if self._gap is not None:
            values |= {"gap": self._gap.value.estimate}
            # JSON knows no infinity: with one group in a lane there is no interval yet.
            if self._gap.value.high < float("inf"):
                values |= {"gap low": self._gap.value.low, "gap high": self._gap.value.high}
        if self._auditor is not None:
            values |= {"audited": float(found.audited), "held": float(found.held)}
            values |= {"quarantined": float(found.quarantined), "replays that broke": float(found.broken)}
        for name, each in found.canaries.items():
            values |= {f"canary {name}: won": float(each.won), f"canary {name}: played": float(each.played)}
        return values

    def _summed(self, kind: str, upto: int) -> dict[str, Earned]:
        """What each canary earned so far."""
        summed: dict[str, Earned] = {}
        for number, step in self._steps.items():
            if number <= upto:
                each: Mapping[str, Earned] = getattr(step, kind)
                summed |= {name: found.plus(summed.get(name, Earned())) for name, found in each.items()}
        return summed

    def _write(self, step: int, **found: object) -> None:
        """A step that was cut short is done again: what it found stands in place of what it had found."""
        self._steps = {number: each for number, each in self._steps.items() if number <= step}
        self._steps[step] = self._steps.get(step, _Guarded(step=step)).model_copy(update=found)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, b"".join(_KINDS.dump_json(each) + b"\n" for each in self._steps.values()))

    def _not_held(self, step: int, replayed: Replayed, false: Sequence[Verdict]) -> Exploited:
        assert self._task.anchor is not None
        real = self._task.anchor.name
        told = "; ".join(
            f"attempt {each.attempt} at {each.scenario}: {each.score} {each.simulated:g} here and {each.real:g} there, "
            f"{each.why}"
            for each in false[:_SHOWN]
        )
        return Exploited(
            f"stopped at step {step}: of the best-rewarded attempts {replayed.held} of {replayed.audited} hold when "
            f"they are replayed in {real}, of the wins among them {replayed.wins_held} of {replayed.wins}, and "
            f"{LEAST_SHARE:.0%} of each must. {told}. Nothing was learned from this step; all such attempts are in "
            f"{self._evidence}. Give the simulation what the real system says to these calls (journeyman world build), "
            "or correct the verifier, and start again"
        )

    def _drifted(self, step: int, gap: Gap) -> Exploited:
        assert self._task.anchor is not None
        ours, theirs = (
            f"{each.estimate:+.2f} [{each.low:+.2f}, {each.high:+.2f}]" for each in (gap.suite_rise, gap.anchor_rise)
        )
        return Exploited(
            f"stopped at step {step}: the reward in {self._task.suite.name} rose by {ours}, and in "
            f"{self._task.anchor.name} by {theirs}: what is learned does not hold in the real system. Nothing was "
            "learned from this step. See what the best attempts do (all are kept), add to the traces the calls that "
            "the simulation answers wrongly, or raise --anchor-share, and start again"
        )
