"""F6: laws that any system keeps between its calls, tried on states that it really was in.

- *write then read*: after a change, whoever shows the changed cell shows the new value.
- *delete then missing*: after a deletion, nobody shows what is gone.
- *reading changes nothing*: a tool that only reads leaves the state as it was.

The tests are made from what tools were seen to read and write (`views`), so any world has them; a violation is a bug
of the world, and named.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.worlds.baselines import Predictor
from journeyman.worlds.build import Built
from journeyman.worlds.card import LAWS, Measure
from journeyman.worlds.expressions import same
from journeyman.worlds.fidelity import share_of
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.sourcing import ROOT, is_told_by
from journeyman.worlds.state import MISSING, State, leaf_changes, table_of
from journeyman.worlds.transitions import Transition
from journeyman.worlds.views import View, bound, part_of, reads_only, views

WRITE_READ, DELETE_MISSING, READ_ONLY = LAWS
_MOST_NAMED = 10
_MOST_TESTS = 6
"""Tests of one call: wide changes would be tried a hundred times over."""


@dataclass(frozen=True)
class Trial:
    """One law, tried once: by which call, and the violation in words; None when the law held."""

    law: str
    session: str
    violation: str | None


def try_laws(predictor: Predictor, calls: Sequence[Transition], built: Built, seed: int = 0) -> list[Trial]:
    """Every call answered in the true state before it, its changes committed, and the cells looked at again.

    An answer from nobody tests nothing: abstentions and drawn answers are no trials.
    """
    shown = views(built.footprints, built.rules, built.memory)
    found: list[Trial] = []
    for call in calls:
        state = State(call.before or {}, seed)
        answer = predictor.answer(call.tool, call.arguments, state)
        if answer.source in ("abstain", "drawn"):
            continue
        name = call.family or call.session
        if reads_only(call.tool, built.footprints.get(call.tool, Footprint())):
            outside = [each for each in answer.changes if not is_told_by(call.tool, table_of(each.path))]
            wrong = f"{call.name} {call.tool} only reads, and changed {outside[0].path}" if outside else None
            found.append(Trial(READ_ONLY, name, wrong))
        elif answer.changes:
            after = state.fork()
            after.commit(answer.changes, "written", call.name)
            found += list(_looked_at_again(predictor, call, state, after, built, shown))[:_MOST_TESTS]
    return found


def of_laws(trials: Sequence[Trial], split: str) -> list[Measure]:
    """The share of trials in which each law held, with intervals from resampling sessions."""
    return [
        share_of(law, split, "world", [(each.session, each.violation is None) for each in trials if each.law == law])
        for law in LAWS
    ]


def violations(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Some that were found, in words."""
    return tuple(dict.fromkeys(each.violation for each in trials if each.violation is not None))[:_MOST_NAMED]


def _looked_at_again(
    predictor: Predictor,
    call: Transition,
    before: State,
    after: State,
    built: Built,
    shown: Mapping[str, Sequence[View]],
) -> Iterator[Trial]:
    changed = leaf_changes(before.document, after.document)
    asked: set[str] = set()
    for path, value in changed.items():
        for view in shown.get(str(path[0]), ()):
            document = before.document if value is MISSING else after.document
            arguments = bound(view, path, document, built.shapes[view.tool], call.arguments)
            key = str((view.tool, view.part, arguments))
            if arguments is None or key in asked:
                continue
            asked.add(key)
            law = DELETE_MISSING if value is MISSING else WRITE_READ
            trial = _tried(law, predictor, call, view, arguments, before, after)
            if trial is not None:
                yield trial


def _tried(
    law: str,
    predictor: Predictor,
    call: Transition,
    view: View,
    arguments: Mapping[str, Any],
    before: State,
    after: State,
) -> Trial | None:
    was, now = view.shown(arguments, before.document), view.shown(arguments, after.document)
    # A cell that was put together from answers is unknown when it goes, not gone.
    if now is MISSING and (was is MISSING or view.path[0] == ROOT):
        return None
    answer = predictor.answer(view.tool, arguments, after.fork())
    if answer.source in ("abstain", "drawn"):
        return None
    told = MISSING if answer.error is not None else part_of(answer.observation, view.part)
    what = f"{call.name}: after {call.tool}, {view.tool}({dict(arguments)}) by {answer.source}"
    wrong = None
    if now is MISSING:
        if told is not MISSING and same(told, was):
            wrong = f"{what} still tells {told!r:.60}, which is gone"
    elif answer.error is not None:
        # Why it refuses may lie in what no view sees (nobody is signed in): that is no word about the cell.
        return None
    elif told is MISSING or not same(told, now):
        wrong = f"{what} tells {told!r:.60}, where the state holds {now!r:.60}"
    return Trial(law, call.family or call.session, wrong)
