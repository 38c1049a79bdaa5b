"""What came of a run of reinforcement learning, as a page and as data: enough to judge it, and to do it again."""

from collections.abc import Sequence
from typing import Any

from journeyman.records import Frozen, Point
from journeyman.records.reinforcement import RLConfig

_COLUMNS = {
    "reward": "reward",
    "silent groups": "silent",
    "entropy": "entropy",
    "anchor reward": "anchor",
    "gap": "gap",
    "sampler gap": "sampler gap",
    "clipped": "clipped",
    "tokens of an attempt": "tokens",
}
_GUARDS = {
    "audited": "wins replayed in the real system",
    "held": "of these held there",
    "replays that broke": "replays that broke, and count for nothing",
    "quarantined": "attempts quarantined, because their win did not hold",
    "unknown": "attempts from which the world abstained, counted as the worst of their group",
    "forged delimiters": "turns or results of tools that the agent had forged, taken out of its text",
}
_CANARY = "canary "
_SECONDS = "seconds: "
_DROPPED = "dropped: "


class RLReport(Frozen):
    """One finished run; `curve` has a row of values for each step and each measurement, in order."""

    run_id: str
    adapter: str
    base_version: str
    config: RLConfig
    equation: str
    machine: dict[str, Any]
    curve: tuple[dict[str, float], ...]

    @classmethod
    def of(cls, points: Sequence[Point], **facts: Any) -> "RLReport":
        """The report of a run with these points."""
        ordered = sorted(points, key=lambda point: (point.step, point.id))
        return cls(curve=tuple({"step": float(point.step), **point.values} for point in ordered), **facts)

    def to_markdown(self) -> str:
        """Held-out measurements, steps, where the time went, what was not learned from, and provenance."""
        steps = [each for each in self.curve if "reward" in each]
        parts = [
            f"# {self.adapter}",
            f"{self.config.base} attempted {self.config.suite}: {len(steps)} steps of {self.config.scenarios} "
            f"scenarios, {self.config.attempts} attempts at each.",
            "## Held out",
            _table(
                ["step", "reward", "95% interval", "greedy"],
                [
                    [
                        f"{each['step']:.0f}", f"{each['held-out reward']:.3f}",
                        f"{each['held-out low']:.3f} to {each['held-out high']:.3f}", f"{each['held-out greedy']:.3f}",
                    ]
                    for each in self.curve if "held-out reward" in each
                ],
            ),
            "## Steps",
            _table(
                ["step", *_COLUMNS.values()],
                [
                    [f"{each['step']:.0f}", *(f"{each[name]:.3g}" if name in each else "" for name in _COLUMNS)]
                    for each in steps
                ],
            ),
            "## Guards against exploitation",
            _guards(self.curve),
            "## Where the time went",
            _sums(steps, _SECONDS, "s"),
            "## Not learned from",
            _sums(steps, _DROPPED, "attempts") or "Nothing: every attempt was.",
            "## What an update computes",
            "\n".join(f"    {line}" for line in self.equation.splitlines()),
            "## Provenance",
            f"Run {self.run_id} on base {self.base_version}. Machine: {self.machine}. Config: "
            f"`{self.config.model_dump_json()}`",
        ]  # fmt: skip
        return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---:"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _guards(curve: Sequence[dict[str, float]]) -> str:
    """What the guards counted, over all steps; a guard that was not there is not listed."""
    lines = [
        f"- {words}: {sum(each.get(name, 0.0) for each in curve):,.0f}"
        for name, words in _GUARDS.items() if any(name in each for each in curve)
    ]  # fmt: skip
    players = dict.fromkeys(
        name.removeprefix(_CANARY).partition(":")[0] for each in curve for name in each if name.startswith(_CANARY)
    )
    for player in players:
        won, played = (sum(each.get(f"{_CANARY}{player}: {what}", 0.0) for each in curve) for what in ("won", "played"))
        lines.append(f"- canary {player}: won {won:.0f} of {played:.0f}")
    return "\n".join(lines) or "None was asked for, and nothing was forged."


def _sums(steps: Sequence[dict[str, float]], prefix: str, unit: str) -> str:
    totals: dict[str, float] = {}
    for each in steps:
        for name, value in each.items():
            if name.startswith(prefix):
                totals[name.removeprefix(prefix)] = totals.get(name.removeprefix(prefix), 0.0) + value
    return "\n".join(f"- {name}: {value:,.0f} {unit}" for name, value in totals.items())
