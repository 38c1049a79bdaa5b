"""Pictures of what was measured: success in worlds against success in the real systems, and what training came to."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import Row

from sim_to_real_parts.training import SIZES

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
    sizes = [size for size in SIZES if any(what.startswith(f"training, {size} steps, ") for what in values)]
    count = 1 + len(sizes)
    drawing, found = pyplot.subplots(1, count, figsize=(5.0 * count, 4.6), layout="constrained", squeeze=False)
    places = list(found[0])
    _scatter(places[0], values)
    for size, axes in zip(sizes, places[1:], strict=True):
        _training(axes, values, size)
    for axes in places:
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


def _training(axes: Any, values: dict[str, Row], size: str) -> None:
    """Success in held-out real games by real calls: a line is a run in the game, a star one in the world alone."""
    pattern = re.compile(rf"training, {size} steps, (seed \d+): after \d+ steps in the (real game|world alone)")
    spent: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for what, each in values.items():
        if match := pattern.fullmatch(what):
            calls = int(each["unit"].split()[1])
            spent.setdefault((match[1], match[2]), []).append((calls, float(each["value"] or 0)))
    axes.set(title=f"training, {size} steps", xlabel="real calls, traces counted", ylabel="held-out success",
             ylim=(0, 1.05))  # fmt: skip
    axes.grid(alpha=0.3)
    named = set[str]()
    for (seed, place), points in spent.items():
        label = None if place in named else f"trained in the {place}"
        named.add(place)
        if place == "real game":
            before = float(values[f"training, {size} steps, {seed}: real held-out success before"]["value"] or 0)
            shown = [(0, before), *points]
            axes.plot([at for at, _ in shown], [value for _, value in shown], color="#d55e00", marker="o", markersize=4,
                      linewidth=1.4, label=label)  # fmt: skip
        else:
            axes.plot(*points[-1], color="#0072b2", marker="*", markersize=13, linestyle="none", label=label)
    if spent:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
