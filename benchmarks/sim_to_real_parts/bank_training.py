"""F10 in the bank: the agent of `learning.py --only bank` rehearsed in a world of the bank's traces, and in the bank.

Both begin with the same fine-tuned agent and are measured on the same held-out scenarios of the real bank. Steps in the
world cost no real calls: its arm makes as many as the other, is measured, and makes as many again. The real calls of
the world's arm are the calls of tools that its world was built of; those of the other are the calls of the attempts
that it learned from. What the agent was fine-tuned on is common to both and not counted. In the world an attempt from
which it abstains counts as the worst of its group. Intervals are over scenarios; each seed has captured sessions, a
world and trainings of its own.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

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

IN_WORLD, AGAIN = "bank-world", "bank-world-again"
SUITE = f"sim_to_real_parts.trained_desk:{trained_desk.SUITE}"
_CAPTURED = 220
_UNKNOWN_IS_WORST = ("--abstained", "worst")
_OTHER_STARTS = 1000
_ARMS = {
    REHEARSED: "in the real bank", IN_WORLD: "in the world alone", AGAIN: "in the world alone, twice the steps",
}  # fmt: skip


def rows(home: Path, threads: int, seeds: int, *, quick: bool) -> list[Row]:
    """Train what is not trained yet, measure, and tell. Each arm of a seed takes half an hour and more."""
    bank, all_seeds = BankHome(home, QUICK if quick else WHOLE, threads), range(1 if quick else seeds)
    bank.teach()
    for seed in all_seeds:
        bank.rehearse(seed)
        bank.stages.once(f"world {seed}", f"{_CAPTURED} scenarios, seed {seed}",
                         partial(trained_desk.keep, home, _CAPTURED, seed))  # fmt: skip
        bank.rehearse(seed, f"{SUITE}{seed}", IN_WORLD, _UNKNOWN_IS_WORST)
        bank.rehearse(seed + _OTHER_STARTS, f"{SUITE}{seed}", AGAIN, _UNKNOWN_IS_WORST, _made(bank, IN_WORLD, seed))
    # The first seed of the real bank is measured beside the agent that all begin with.
    first = bank.measure(0, 1.0, () if bank.has_learned(0) else [TAUGHT]).models
    before, known = first[0], {model.model: model for model in first}
    reports = {arm: list[ModelReport]() for arm in _ARMS}
    for arm, seed in product(_ARMS, all_seeds):
        name = _made(bank, arm, seed)
        reports[arm] += [known[name]] if name in known else bank.measure(seed, 1.0, [name]).models
    found = [row(f"{BANK}: real success before, {TAUGHT}", before.success.estimate, interval=_ends(before))]
    for seed in all_seeds:
        for arm, told in reports.items():
            what = f"{BANK}, seed {seed}, {_ARMS[arm]}"
            found.append(row(f"{what}: real success", told[seed].success.estimate, interval=_ends(told[seed])))
            found += _of_steps(home, what, arm, seed)
        found += _compared(
            f"{BANK}, seed {seed}", before, {arm: told[seed : seed + 1] for arm, told in reports.items()}
        )
    found += _compared(BANK, before, reports, judged=True)
    spent = sum(calls_of(_attempts(home, REHEARSED, seed)) for seed in all_seeds)
    captured = sum(trained_desk.captured_calls(home, seed) for seed in all_seeds)
    saved = spent / captured
    return [
        *found,
        row(f"{BANK}: real calls captured for the worlds", captured, "calls"),
        row(f"{BANK}: real calls of training in the real bank", spent, "calls"),
        row(f"{BANK}: real calls saved, to the end of the real arm", saved, "times fewer",
            bar=f"≥ {SAVING:.0f}", holds=saved >= SAVING),
    ]  # fmt: skip


def _compared(
    what: str, before: ModelReport, reports: Mapping[str, Sequence[ModelReport]], *, judged: bool = False
) -> list[Row]:
    """What each arm gained over the agent that both began with, by scenario and over seeds, and the world's share."""
    start = _rates(before)
    gains = {
        arm: [fmean(rates) - first for first, *rates in zip(start, *map(_rates, told), strict=True)]
        for arm, told in reports.items()
    }
    found = []
    for arm, gained in gains.items():
        sure = clustered_mean([[each] for each in gained])
        found.append(row(f"{what}, {_ARMS[arm]}: real gain", sure.estimate, f"{len(gained)} scenarios",
                         interval=(sure.low, sure.high)))  # fmt: skip
    real = gains[REHEARSED]
    for arm in (IN_WORLD, AGAIN):
        said, apart = f"{what}, {_ARMS[arm]}", paired_mean(gains[arm], real)
        found.append(row(f"{said}: above the real bank's", apart.estimate, interval=(apart.low, apart.high)))
        if sum(real) <= 0:
            found.append(row(f"{said}: share of the real gain", "none: training in the real bank gained nothing"))
            continue
        share = share_of(gains[arm], real)
        bar: dict[str, Any] = {"bar": f"≥ {SHARE}", "holds": share.estimate >= SHARE} if judged and arm == AGAIN else {}
        found.append(row(f"{said}: share of the real gain", share.estimate, interval=(share.low, share.high), **bar))
    return found


def _named(arm: str, seed: int) -> str:
    """What an arm's adapter of that seed is called; the second half of a training goes by seeds of its own."""
    return f"{arm}-{seed + _OTHER_STARTS if arm == AGAIN else seed}"


def _made(bank: BankHome, arm: str, seed: int) -> str:
    """The adapter that an arm came to."""
    return bank.made(_named(arm, seed), _made(bank, IN_WORLD, seed) if arm == AGAIN else TAUGHT)


def _of_steps(home: Path, what: str, arm: str, seed: int) -> list[Row]:
    """What attempts earned in each step, where the arm is trained; in the world, how true it was of them."""
    with closing(open_store(Settings(home=home))) as store:
        run = _run(store.find(Run), _named(arm, seed))
        points = [each for each in store.find(Point, limit=100_000) if each.run_id == run.id]
    found = [
        row(f"{what}: reward there in step {each.step}", each.values["reward"])
        for each in sorted(points, key=lambda each: each.step)
        if "reward" in each.values
    ]
    if arm != REHEARSED:
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
        run = _run(store.find(Run), _named(arm, seed))
        return [each for each in store.find(Trajectory, limit=1_000_000) if each.id.startswith(f"{run.id}-")]


def _run(runs: Sequence[Run], name: str) -> Run:
    (found,) = [run for run in runs if run.kind == "rl" and run.config["name"] == name]
    return found


def _rates(report: ModelReport) -> list[float]:
    return [case.rate for case in sorted(report.cases, key=lambda case: case.scenario_id)]


def _ends(report: ModelReport) -> tuple[float, float]:
    return report.success.low, report.success.high
