"""How like real users simulated ones are, on conversations that the style was not fitted to.

Each distance stands beside its floor: the same distance between two halves of the real conversations, which no
simulation can be expected to beat. One that was never compared is uncalibrated, and says so.
"""

import math
import random
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from journeyman.errors import InvalidInput
from journeyman.records import Frozen
from journeyman.worlds.users.card import Talk
from journeyman.worlds.users.mining import Dialogue, UserTurn, turns_of

UNCALIBRATED = "simulated, and never compared with real users: uncalibrated"
FEWEST = 30
"""Real conversations without which nothing is said to be calibrated."""
MOST_KS, MOST_AUC, ENTROPY = 0.15, 0.70, (0.9, 1.1)


class Distances(Frozen):
    """Between two sets of conversations. `length_ks` and `facts_ks` are Kolmogorov-Smirnov distances of words and facts
    per turn, `acts_tv` the total variation of acts, the ratios second over first, `auc` how well a classifier of
    words tells whose turn it is (0.5: not at all)."""

    length_ks: float
    facts_ks: float
    acts_tv: float
    entropy_ratio: float
    distinct_ratio: float
    auc: float


class UserLikeness(Frozen):
    """Simulated users beside real ones, and the floor: two halves of the real ones beside each other."""

    real: int
    simulated: int
    fitted_to: int
    distances: Distances
    floor: Distances

    @property
    def faults(self) -> list[str]:
        """What keeps these users from being calibrated; none when they are."""
        found, floor = self.distances, self.floor
        told = [] if self.real >= FEWEST else [f"{self.real} real conversations, and {FEWEST} are needed"]
        for name, value, bound in (
            ("words per turn (KS)", found.length_ks, max(MOST_KS, floor.length_ks)),
            ("facts per turn (KS)", found.facts_ks, max(MOST_KS, floor.facts_ks)),
            ("acts (total variation)", found.acts_tv, max(MOST_KS, floor.acts_tv)),
            ("told apart by words (AUC)", found.auc, max(MOST_AUC, floor.auc)),
        ):
            if value > bound:
                told.append(f"{name} {value:.2f}, and {bound:.2f} at most")
        if not ENTROPY[0] <= found.entropy_ratio <= ENTROPY[1]:
            told.append(f"entropy of acts {found.entropy_ratio:.2f} times the real one")
        return told

    @property
    def statement(self) -> str:
        """What a report says of these users."""
        measured = (
            f"fitted to {self.fitted_to} real conversations and compared with {self.real} others: told apart by their "
            f"words with AUC {self.distances.auc:.2f} (real from real: {self.floor.auc:.2f}), words per turn KS "
            f"{self.distances.length_ks:.2f}, acts TV {self.distances.acts_tv:.2f}"
        )
        return f"calibrated: {measured}" if not self.faults else f"uncalibrated ({'; '.join(self.faults)}): {measured}"


def compare_users(
    real: Sequence[Dialogue], simulated: Sequence[Dialogue], talk: Talk, *, fitted_to: int, seed: int = 0
) -> UserLikeness:
    """Compare on real conversations that nothing was fitted to. InvalidInput with fewer than four on either side."""
    if min(len(real), len(simulated)) < 4:
        raise InvalidInput(f"a comparison takes four conversations of each, not {len(real)} and {len(simulated)}")
    theirs, ours = ([turns_of(each, talk) for each in side] for side in (real, simulated))
    mixed = random.Random(seed).sample(theirs, len(theirs))
    halves = mixed[::2], mixed[1::2]
    return UserLikeness(
        real=len(real), simulated=len(simulated), fitted_to=fitted_to, distances=_distances(theirs, ours, seed),
        floor=_distances(*halves, seed),
    )  # fmt: skip


def _distances(first: Sequence[Sequence[UserTurn]], second: Sequence[Sequence[UserTurn]], seed: int) -> Distances:
    one, other = ([turn for turns in side for turn in turns] for side in (first, second))
    acts: list[Counter[str]] = [Counter(turn.act for turn in side) for side in (one, other)]
    return Distances(
        length_ks=kolmogorov_smirnov([len(each.text.split()) for each in one], [len(e.text.split()) for e in other]),
        facts_ks=kolmogorov_smirnov([len(each.facts) for each in one], [len(each.facts) for each in other]),
        acts_tv=sum(abs(acts[0][act] / len(one) - acts[1][act] / len(other)) for act in acts[0] | acts[1]) / 2,
        entropy_ratio=_ratio(_entropy(acts[1]), _entropy(acts[0])),
        distinct_ratio=_ratio(_distinct(other), _distinct(one)),
        auc=_told_apart(first, second, seed),
    )


def kolmogorov_smirnov(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest difference between two empirical distribution functions."""
    one, other = sorted(first), sorted(second)
    return max(abs(bisect_right(one, at) / len(one) - bisect_right(other, at) / len(other)) for at in {*first, *second})


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a positive's score is above a negative's, ties half (Mann and Whitney)."""
    ordered = sorted(negative)
    below = sum(bisect_right(ordered, each) for each in positive)
    ties = sum(bisect_right(ordered, each) - _left(ordered, each) for each in positive)
    return (below - ties / 2) / (len(positive) * len(negative))


def _left(ordered: Sequence[float], value: float) -> int:
    return bisect_right(ordered, math.nextafter(value, -math.inf))


def _told_apart(first: Sequence[Sequence[UserTurn]], second: Sequence[Sequence[UserTurn]], seed: int) -> float:
    """AUC of a naive Bayes classifier of words and word pairs, trained on half the conversations, tried on the others.

    Names and numbers are masked: they are the world's, not the user's way to talk.
    """
    sides = [random.Random(seed).sample(list(side), len(side)) for side in (first, second)]
    scores: tuple[list[float], list[float]] = ([], [])
    for fold in (0, 1):
        learned = [
            Counter(word for turns in side[fold::2] for turn in turns for word in _words(turn)) for side in sides
        ]
        vocabulary = len(learned[0] | learned[1]) + 1
        sizes = [sum(counts.values()) for counts in learned]
        for side, found in zip(sides, scores, strict=True):
            for turn in (turn for turns in side[1 - fold :: 2] for turn in turns):
                found.append(sum(
                    math.log((learned[1][word] + 0.5) / (sizes[1] + vocabulary / 2))
                    - math.log((learned[0][word] + 0.5) / (sizes[0] + vocabulary / 2))
                    for word in _words(turn)
                ))  # fmt: skip
    return area_under_curve(scores[1], scores[0])


def _words(turn: UserTurn) -> list[str]:
    masked = re.sub(r"(?<=[a-z,:] )[A-Z]\w+|(?<=^)[A-Z]\w+ [A-Z]\w+", "N", re.sub(r"\d+", "0", turn.text))
    single = [f"{turn.act}/{word}" for word in re.findall(r"\w+|[^\w\s]", masked.lower())]
    return single + [f"{one} {other}" for one, other in pairwise(single)]


def _entropy(counts: Counter[str]) -> float:
    total = sum(counts.values())
    return -sum(each / total * math.log(each / total) for each in counts.values())


def _distinct(turns: Sequence[UserTurn]) -> float:
    """The share of different pairs of words, among as many."""
    pairs = [pair for turn in turns for pair in pairwise(turn.text.split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _ratio(above: float, below: float) -> float:
    return 1.0 if above == below else above / below if below else math.inf
