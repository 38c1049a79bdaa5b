"""Recorded calls as conversations to fine-tune a model on: the question about each call, and what really came of it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from journeyman.records import Row
from journeyman.records.message import assistant
from journeyman.worlds.build import FOLDS, Built
from journeyman.worlds.learned.prompt import MOST_CELLS, NEIGHBOURS, answer_to, question_of
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.state import State, drawn, leaf_changes
from journeyman.worlds.transitions import Transition
from journeyman.worlds.trials import folds_of

MODEL_FOLD = 0
"""Which of the folds no model is taught from: what it is trusted by."""
_MOST_ALIKE = 40


def divided(built: Built, seed: int) -> tuple[list[Transition], list[Transition]]:
    """The calls that a model may be taught from, and those of other families that it is judged on."""
    return folds_of(built.memory, FOLDS, seed)[MODEL_FOLD]


def rows_of(built: Built, seed: int = 0, most: int | None = None) -> list[Row]:
    """A conversation for each recorded call that changes at most two cells, in an order that the seed draws.

    Calls of one tool and outcome beyond 40 are left out, so that rare errors count; `most` keeps the first so many of
    each split. Neighbours in a question are of other families than the call, as they will be when it is asked for
    real. Calls that trust is measured on are the `validation` split: no weight is fitted to them.
    """
    learned, judged = divided(built, seed)
    nearest = Nearest(learned)
    training = [_row(call, built, nearest, "train") for call in _balanced(learned, seed, most)]
    return training + [_row(call, built, nearest, "validation") for call in _balanced(judged, seed, most)]


def is_for_models(call: Transition) -> bool:
    """Whether a call changes few enough cells for a model to be asked about such ones."""
    return len(leaf_changes(call.before, call.after)) <= MOST_CELLS


def _balanced(calls: Sequence[Transition], seed: int, most: int | None) -> list[Transition]:
    ordered = sorted(calls, key=lambda call: drawn(seed, "row", call.name, call.tool))
    return list(_few_of_each(call for call in ordered if is_for_models(call)))[:most]


def _few_of_each(calls: Iterator[Transition]) -> Iterator[Transition]:
    seen: Counter[tuple[str, str | None, bool]] = Counter()
    for call in calls:
        key = (call.tool, call.error, call.before != call.after)
        seen[key] += 1
        if seen[key] <= _MOST_ALIKE:
            yield call


def _row(call: Transition, built: Built, nearest: Nearest, split: str) -> Row:
    state = State(call.before or {})
    similar = [each for _, each in nearest.similar(call.tool, call.arguments, state, call.family)][:NEIGHBOURS]
    shape, footprint = built.shapes[call.tool], built.footprints[call.tool]
    asked = question_of(call.tool, call.arguments, state, shape, footprint, similar)
    return Row(
        messages=(*asked, assistant(answer_to(call))),
        split=split,
        conversation=f"{call.family}/{call.name}",
        source=call.name,
    )
