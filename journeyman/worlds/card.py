"""The fidelity card of a world: what was measured, on which calls, beside what, and whether it may be trained in."""

from collections.abc import Sequence

from pydantic import Field

from journeyman.errors import Refused
from journeyman.records import Frozen
from journeyman.records.evaluation import Interval

SPLITS = {
    "S1": "unseen sessions, same policy",
    "S2": "unseen policy",
    "S3": "unseen tool or range of arguments",
    "S4": "later time",
}
NEEDED = ("S1", "S2")
LEAD = "F3 over copying"
"""How much more often the world is right than copying the nearest call, compared call by call."""
LAWS = ("F6 write then read", "F6 delete then missing", "F6 reading changes nothing")
"""What must hold of every call that tries it, beside F6 itself: that a call repeated at once is answered alike."""
NOT_HERE = {
    "F7": "needs agents that play the world and the real system: benchmarks of a suite measure it",
    "F8": "needs an agent: worlds/behaviour.py compares what it does next",
    "F9": "needs six policies that play both",
    "F10": "needs a run trained in the world",
    "F13": "needs a run trained in the world",
}


class Measure(Frozen):
    """One measured share or number: of which split, by whom (`world`, or the name of a baseline), over how many calls.

    `value` has a 95% interval from resampling whole sessions; None where the split has no such call. `slice` narrows
    it, such as to calls that change one or two cells.
    """

    measure: str
    split: str
    by: str
    calls: int
    value: Interval | None
    slice: str = ""


class FidelityCard(Frozen):
    """Everything that was measured of one world, and what was not, with the reason.

    `world` is the hash of the content that was measured: a world changed since then has no card. `problems` say why it
    must not be trained in; empty when it may. `violations` name calls that broke a law of F6: each is a bug.
    """

    world: str
    seed: int
    measures: tuple[Measure, ...]
    not_measured: dict[str, str] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()

    def value(self, measure: str, split: str, by: str = "world", slice: str = "") -> Interval | None:
        """The measured value; None when there is none."""
        for each in self.measures:
            if (each.measure, each.split, each.by, each.slice) == (measure, split, by, slice):
                return each.value
        return None


def problems_of(measures: Sequence[Measure]) -> tuple[str, ...]:
    """What keeps a world from being trained in, in words; empty when nothing does."""
    card = FidelityCard(world="", seed=0, measures=tuple(measures))
    found = []
    for split in NEEDED:
        world, copied = card.value("F3", split), card.value("F3", split, "nearest neighbour")
        if world is None or copied is None:
            found.append(f"{split} ({SPLITS[split]}) was not measured: build from traces of more than one policy")
            continue
        lead = card.value(LEAD, split)
        least = world.low - copied.estimate if lead is None else lead.low
        if least <= 0:
            found.append(
                f"on {split} answers match in {world.estimate:.1%} [{world.low:.1%}, {world.high:.1%}] of calls, which "
                f"is not above copying the nearest call ({copied.estimate:.1%}), call by call by {least:+.1%} at the "
                "lower end of the interval: capture more sessions"
            )
        valid = card.value("F2", split)
        if valid is not None and valid.estimate < 1:
            found.append(f"on {split} {1 - valid.estimate:.2%} of answers do not fit the tool's schema")
    consistent = card.value("F6", "S1")
    if consistent is None or consistent.estimate < 1:
        told = "was not measured" if consistent is None else f"is {consistent.estimate:.2%}, not 100%"
        found.append(f"self-consistency {told}: a call repeated at once must be answered alike")
    for each in measures:
        if each.measure in LAWS and each.by == "world" and each.value is not None and each.value.estimate < 1:
            broken = round((1 - each.value.estimate) * each.calls)
            found.append(f"on {each.split} the law {each.measure.removeprefix('F6 ')!r} was broken by {broken} calls")
    return tuple(found)


def allow_training(card: FidelityCard | None, content: str, name: str) -> None:
    """Refused unless the world has a card of exactly this content and nothing on it speaks against training."""
    if card is None:
        raise Refused(
            f"world {name} has no fidelity card, so nobody knows how true it is; nothing was started. Measure it: "
            f"journeyman world build {name} measures what it builds"
        )
    if card.world != content:
        raise Refused(
            f"world {name} was changed after its fidelity card was made; nothing was started. Build it again: "
            f"journeyman world build {name}"
        )
    if card.problems:
        raise Refused(f"world {name} may not be trained in; nothing was started. " + "; ".join(card.problems))
