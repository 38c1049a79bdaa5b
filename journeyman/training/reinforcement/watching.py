"""Keeps the watch against reward hacking beside a run: its measures on disk, its alarms in the step's report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from journeyman.datasets.formats import write_whole
from journeyman.errors import JourneymanError
from journeyman.records import TrajectoryGroup
from journeyman.rewards.reward import Reward, Scores
from journeyman.rewards.watch import Alarm, ReviewItem, WatchReport, review_queue, watch
from journeyman.rewards.watch_measures import Measures, Step, measure, tables_of
from journeyman.training.reinforcement.scoring import score_groups

_MEASURES = "measures.jsonl"
_REVIEW = "review.jsonl"
_KINDS: TypeAdapter[Measures] = TypeAdapter(Measures)


class RewardHacked(JourneymanError):
    """The policy learns what the judge pays for and not the task: the run was frozen."""

    code = "reward_hacked"
    status = 409


class Watching:
    """The watch of one run, in whose folder it keeps what it measured: a run that goes on is watched from its start."""

    def __init__(self, folder: Path, *, truth: str | None, held_out: Reward | None) -> None:
        self._file, self._review = folder / _MEASURES, folder / _REVIEW
        self._truth, self._held_out = truth, held_out
        self._steps: list[Measures] = []
        if self._file.is_file():
            self._steps = [_KINDS.validate_json(line) for line in self._file.read_text().splitlines()]

    @property
    def may_freeze(self) -> bool:
        """Whether there is something to hold the reward against."""
        return self._truth is not None or self._held_out is not None

    async def see(
        self, number: int, groups: Sequence[TrajectoryGroup], reward: str, scores: Sequence[Mapping[str, Scores]]
    ) -> WatchReport:
        """What the run's steps show, this one included; `scores` are each group's, by part."""
        held_out = None
        if self._held_out is not None:
            held_out = [_values(each) for each in (await score_groups(self._held_out, groups)).rewards]
        truth = None if self._truth is None else [_known(each, self._truth) for each in groups]
        step = Step(number, groups, tables_of(scores), reward, held_out, truth)
        # A step that was cut short is done again.
        self._steps = [*(each for each in self._steps if each.number < number), measure(step)]
        report = watch(self._steps)
        write_whole(self._file, b"".join(_KINDS.dump_json(each) + b"\n" for each in self._steps))
        self._queue(review_queue([step], report))
        return report

    def frozen(self, number: int, report: WatchReport, clean: Path | None) -> RewardHacked:
        """The error that ends the run, with the evidence."""
        said = " ".join(f"{each.signal}: {each.evidence}." for each in report.alarms if each.freezes)
        kept = (
            "the run never was clean: correct the reward and start again"
            if clean is None
            else f"the adapter of the last clean step is {clean}"
        )
        return RewardHacked(
            f"frozen after step {number}: the policy learns what is paid for, and not the task. {said} The last clean "
            f"step is {report.last_clean_step}; {kept}. Attempts that a person should read are in {self._review}"
        )

    def _queue(self, items: Sequence[ReviewItem]) -> None:
        with self._review.open("a") as file:
            file.writelines(f"{item.model_dump_json()}\n" for item in items)


def words_of(alarm: Alarm) -> str:
    """An alarm in one line."""
    weight = "" if alarm.freezes else " (worth a look)"
    return f"{alarm.signal}{weight}: {alarm.evidence}"


def _values(scores: Scores) -> list[float | None]:
    return [None if score is None else score.value for score in scores]


def _known(group: TrajectoryGroup, name: str) -> list[float | None]:
    """What the environment says of each attempt, under that name."""
    return [next((score.value for score in each.scores if score.name == name), None) for each in group.trajectories]
