"""BFCL multi-turn: a world built from two policies on some tasks, measured on what it never saw."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from record import Row, row

from fidelity_parts import bfcl_traces
from journeyman.records.evaluation import Interval
from journeyman.worlds.baselines import Predictor, baselines
from journeyman.worlds.build import Built, build
from journeyman.worlds.card import LAWS, LEAD, SPLITS, Measure
from journeyman.worlds.fidelity import against_copying, by_source, judged, of_play, play, shares, uncertainty
from journeyman.worlds.laws import of_laws, try_laws
from journeyman.worlds.state import drawn
from journeyman.worlds.transitions import Transition, with_families

SEEN = ("gold", "noisy")
UNSEEN = ("random",)
_NOISY_SEEDS = 2
_HELD_OUT = 0.3
_QUICK_TASKS = 60
_LEAST_TWIN, _LEAST_LEARNED, _LEAST_LEAD, _MOST_VARIATION = 0.99, 0.60, 0.20, 0.05


@dataclass
class Measured:
    """Everything that came out, and the world that it was measured on."""

    measures: list[Measure]
    built: Built
    transitions: int
    changing: float
    errors: float


def measure(seed: int, *, quick: bool) -> Measured:
    """Build a world from some tasks and measure it on the others; tasks have no time, so there is no S4."""
    found = bfcl_traces.tasks()[: _QUICK_TASKS if quick else None]
    held = {task.number for task in found if drawn(seed, "task", task.number) % 1000 < 1000 * _HELD_OUT}
    calls = {
        (task.number, policy): with_families(
            [
                each
                for number in range(_NOISY_SEEDS if policy == "noisy" else 1)
                for each in bfcl_traces.played(task, policy, seed + number)
            ]
        )
        for task in found
        for policy in (*SEEN, *UNSEEN)
    }
    training = _of(calls, lambda number, policy: number not in held and policy in SEEN)
    world = build(training, seed=seed)
    predictors = _predictors(world, training)
    own = _of(calls, lambda number, policy: number in held and policy in SEEN)
    foreign = _of(calls, lambda number, policy: number in held and policy in UNSEEN)
    seen = _values(training)
    strange = [each for each in (*own, *foreign) if _is_strange(each, seen)]
    measures: list[Measure] = []
    for split, part in (("S1", own), ("S2", foreign), ("S3", strange)):
        measures += _measured(predictors, part, split, world)
    everything = [each for part in calls.values() for each in part]
    changing = sum(each.before != each.after for each in everything) / len(everything)
    failing = sum(each.error is not None for each in everything) / len(everything)
    return Measured(measures, world, len(everything), changing, failing)


def rows(measured: Measured) -> list[Row]:
    """One row for each bar of the issue, and the measures beside their baselines."""
    made = [
        row("BFCL: transitions executed", measured.transitions, "calls"),
        row("BFCL: tools whose twin was admitted", sum(a.admitted for a in measured.built.trials.values()),
            f"of {len(measured.built.shapes)}"),
        *_bars(measured.measures),
    ]  # fmt: skip
    for split in SPLITS:
        for name, words in (
            ("F1", "outcome class"), ("F2", "schema validity of answers"), ("F3", "answers equal"),
            ("F4", "state change equal"),
            ("F4 changing", "state change equal, calls that change it"), ("answered", "calls answered, not abstained"),
        ):  # fmt: skip
            for each in measured.measures:
                if (each.measure, each.split) == (name, split) and not each.slice.startswith("answered by"):
                    made.append(_row(f"{split} {name} {words}: {each.by}", each))
        for name in (
            LEAD,
            "F3 answered",
            "F5",
            "F6",
            "F11 error mix",
            "F12 AUROC",
            "F12 risk at 80%",
            "F12 risk",
            "F3 in play",
        ):
            for each in measured.measures:
                if (each.measure, each.split) == (name, split):
                    made.append(_row(f"{split} {name}: {each.by}", each))
    return made


def details(measured: Measured) -> dict[str, Any]:
    """What the table leaves out: every measure, and what became of every twin."""
    return {
        "share of calls that change the state": measured.changing,
        "share of calls that fail": measured.errors,
        "measures": [each.model_dump(mode="json") for each in measured.measures],
        
        "twins": {
            tool: {"admitted": a.admitted, "held out": a.held_out, "answered": a.answered, "right": a.right,
                   "reason": a.reason}
            for tool, a in sorted(measured.built.trials.items())
        },
    }  # fmt: skip


def _bars(measures: Sequence[Measure]) -> list[Row]:
    twin = _find(measures, "F4 changing", "S1", "world", "answered by twin")
    small = [_find(measures, "F4 1-2", "S1", "world", f"answered by {source}") for source in ("learned", "nearest")]
    made = [
        _row("bar: S1 state change equal on changing calls that a twin answers", twin, "≥ 0.99", _LEAST_TWIN),
        *(
            _row(f"bar: S1 state change of 1-2 cells, answered by {source}", each, "≥ 0.60", _LEAST_LEARNED)
            for source, each in zip(("unadmitted rules", "nearest calls"), small, strict=True)
        ),
    ]
    for split in SPLITS:
        for by in ("world", "world, never abstaining"):
            world, copied = _find(measures, "F3", split, by), _find(measures, "F3", split, "nearest neighbour")
            if world is None or copied is None or world.value is None or copied.value is None:
                continue
            lead = world.value.estimate - copied.value.estimate
            least = _LEAST_LEAD if split == "S2" else 0.0
            made.append(
                row(f"bar: {split} answers equal, {by} over nearest neighbour", lead,
                    bar="≥ 0.20 above" if split == "S2" else "above", holds=lead >= least and lead > 0)
            )  # fmt: skip
    for split in ("S1", "S2"):
        for name, words in (
            ("F2", "schema validity"),
            ("F6", "self-consistency (call repeated at once)"),
            *((law, f"law: {law[3:]}") for law in LAWS),
        ):
            found = _find(measures, name, split, "world")
            if name not in LAWS or (found is not None and found.calls):
                made.append(_row(f"bar: {split} {words}", found, "1.00", 1.0))
        mix = _find(measures, "F11 error mix", split, "world")
        value = None if mix is None or mix.value is None else mix.value.estimate
        holds = value is not None and value <= _MOST_VARIATION
        made.append(row(f"bar: {split} error mix by tool, total variation", value, bar="≤ 0.05", holds=holds))
    return made


def _measured(predictors: dict[str, Predictor], calls: Sequence[Transition], split: str, world: Built) -> list[Measure]:
    measures: list[Measure] = []
    told = {by: judged(each, calls, world.shapes) for by, each in predictors.items()}
    measures += against_copying(told, split)
    for by, predictor in predictors.items():
        found = told[by]
        measures += shares(found, split, by)
        if by == "world":
            measures += [*by_source(found, split), *uncertainty(found, split)]
            if split != "S3":
                measures += of_play(play(predictor, calls, world.footprints), split, by)
                measures += of_laws(try_laws(predictor, calls, world), split)
    return measures


def _predictors(world: Built, training: Sequence[Transition]) -> dict[str, Predictor]:
    resolver = world.resolver()
    return {"world": resolver, "world, never abstaining": replace(resolver, least=0.0), **baselines(training)}


def _of(calls: dict[tuple[int, str], list[Transition]], wanted: Any) -> list[Transition]:
    return [each for (number, policy), part in calls.items() if wanted(number, policy) for each in part]


def _values(calls: Sequence[Transition]) -> set[tuple[str, str, str]]:
    return {(each.tool, name, repr(value)) for each in calls for name, value in each.arguments.items()}


def _is_strange(call: Transition, seen: set[tuple[str, str, str]]) -> bool:
    return any((call.tool, name, repr(value)) not in seen for name, value in call.arguments.items())


def _find(measures: Sequence[Measure], name: str, split: str, by: str, slice: str | None = None) -> Measure | None:
    for each in measures:
        is_wanted = slice == each.slice if slice is not None else not each.slice.startswith("answered by")
        if is_wanted and (each.measure, each.split, each.by) == (name, split, by):
            return each
    return None


def _row(what: str, measure: Measure | None, bar: str | None = None, least: float = 0.0) -> Row:
    value: Interval | None = None if measure is None else measure.value
    calls = 0 if measure is None else measure.calls
    holds = None if bar is None else value is not None and value.estimate >= least
    interval = None if value is None or value.low == value.high else (value.low, value.high)
    return row(what, None if value is None else value.estimate, f"n={calls}", interval=interval, bar=bar, holds=holds)
