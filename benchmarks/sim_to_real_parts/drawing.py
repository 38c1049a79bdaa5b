"""Pictures of what was measured: success in worlds against success in the real systems, and what training came to."""

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from record import Row

PLOT = "sim-to-real.png"
_WORLD, _REAL = ": success in the world", ": success in the real system"
_SIDES = (
    ("coin, world: ", "coin, 2 rooms", "#0072b2", "o", True),
    ("coin of 5 rooms, world: ", "coin, 5 rooms", "#d55e00", "s", True),
    ("bank, world: ", "bank", "#009e73", "^", True),
    ("coin, naive baseline: ", "naive, 2 rooms", "#0072b2", "o", False),
    ("coin of 5 rooms, naive baseline: ", "naive, 5 rooms", "#d55e00", "s", False),
)
"""Prefix of the rows, name, colour, mark, and whether it is filled."""


def draw(rows: Sequence[Row], folder: Path) -> str | None:
    """Write the plot into the folder; says why not where that is impossible."""
    try:
        import matplotlib
    except ImportError:
        return "matplotlib is not installed; it comes with the extra `dev`"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = {each["what"]: each for each in rows}
    drawing, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 4.8), layout="constrained", width_ratios=(1, 1))
    _scatter(left, values)
    _training(right, values)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(folder / PLOT, dpi=150)
    pyplot.close(drawing)
    return None


def _scatter(axes: Any, values: dict[str, Row]) -> None:
    """A point for each policy: on the diagonal, the world says what the real system says."""
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, zorder=0)
    for prefix, name, colour, mark, filled in _SIDES:
        points = [
            (what[len(prefix) :].removesuffix(_REAL), each["value"], values[what.removesuffix(_REAL) + _WORLD]["value"])
            for what, each in values.items()
            if what.startswith(prefix) and what.endswith(_REAL)
        ]
        if points:
            axes.scatter(
                [real for _, real, _ in points], [there for _, _, there in points], s=42, marker=mark, label=name,
                edgecolors=colour, facecolors=colour if filled else "none", linewidths=1.4,
            )  # fmt: skip
    axes.set(xlabel="success in the real system", ylabel="success in the world", xlim=(-0.03, 1.05),
             ylim=(-0.03, 1.05), title="a point is a scripted policy", aspect="equal")  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


_CURVES = (
    (": after {} steps in the real game", "trained in the real game", "#d55e00", "-"),
    (": after {} steps in the world alone", "trained in the world alone", "#0072b2", "-"),
    (": held-out success in the world after {} steps", "the same, measured in the world", "#0072b2", ":"),
)
"""How the rows of a curve end, what it shows, colour and line."""


def _training(axes: Any, values: dict[str, Row]) -> None:
    """Held-out success by step: of each seed thin, the mean of the seeds thick."""
    seeds = sorted({what.split(":")[0] for what in values if what.startswith("training, seed") and ":" in what})
    axes.set(title=f"training, {len(seeds)} seeds", xlabel="steps", ylabel="held-out success", ylim=(0, 1.05))
    axes.grid(alpha=0.3)
    if not seeds:
        axes.text(0.5, 0.5, "no run is finished", ha="center", va="center", transform=axes.transAxes)
        return
    for ending, name, colour, line in _CURVES:
        curves = [_curve(values, seed, ending) for seed in seeds]
        for curve in curves:
            axes.plot(list(curve), list(curve.values()), color=colour, linestyle=line, linewidth=0.8, alpha=0.6)
        shared = [step for step in curves[0] if all(step in curve for curve in curves)]
        means = [fmean(curve[step] for curve in curves) for step in shared]
        axes.plot(shared, means, color=colour, linestyle=line, linewidth=2.2, marker="o", label=name)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _curve(values: dict[str, Row], seed: str, ending: str) -> dict[int, float]:
    before = f"{seed}: real held-out success before"
    first = {} if "in the world after" in ending else {0: float(values[before]["value"] or 0)}
    pattern = re.compile(re.escape(seed + ending).replace(r"\{\}", r"(\d+)"))
    found = {int(match[1]): float(each["value"] or 0) for what, each in values.items()
             if (match := pattern.fullmatch(what))}  # fmt: skip
    return dict(sorted((first | found).items()))
