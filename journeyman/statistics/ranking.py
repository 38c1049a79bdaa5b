"""Orders models by who beat whom, and compares orders."""

import math
import random
from collections.abc import Mapping, Sequence

from journeyman.errors import InvalidInput
from journeyman.records import Interval
from journeyman.statistics.intervals import quantile

Match = tuple[str, str, float]
"""Two names, and the first one's share of the win: 1 won, 0 lost, ½ a tie."""


def bradley_terry(matches: Sequence[Match], draws: int = 200, seed: int = 0) -> dict[str, Interval]:
    """Each name's strength, a natural logarithm of odds with mean 0, with a 95% interval from resampled matches.

    P(a beats b) = 1 / (1 + exp(strength b − strength a)); ties count half. The minorise–maximise iteration of
    D. R. Hunter (2004), Annals of Statistics 32:384–406. InvalidInput when somebody won or lost everything, or when
    the names fall into groups that never met: then no strengths fit best.
    """
    names = sorted({name for a, b, _ in matches for name in (a, b)})
    if len(names) < 2 or any(not 0 <= share <= 1 for *_, share in matches):
        raise InvalidInput("a ranking needs matches between at least two names, each with a share of the win in [0, 1]")
    _check_connected(names, matches)
    strengths = _fit(names, matches)
    generator, samples = random.Random(seed), {name: list[float]() for name in names}
    pairs = sorted({(a, b) if a < b else (b, a) for a, b, _ in matches})
    for _ in range(draws):
        # A tenth of a tie for each pair keeps a resample solvable in which somebody happens to win everything.
        for name, strength in _fit(names, generator.choices(matches, k=len(matches)), pairs).items():
            samples[name].append(strength)
    return {
        name: Interval(
            estimate=strengths[name],
            low=quantile(samples[name], 0.025),
            high=quantile(samples[name], 0.975),
        )
        for name in names
    }


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """How alike two orders of the same things are, from −1 to 1; ties are taken into account (τ-b).

    M. G. Kendall (1945), Biometrika 33:239–251.
    """
    if len(first) != len(second) or len(first) < 2:
        raise InvalidInput(f"needs two orders of the same two or more things, not {len(first)} and {len(second)}")
    agree = tied_first = tied_second = pairs = 0
    for i in range(len(first)):
        for j in range(i):
            one, other = _sign(first[i] - first[j]), _sign(second[i] - second[j])
            agree += one * other
            tied_first += one == 0
            tied_second += other == 0
            pairs += 1
    scale = math.sqrt((pairs - tied_first) * (pairs - tied_second))
    return agree / scale if scale else 0.0


def _fit(names: Sequence[str], matches: Sequence[Match], tied: Sequence[tuple[str, str]] = ()) -> dict[str, float]:
    wins = dict.fromkeys(names, 0.0)
    met: dict[tuple[str, str], float] = dict.fromkeys(tied, 0.1)
    for pair in tied:
        for name in pair:
            wins[name] += 0.05
    for a, b, share in matches:
        wins[a] += share
        wins[b] += 1 - share
        pair = (a, b) if a < b else (b, a)
        met[pair] = met.get(pair, 0.0) + 1
    worth = dict.fromkeys(names, 1.0)
    for _ in range(1000):
        load = dict.fromkeys(names, 0.0)
        for (a, b), count in met.items():
            each = count / (worth[a] + worth[b])
            load[a] += each
            load[b] += each
        fresh = {name: wins[name] / load[name] for name in names}
        scale = math.exp(math.fsum(math.log(value) for value in fresh.values()) / len(names))
        fresh = {name: value / scale for name, value in fresh.items()}
        moved = max(abs(math.log(fresh[name] / worth[name])) for name in names)
        worth = fresh
        if moved < 1e-7:
            break
    return {name: math.log(value) for name, value in worth.items()}


def _check_connected(names: Sequence[str], matches: Sequence[Match]) -> None:
    """Everyone must be reachable from everyone by wins (L. R. Ford 1957): else strengths run away to infinity."""
    beats: dict[str, set[str]] = {name: set() for name in names}
    beaten: dict[str, set[str]] = {name: set() for name in names}
    for a, b, share in matches:
        if share > 0:
            beats[a].add(b)
            beaten[b].add(a)
        if share < 1:
            beats[b].add(a)
            beaten[a].add(b)
    for graph in (beats, beaten):
        if len(_reached(names[0], graph)) < len(names):
            raise InvalidInput(
                "the matches rank nobody: someone won or lost all of theirs, or some never met the others. "
                "Add matches between them"
            )


def _reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        for other in graph[waiting.pop()] - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
