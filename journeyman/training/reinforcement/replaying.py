"""The audit of the best-rewarded attempts: played again in the real system, does a simulated win hold there?"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from journeyman.environments.counterparts import first_other_answer, replayed, replies_of
from journeyman.environments.determinism import Draws
from journeyman.environments.environment import Suite
from journeyman.environments.episode import keeping
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Score, Trajectory, TrajectoryGroup
from journeyman.training.reinforcement.anchoring import is_anchored
from journeyman.training.reinforcement.scoring import Rewards
from journeyman.training.reinforcement.wins import is_won

NAME = "replays"
QUARANTINED = "quarantined"
"""The tag of an attempt that is not learned from, and says why."""
TOLERANCE = 0.05
"""How much less than in the simulation an attempt may be worth there and still hold."""


class Verdict(Frozen):
    """What came of one attempt: its score in the simulation and in the real system, None where it could not be played.

    `won`: whether it is a win, and not only paid a little. `counts` is False for attempts that were only looked at
    because another one of their group did not hold.
    """

    attempt: str
    scenario: str
    score: str
    simulated: float
    real: float | None
    holds: bool | None
    counts: bool
    why: str
    won: bool = False


@dataclass(frozen=True, slots=True)
class Audited:
    """A step's groups after the audit, with the attempts that did not hold marked, and all verdicts."""

    groups: list[TrajectoryGroup]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def quarantined(self) -> int:
        """How many attempts are not learned from."""
        return sum(QUARANTINED in each.tags for group in self.groups for each in group.trajectories)


class Auditor:
    """Replays attempts in `suite`. `names` are the scores by which an attempt is judged, the first that both have."""

    def __init__(self, suite: Suite, names: Sequence[str], seed: int) -> None:
        self._suite, self._names, self._draws = suite, tuple(names), Draws(f"audit/{seed}")

    async def audit(self, groups: Sequence[TrajectoryGroup], rewards: Sequence[Rewards], most: int) -> Audited:
        """Replay the best attempt of each of at most `most` groups; where one does not hold, all that were rewarded in
        its group. One attempt of a group counts, for the others fail by the same fault. Equal replies are played once.
        """
        best = sorted(
            (-value, self._draws.uniform(attempt.id), at, place)
            for at, group in enumerate(groups)
            if (found := _best(group, rewards[at])) is not None
            for place, attempt, value in [found]
        )[:most]
        verdicts = dict(await self._verdicts(groups, rewards, [(at, place) for _, _, at, place in best], counts=True))
        failed = sorted({at for (at, _), verdict in verdicts.items() if verdict.holds is False})
        rest = [
            (at, place)
            for at in failed
            for place in range(len(groups[at].trajectories))
            if (at, place) not in verdicts and _is_paid(groups[at].trajectories[place], rewards[at][place])
        ]
        verdicts |= dict(await self._verdicts(groups, rewards, rest, counts=False))
        marked = [
            group.model_copy(update={"trajectories": tuple(
                _marked(attempt, verdicts.get((at, place)), self._suite.name)
                for place, attempt in enumerate(group.trajectories)
            )})
            for at, group in enumerate(groups)
        ]  # fmt: skip
        return Audited(marked, tuple(verdicts.values()))

    async def _verdicts(
        self,
        groups: Sequence[TrajectoryGroup],
        rewards: Sequence[Rewards],
        places: Sequence[tuple[int, int]],
        *,
        counts: bool,
    ) -> list[tuple[tuple[int, int], Verdict]]:
        alike: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for at, place in places:
            said = str([reply.model_dump_json() for reply in replies_of(groups[at].trajectories[place])])
            alike.setdefault((at, said), []).append((at, place))
        firsts = [same[0] for same in alike.values()]
        found = await asyncio.gather(*(
            self._verdict(groups[at], groups[at].trajectories[place], counts) for at, place in firsts
        ))  # fmt: skip

        def told(verdict: Verdict, at: int, place: int) -> Verdict:
            attempt, reward = groups[at].trajectories[place], rewards[at][place]
            won = is_won(attempt, None if reward is None else reward.value)
            return verdict.model_copy(update={"attempt": attempt.id, "won": won})

        return [
            (each, told(verdict, *each))
            for same, verdict in zip(alike.values(), found, strict=True)
            if verdict is not None
            for each in same
        ]

    async def _verdict(self, group: TrajectoryGroup, attempt: Trajectory, counts: bool) -> Verdict | None:
        """None where the scenario has no counterpart; a replay that breaks tells nothing, and says so."""
        errors, replay = list[str](), None
        async with keeping(errors):
            replay = await replayed(self._suite, group.scenario, attempt)
        if errors:
            return Verdict(
                attempt=attempt.id, scenario=group.scenario.id, score="", simulated=0.0, real=None, holds=None,
                counts=False, why=f"the replay broke: {errors[0]}",
            )  # fmt: skip
        if replay is None:
            return None
        real = {score.name: score.value for score in replay.scores}
        own = {score.name: score.value for score in attempt.scores}
        name = next((each for each in self._names if each in own and each in real), None)
        if name is None:
            raise InvalidInput(
                f"the audit has nothing to compare: attempts have the scores {', '.join(own) or 'none'}, those of "
                f"{self._suite.name} {', '.join(real) or 'none'}, and it looks for {', '.join(self._names)}; name one "
                "that both give with --truth, or leave the audit out with --audited 0"
            )
        holds = real[name] >= own[name] - TOLERANCE
        return Verdict(
            attempt=attempt.id, scenario=group.scenario.id, score=name, simulated=own[name], real=real[name],
            holds=holds, counts=counts, why="" if holds else first_other_answer(attempt, replay),
        )  # fmt: skip


def _best(group: TrajectoryGroup, rewards: Rewards) -> tuple[int, Trajectory, float] | None:
    """The place of the best-rewarded attempt of a simulated group, the attempt and its reward; None where none won."""
    won = [
        (score.value, -place)
        for place, (each, score) in enumerate(zip(group.trajectories, rewards, strict=True))
        if score is not None and _is_paid(each, score)
    ]
    if not won:
        return None
    value, place = max(won)
    return -place, group.trajectories[-place], value


def _is_paid(attempt: Trajectory, score: Score | None) -> bool:
    return score is not None and score.value > 0 and attempt.error is None and not is_anchored(attempt)


def _marked(attempt: Trajectory, verdict: Verdict | None, real: str) -> Trajectory:
    if verdict is None or verdict.holds is None:
        return attempt
    said = f"{verdict.score} {verdict.simulated:g} here, {verdict.real:g} in {real}"
    score = Score(name=NAME, value=float(verdict.holds), reason=f"{said}. {verdict.why}".strip(), by="audit")
    tags = attempt.tags if verdict.holds else attempt.tags | {QUARANTINED: f"a win that does not hold in {real}"}
    kept = tuple(each for each in attempt.scores if each.name != NAME)
    return attempt.model_copy(update={"scores": (*kept, score), "tags": tags})
