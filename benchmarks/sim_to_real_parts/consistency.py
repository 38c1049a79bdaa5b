"""F7: how each policy does in a world and in the real system on the same starts, and whether its wins replay there."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learning_parts.gains import share_of
from record import Row, row

from journeyman.engines.scripted import Script, ScriptedEngine
from journeyman.environments.environment import Environment
from journeyman.environments.rollout import MAX_CALLS, roll_out
from journeyman.records import Interval, Message, Scenario, Tool, Trajectory
from journeyman.statistics.intervals import clustered_mean, proportion
from journeyman.statistics.ranking import kendall_tau

LOW, HIGH, REPLAYED, TAU = 0.9, 1.1, 0.9, 0.8


@dataclass(frozen=True)
class Pair:
    """One policy's attempt in the world and in the real system, from the same start under the same random numbers.

    `won` and `really` are 1 or 0. An attempt that the world could not follow to its end has not won. `replays` is
    whether the actions of a simulated win win in the real system; None where there is none.
    """

    start: str
    won: float
    really: float
    abstained: bool
    replays: bool | None


def pairs(
    scenarios: Mapping[str, Scenario],
    simulated: Callable[[Scenario], tuple[Scenario, Environment]],
    real: Callable[[Scenario], Environment],
    script: Callable[[Scenario, int], Script | None],
    seeds: int,
) -> list[Pair]:
    """Every start as often as there are seeds, in both systems; starts that the policy cannot attempt are left out."""
    found = []
    for name, scenario in scenarios.items():
        for seed in range(seeds):
            one, other = script(scenario, seed), script(scenario, seed)
            if one is None or other is None:
                continue
            within, environment = simulated(scenario)
            there = play(environment, within, one)
            here = play(real(scenario), scenario, other)
            won = there.score("success")
            replays = None
            if won:
                actions = actions_of(there)
                again = play(real(scenario), scenario, repeating(actions), len(actions))
                replays = again.score("success") == 1
            found.append(Pair(name, won, here.score("success"), there.score("abstained") == 1, replays))
    return found


def play(environment: Environment, scenario: Scenario, script: Script, most: int = MAX_CALLS) -> Trajectory:
    """One attempt of at most so many turns; an error of the environment is raised."""
    played = asyncio.run(roll_out(environment, scenario, ScriptedEngine(script), "scripted", max_calls=most))
    if played.error is not None:
        raise RuntimeError(f"{scenario.id}: {played.error}")
    return played


def actions_of(trajectory: Trajectory) -> list[Message]:
    """The agent's own replies, in order."""
    return [said for said in trajectory.messages if said.role == "assistant"][-trajectory.turns :]


def repeating(replies: Sequence[Message]) -> Script:
    """Gives these replies, whatever it is told."""
    left = list(replies)

    def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        return left.pop(0)

    return act


def by_start(found: Sequence[Pair], value: Callable[[Pair], float]) -> list[list[float]]:
    """The values of each start's attempts."""
    clusters: dict[str, list[float]] = {}
    for each in found:
        clusters.setdefault(each.start, []).append(value(each))
    return list(clusters.values())


def ratio_of(found: Sequence[Pair]) -> Interval | None:
    """Success in the world over success in the real system, over starts; None where nothing succeeds there."""
    won = [sum(each) / len(each) for each in by_start(found, lambda pair: pair.won)]
    really = [sum(each) / len(each) for each in by_start(found, lambda pair: pair.really)]
    return share_of(won, really) if any(really) else None


def rows_of(world: str, policy: str, found: Sequence[Pair], *, judged: bool) -> list[Row]:
    """What a table shows of one policy; bars where it is judged."""
    what = f"{world}: {policy}"
    there, here = (clustered_mean(by_start(found, value)) for value in (lambda p: p.won, lambda p: p.really))
    said = [
        row(f"{what}: success in the world", there.estimate, f"n={len(found)}", interval=(there.low, there.high)),
        row(f"{what}: success in the real system", here.estimate, f"n={len(found)}", interval=(here.low, here.high)),
        row(f"{what}: attempts the world abstained from", sum(p.abstained for p in found) / len(found)),
    ]
    ratio = ratio_of(found)
    if ratio is not None:
        bar: dict[str, Any] = {"bar": "0.9 to 1.1", "holds": LOW <= ratio.estimate <= HIGH} if judged else {}
        said.append(row(f"{what}: consistency ratio", ratio.estimate, interval=(ratio.low, ratio.high), **bar))
    wins = [pair.replays for pair in found if pair.replays is not None]
    if wins:
        share = proportion(sum(wins), len(wins))
        bar = {"bar": "≥ 0.9", "holds": share.estimate >= REPLAYED} if judged else {}
        said.append(row(f"{what}: simulated wins that replay for real", share.estimate, f"of {len(wins)}",
                        interval=(share.low, share.high), **bar))  # fmt: skip
    return said


def ranking(world: str, found: Mapping[str, Sequence[Pair]], *, judged: bool) -> list[Row]:
    """F9: whether the world ranks policies as the real system does, and which pairs it clearly has the other way."""
    names = list(found)
    means = {
        name: tuple(clustered_mean(by_start(found[name], value)) for value in (lambda p: p.won, lambda p: p.really))
        for name in names
    }
    tau = kendall_tau([means[name][0].estimate for name in names], [means[name][1].estimate for name in names])
    inverted = [
        (one, other)
        for at, one in enumerate(names)
        for other in names[:at]
        if _clearly(means[one][0], means[other][0]) * _clearly(means[one][1], means[other][1]) < 0
    ]
    return [
        row(f"{world}: Kendall τ over {len(names)} policies", tau,
            **({"bar": "≥ 0.8", "holds": tau >= TAU} if judged else {})),
        row(f"{world}: inversions outside intervals", len(inverted), ", ".join(f"{a}/{b}" for a, b in inverted),
            **({"bar": "0", "holds": not inverted} if judged else {})),
    ]  # fmt: skip


def _clearly(one: Interval, other: Interval) -> int:
    """1 where one is above the other, −1 below, 0 where the intervals overlap."""
    return (one.low > other.high) - (one.high < other.low)
