"""How the system fails, as its traces say: rates by tool and kind of error, bursts, latencies, and a library of bugs.

`faithful` fails as often as the real system did, in bursts where it did, `stress` a given number of times as often (and
its scores say so), `off` never. Only faults that follow from nothing are drawn here: errors that the state explains,
such as an unknown account, are the twins' business.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from journeyman.environments.determinism import Draws
from journeyman.errors import InvalidInput
from journeyman.worlds.transitions import Transition

Mode = Literal["faithful", "stress", "off"]
_SHRINKAGE = 20.0
"""How many calls of the tool's family its own rate is worth: few calls say little about rare faults."""
_FIRST_GUESS = 2.0
"""How many faults the first guess of what follows on one is worth: that a fault is no likelier after another."""
_TRANSIENT = ("timeout", "timed out", "try again", "rate limit", "too many requests", "unavailable", "429", "503")


@dataclass(frozen=True)
class ToolFaults:
    """One tool: each transient fault's rate a call, the chance that one follows at once on another, its latencies.

    The rates are of all calls, those in bursts among them. `examples` are answers of each kind as they were recorded;
    `latencies` are in seconds, sorted.
    """

    rates: Mapping[str, float]
    again: float
    examples: Mapping[str, Any]
    latencies: tuple[float, ...] = ()


@dataclass(frozen=True)
class Bug:
    """A defect found in the traces: what it is, how often it can show, and how often it did."""

    kind: str
    tool: str
    chances: int
    seen: int
    examples: tuple[str, ...]

    @property
    def frequency(self) -> float:
        """How often it shows where it can."""
        return self.seen / self.chances if self.chances else 0.0


@dataclass(frozen=True)
class Fault:
    """A fault that strikes a call: what the agent is told, and whether the call was carried out all the same."""

    kind: str
    observation: Any
    carried_out: bool


@dataclass(frozen=True)
class Faults:
    """Decides which calls fail. The same seed, session and step meet the same fault in every fork."""

    tools: Mapping[str, ToolFaults] = field(default_factory=dict)
    bugs: tuple[Bug, ...] = ()
    mode: Mode = "faithful"
    times: float = 1.0

    def __post_init__(self) -> None:
        if self.mode == "faithful" and self.times != 1:
            raise InvalidInput(f"faithful faults come as often as they did, not {self.times:g} times so; take stress")

    def strike(self, draws: Draws, tool: str, step: int, failed_before: bool | None) -> Fault | None:
        """The fault of this call; None when there is none.

        `failed_before`: whether the tool's last call met one; None for its first call in the episode.
        """
        faults = self.tools.get(tool)
        if faults is None or self.mode == "off":
            return None
        rate = min(1.0, sum(faults.rates.values()) * self.times)
        if draws.uniform("fault", tool, step) >= _chance(rate, faults.again, failed_before):
            return None
        kinds = sorted(faults.rates)
        kind = draws.rng("kind", tool, step).choices(kinds, [faults.rates[each] for each in kinds])[0]
        applied = next(
            (bug.frequency for bug in self.bugs if (bug.kind, bug.tool) == (WRITE_THOUGH_TIMEOUT, tool)), 0.0
        )
        return Fault(kind, faults.examples[kind], draws.uniform("applied", tool, step) < applied)

    def latency(self, draws: Draws, tool: str, step: int) -> float:
        """Seconds that the call takes on the world's clock: one of those recorded; 0 where none was."""
        faults = self.tools.get(tool)
        if faults is None or not faults.latencies:
            return 0.0
        return draws.choice(faults.latencies, "latency", tool, step)


WRITE_THOUGH_TIMEOUT = "write applied though a timeout came back"
STALE_READ = "stale read after write"
DUPLICATE = "duplicate on retry"
LOST_PAGE = "lost page"
WRONG_UNIT = "wrong unit"


def calibrated(transitions: Sequence[Transition]) -> dict[str, ToolFaults]:
    """Each tool's transient faults, shrunk towards the rate of all tools together (beta-binomial mean)."""
    calls, faults = Counter[str](), Counter[tuple[str, str]]()
    examples: dict[tuple[str, str], Any] = {}
    latencies: dict[str, list[float]] = {}
    for each in transitions:
        calls[each.tool] += 1
        if each.latency is not None:
            latencies.setdefault(each.tool, []).append(each.latency)
        if each.error is not None and is_transient(each.error):
            faults[each.tool, each.error] += 1
            examples.setdefault((each.tool, each.error), each.observation)
    everywhere = sum(faults.values()) / max(1, sum(calls.values()))
    bursts = _bursts(transitions)
    found = {}
    for tool, count in calls.items():
        own = {kind: seen for (name, kind), seen in faults.items() if name == tool}
        total = sum(own.values())
        shrunk = (total + _SHRINKAGE * everywhere) / (count + _SHRINKAGE) if total else 0.0
        found[tool] = ToolFaults(
            {kind: shrunk * seen / total for kind, seen in sorted(own.items())},
            _again(*bursts.get(tool, (0, 0)), shrunk),
            {kind: examples[tool, kind] for kind in sorted(own)},
            tuple(sorted(latencies.get(tool, ()))),
        )
    return found


def _chance(rate: float, again: float, failed_before: bool | None) -> float:
    """A call's chance to fail, such that of all calls `rate` do: where faults come in bursts, fewer begin.

    The two-state chain whose share of failures is `rate` and that fails again at `again` begins to fail at
    rate · (1 − again) / (1 − rate).
    """
    if failed_before is None or again <= rate or rate == 1:
        return rate
    return again if failed_before else rate * (1 - again) / (1 - rate)


def is_transient(kind: str) -> bool:
    """Whether an error follows from nothing in the state: a timeout, a limit, an outage."""
    return any(word in kind.lower() for word in _TRANSIENT)


def _again(followed: int, faults: int, rate: float) -> float:
    """The chance that a fault follows on another, drawn towards the plain rate where few were followed by anything."""
    return (followed + _FIRST_GUESS * rate) / (faults + _FIRST_GUESS)


def _bursts(transitions: Sequence[Transition]) -> dict[str, tuple[int, int]]:
    """By tool: how many of its transient faults were followed by another one at its next call in the session, and how
    many were followed by any call."""
    last: dict[tuple[str, str], bool] = {}
    follows, both = Counter[str](), Counter[str]()
    for each in transitions:
        failed = each.error is not None and is_transient(each.error)
        if last.get((each.session, each.tool)):
            follows[each.tool] += 1
            both[each.tool] += failed
        last[each.session, each.tool] = failed
    return {tool: (both[tool], count) for tool, count in follows.items()}
