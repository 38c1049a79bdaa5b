"""What training in the world came to in the real game, step by step, and how many real calls it saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from learning_parts.gains import share_of
from record import Row, row

from journeyman.statistics.intervals import clustered_mean, paired_mean
from journeyman.statistics.ranking import kendall_tau
from sim_to_real_parts.measuring import Played, in_the_real_game
from sim_to_real_parts.training import SIZES, SUITES, Arm, home_of, read, steps_of

SHARE, SAVING, GAP = 0.8, 5.0, 0.1
_PLACES = {"real": "in the real game", "world": "in the world alone"}


@dataclass(frozen=True)
class Seed:
    """Both arms of one seed, and what the policies of each did in the real game, by step. `whole` is a run's steps."""

    whole: int
    arms: dict[str, Arm]
    played: dict[str, dict[int, Played]]

    @property
    def steps(self) -> int:
        """The last step after which both arms were measured."""
        return max(step for step in self.played["real"] if step in self.played["world"])

    @property
    def captured(self) -> int:
        """Real calls of the world's arm."""
        return self.arms["world"].calls[0]

    def gains(self, arm: str) -> list[float]:
        """Success in the end less success before, by game."""
        before, after = self.played["real"][0], self.played[arm][self.steps]
        return [end - start for start, end in zip(before.by_game, after.by_game, strict=True)]

    def reached(self, goal: float) -> int | None:
        """The first measured step after which the real arm is as good; None where it never is."""
        return next((step for step, each in self.played["real"].items() if each.mean >= goal), None)

    def spent(self, goal: float) -> int:
        """Real calls of the real arm until it is as good, or to its end where it never is."""
        step = self.reached(goal)
        return self.arms["real"].calls[max(self.played["real"]) if step is None else step]

    @property
    def as_good(self) -> float:
        """The world's arm in the end."""
        return self.played["world"][self.steps].mean

    @property
    def most_of_it(self) -> float:
        """What the real arm is at with so much of its own gain as is asked of the world's arm."""
        before, after = self.played["real"][0].mean, self.played["real"][self.steps].mean
        return before + SHARE * (after - before)


def rows(homes: Path, seeds: int, threads: int) -> list[Row]:
    """Of each size of steps, every seed of which both arms were measured after one, and what they come to together."""
    found: list[Row] = []
    for size in SIZES:
        what = f"training, {size} steps"
        done: list[Seed] = []
        for seed in range(seeds):
            one = f"{what}, seed {seed}"
            homes_of = {arm: home_of(homes, size, arm, seed) for arm in SUITES}
            arms = {arm: each for arm, home in homes_of.items() if (each := read(home, arm)) is not None}
            for arm, each in arms.items():
                if each.steps < steps_of(size):
                    found.append(row(f"{one}: the {arm}'s arm", f"cut short after step {each.steps}"))
            played = in_the_real_game(homes, size, seed, threads) if arms else {}
            if all(len(played.get(arm, ())) > 1 for arm in SUITES):
                done.append(Seed(steps_of(size), arms, played))
                found += _of_seed(one, done[-1])
        found += _summary(what, done) if done else []
    return found


def _of_seed(what: str, one: Seed) -> list[Row]:
    before = clustered_mean([[each] for each in one.played["real"][0].by_game])
    found = [row(f"{what}: real held-out success before", before.estimate, interval=(before.low, before.high))]
    for arm, place in _PLACES.items():
        for step, each in one.played[arm].items():
            if step:
                sure, calls = clustered_mean([[value] for value in each.by_game]), one.arms[arm].calls[step]
                found.append(row(f"{what}: after {step} steps {place}", sure.estimate, f"with {calls} real calls",
                                 interval=(sure.low, sure.high)))  # fmt: skip
        found.append(row(f"{what}: {place}, greedy replies in the end", one.played[arm][one.steps].greedy))
    world, real = one.arms["world"], one.arms["real"]
    for step, value in world.within.items():
        found.append(row(f"{what}: held-out success in the world after {step} steps", value))
        if step in one.played["world"]:
            gap = value - one.played["world"][step].mean
            bar = {"bar": f"≤ {GAP}", "holds": gap <= GAP} if step == one.whole else {}
            found.append(row(f"{what}: F13 world minus real, after {step} steps", gap, **bar))
    found += [
        row(f"{what}: attempts that the world abstained from", world.abstained),
        row(f"{what}: steps without a difference, in the world", world.silent),
        row(f"{what}: steps without a difference, in the real game", real.silent),
        row(f"{what}: real calls captured for the world", one.captured, f"calls in {world.traces} attempts"),
        row(f"{what}: real calls of training in the real game", real.calls[real.steps], f"calls in {real.steps} steps"),
    ]  # fmt: skip
    for goal, name in ((one.as_good, "as good as the world's arm"), (one.most_of_it, f"at {SHARE:.0%} of its gain")):
        step = one.reached(goal)
        until = "to its end: it never is" if step is None else f"until step {step}"
        found.append(row(f"{what}: of these, until it is {name}", one.spent(goal), f"calls {until}"))
    gains = {arm: sum(one.gains(arm)) / len(one.gains(arm)) for arm in _PLACES}
    if gains["real"] > 0:
        found.append(row(f"{what}: share of the real gain", gains["world"] / gains["real"]))
    return found


def _summary(what: str, done: Sequence[Seed]) -> list[Row]:
    captured = sum(each.captured for each in done)
    saved = {
        "until the real arm is as good": sum(each.spent(each.as_good) for each in done) / captured,
        f"until the real arm has {SHARE:.0%} of its gain": sum(each.spent(each.most_of_it) for each in done) / captured,
        "to the end of the real arm": sum(each.arms["real"].calls[each.steps] for each in done) / captured,
    }
    found = []
    for place, (until, saving) in enumerate(saved.items()):
        bar = {} if place else {"bar": f"≥ {SAVING:.0f}", "holds": saving >= SAVING}
        found.append(row(f"{what}: real calls saved, {until}", saving, "times fewer", **bar))
    world, real = ([gain for each in done for gain in each.gains(arm)] for arm in ("world", "real"))
    over = f"{len(world)} games of {len(done)} seeds"
    for name, gained in (("in the world alone", world), ("in the real game", real)):
        sure = clustered_mean([[each] for each in gained])
        found.append(row(f"{what}: real gain {name}, {over}", sure.estimate, interval=(sure.low, sure.high)))
    apart = paired_mean(world, real)
    found.append(row(f"{what}: the world's arm above the real one in the end, {over}", apart.estimate,
                     interval=(apart.low, apart.high)))  # fmt: skip
    points = [
        (value, each.played["world"][step].mean)
        for each in done
        for step, value in each.arms["world"].within.items()
        if step in each.played["world"]
    ]
    if len(points) > 1:
        tau = kendall_tau([there for there, _ in points], [here for _, here in points])
        found.append(row(f"{what}: Kendall τ of {len(points)} checkpoints, world against real", tau))
    if sum(real) <= 0:
        return [*found, row(f"{what}: share of the real gain", "none: training in the real game gained nothing")]
    share = share_of(world, real)
    return [*found, row(f"{what}: share of the real gain, {over}", share.estimate, interval=(share.low, share.high),
                        bar=f"≥ {SHARE}", holds=share.estimate >= SHARE)]  # fmt: skip
