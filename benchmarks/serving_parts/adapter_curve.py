"""Throughput against the number of different adapters in a batch, as rows and as a plot."""

from pathlib import Path
from statistics import median
from typing import Any

from record import RESULTS

from serving_parts.plan import Plan
from serving_parts.rows import ServingRow, figure, of_case, rounds_of, speeds
from serving_parts.sides import run_side

BATCHES, COUNTS = (8, 32), (0, 1, 2, 4, 8, 16, 32)
PLOT = "serving-adapters.png"
_COLOURS = {8: "#0072b2", 32: "#d55e00"}
"""Told apart by everybody, and in print."""


def measure(plan: Plan) -> list[ServingRow]:
    """A row for each number of adapters that fits into a batch; the plot lies beside the results."""
    cases = [
        {"batch": batch, "adapters": adapters} for batch in BATCHES for adapters in COUNTS if adapters <= batch
    ]  # fmt: skip
    results = []
    for number in range(plan.rounds):
        results += run_side("ours", plan.job(cases=cases, adapters=plan.adapters(32), seed=f"curve/{number}"))
    rows = []
    for case in cases:
        found = of_case(results, **case)
        what = f"ours, {case['adapters']} different adapters, batch {case['batch']} (plot)"
        rows.append(figure(what, median(speeds(found)), "tok/s", note=rounds_of(speeds(found)), spent=found))
    target = (plan.scratch if plan.quick else RESULTS) / PLOT
    title = f"{plan.model.name}, {plan.dtype}: {plan.prompt_tokens}-token prompts, {plan.new_tokens} new tokens"
    note = _draw(target, title, results)
    return [*rows, figure("plot of throughput against adapters", PLOT if note is None else f"not drawn: {note}")]


def _draw(target: Path, title: str, results: list[dict[str, Any]]) -> str | None:
    """Write the plot; says why not where that is impossible."""
    try:
        import matplotlib
    except ImportError:
        return "matplotlib is not installed; it comes with the extra `dev`"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for batch in reversed(BATCHES):
        counts = sorted({each["adapters"] for each in of_case(results, batch=batch)})
        # Evenly spaced: what is asked of the eye is how little each doubling costs.
        places = [COUNTS.index(count) for count in counts]
        rounds = [speeds(of_case(results, batch=batch, adapters=count)) for count in counts]
        middle = [median(each) for each in rounds]
        axes.plot(places, middle, "o-", color=_COLOURS[batch], label=f"batch {batch}")
        axes.fill_between(places, [min(each) for each in rounds], [max(each) for each in rounds],
                          color=_COLOURS[batch], alpha=0.15, linewidth=0)  # fmt: skip
        for place, value in zip(places, middle, strict=True):
            axes.annotate(f"{value:.0f}", (place, value), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.set_xticks(range(len(COUNTS)), [str(count) for count in COUNTS])
    axes.set(xlabel="different adapters in the batch (rank 16, all linear layers)", ylabel="tokens per second",
             ylim=(0, 1.12 * max(speeds(results))), title=title)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    drawing.savefig(target, dpi=150)
    pyplot.close(drawing)
    return None
