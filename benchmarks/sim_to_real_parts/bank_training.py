"""F10 in the bank: the agent of `learning.py --only bank` rehearsed in a world of the bank's traces, and in the bank.

Both begin with the same fine-tuned agent, make the same steps, and are measured on the same held-out scenarios of the
real bank. The real calls of the world's arm are the calls of tools that its world was built of; those of the other are
the calls of the attempts that it learned from. What the agent was fine-tuned on is common to both and not counted.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from learning_parts.bank_agent import QUICK, REHEARSED, TAUGHT, WHOLE, BankHome
from learning_parts.gains import share_of
from record import Row, row

from journeyman.config import Settings
from journeyman.records import ModelReport, Point, Run, Trajectory
from journeyman.statistics.intervals import clustered_mean, paired_mean, proportion
from journeyman.store.sql import open_store
from sim_to_real_parts import trained_desk
from sim_to_real_parts.bank import REAL, calls_of
from sim_to_real_parts.consistency import play, repeating
from sim_to_real_parts.options import BANK
from sim_to_real_parts.transfer import SAVING, SHARE

IN_WORLD, SUITE = "bank-world", "sim_to_real_parts.trained_desk:suite"
_CAPTURED = 220
_ARMS = {REHEARSED: "in the real bank", IN_WORLD: "in the world alone"}


def rows(home: Path, threads: int, *, quick: bool) -> list[Row]:
    """Train what is not trained yet, measure, and tell. One seed: each arm takes the better part of an hour."""
    bank, seed = BankHome(home, QUICK if quick else WHOLE, threads), 0
    bank.teach()
    bank.rehearse(seed)
    bank.stages.once("world", f"{_CAPTURED} scenarios, seed {seed}", lambda: trained_desk.keep(home, _CAPTURED, seed))
    bank.rehearse(seed, SUITE, IN_WORLD, ("--abstained", "worst"))
    before, real = bank.measure(seed, 1.0).models
    (world,) = bank.measure(seed, 1.0, [f"{IN_WORLD}-{seed}"]).models
    captured = trained_desk.captured_calls(home)
    found = [row(f"{BANK}: real success before, {TAUGHT}", before.success.estimate, interval=_ends(before))]
    for arm, report in ((REHEARSED, real), (IN_WORLD, world)):
        found.append(row(f"{BANK} {_ARMS[arm]}: real success", report.success.estimate, interval=_ends(report)))
        found += _of_steps(home, arm, seed)
    spent = calls_of(_attempts(home, REHEARSED, seed))
    saved = spent / captured
    return [
        *found,
        *_compared(_rates(before), _rates(real), _rates(world)),
        row(f"{BANK}: real calls captured for the world", captured, "calls"),
        row(f"{BANK}: real calls of training in the real bank", spent, "calls"),
        row(f"{BANK}: real calls saved, to the end of the real arm", saved, "times fewer",
            bar=f"≥ {SAVING:.0f}", holds=saved >= SAVING),
    ]  # fmt: skip


def _compared(before: Sequence[float], real: Sequence[float], world: Sequence[float]) -> list[Row]:
    """What each arm gained over the agent that both began with, by scenario, and the world's share of it."""
    gains = {arm: [after - start for start, after in zip(before, rates, strict=True)]
             for arm, rates in ((REHEARSED, real), (IN_WORLD, world))}  # fmt: skip
    found = []
    for arm, gained in gains.items():
        sure = clustered_mean([[each] for each in gained])
        found.append(row(f"{BANK} {_ARMS[arm]}: real gain", sure.estimate, f"{len(gained)} scenarios",
                         interval=(sure.low, sure.high)))  # fmt: skip
    apart = paired_mean(gains[IN_WORLD], gains[REHEARSED])
    found.append(row(f"{BANK}: the world's arm above the real one", apart.estimate, interval=(apart.low, apart.high)))
    if sum(gains[REHEARSED]) <= 0:
        return [*found, row(f"{BANK}: share of the real gain", "none: training in the real bank gained nothing")]
    share = share_of(gains[IN_WORLD], gains[REHEARSED])
    return [*found, row(f"{BANK}: share of the real gain", share.estimate, interval=(share.low, share.high),
                        bar=f"≥ {SHARE}", holds=share.estimate >= SHARE)]  # fmt: skip


def _of_steps(home: Path, arm: str, seed: int) -> list[Row]:
    """What attempts earned in each step, where the arm is trained, and how often the world did not know."""
    with closing(open_store(Settings(home=home))) as store:
        run = _run(store.find(Run), arm, seed)
        points = [each for each in store.find(Point, limit=100_000) if each.run_id == run.id]
    what = f"{BANK} {_ARMS[arm]}"
    found = [
        row(f"{what}: reward there in step {each.step}", each.values["reward"])
        for each in sorted(points, key=lambda each: each.step)
        if "reward" in each.values
    ]
    if arm == IN_WORLD:
        attempts = _attempts(home, arm, seed)
        lost = sum(each.score("abstained") == 1 for each in attempts) / len(attempts)
        found.append(row(f"{what}: attempts that the world abstained from", lost, f"of {len(attempts)}"))
        alike = [_ends_alike(each) for each in attempts if each.error is None and each.score("abstained") == 0]
        sure = proportion(sum(alike), len(alike))
        found.append(row(f"{what}: other attempts that end in the bank as they did there", sure.estimate,
                         f"of {len(alike)}", interval=(sure.low, sure.high)))  # fmt: skip
    return found


def _ends_alike(attempt: Trajectory) -> bool:
    """Whether the agent's replies win in the bank if they won in the world, and fail there if they failed."""
    assert attempt.scenario is not None
    scenario = attempt.scenario.model_copy(update={"environment": REAL.name})
    replies = [said for said in attempt.messages if said.role == "assistant"]
    again = play(REAL.environment(scenario), scenario, repeating(replies), len(replies))
    return again.score("success") == attempt.score("success")


def _attempts(home: Path, arm: str, seed: int) -> list[Trajectory]:
    """Those that an arm learned from."""
    with closing(open_store(Settings(home=home))) as store:
        run = _run(store.find(Run), arm, seed)
        return [each for each in store.find(Trajectory, limit=1_000_000) if each.id.startswith(f"{run.id}-")]


def _run(runs: Sequence[Run], arm: str, seed: int) -> Run:
    (found,) = [run for run in runs if run.kind == "rl" and run.config["name"] == f"{arm}-{seed}"]
    return found


def _rates(report: ModelReport) -> list[float]:
    return [case.rate for case in sorted(report.cases, key=lambda case: case.scenario_id)]


def _ends(report: ModelReport) -> tuple[float, float]:
    return report.success.low, report.success.high
