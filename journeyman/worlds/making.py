"""Makes a world of captured conversations: builds it from most sessions and measures it on those it never saw."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from journeyman.capture.redact import Redactor
from journeyman.capture.redact_patterns import BUILT_IN
from journeyman.errors import InvalidInput
from journeyman.records import Message, Trajectory
from journeyman.worlds.baselines import baselines
from journeyman.worlds.build import Built, build
from journeyman.worlds.card import NOT_HERE, SPLITS, FidelityCard, Measure, problems_of
from journeyman.worlds.fidelity import against_copying, judged, of_play, play, shares, uncertainty
from journeyman.worlds.footprints import footprints
from journeyman.worlds.laws import Trial, of_laws, try_laws, violations
from journeyman.worlds.learned.earning import earned
from journeyman.worlds.learned.model import Answers, ModelLayer
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.programs import read_programs
from journeyman.worlds.resolver import LEAST, Learned
from journeyman.worlds.sourcing import sourced
from journeyman.worlds.state import drawn
from journeyman.worlds.traces import Traces, from_trajectories
from journeyman.worlds.transitions import Transition
from journeyman.worlds.world import Condition, Start, World, with_card

_HELD_OUT = 4
_LATEST = 6
_FEWEST_CALLS = 20
_STATE_MEASURES = ("F4", "F4 changing", "F4 1-2", "F4 3-6", "F4 7+")


@dataclass(frozen=True)
class Divided:
    """Sessions by what they are for: those to build from, and those of each split to measure on."""

    training: frozenset[str]
    splits: Mapping[str, frozenset[str]]
    unseen_policy: str | None


class Model(NamedTuple):
    """A model that is to be a world's learned layer, and where its answers are kept."""

    proposer: Proposer
    answers: Answers


def make_world(
    name: str,
    trajectories: Sequence[Trajectory],
    *,
    traces: Traces | None = None,
    redactor: Redactor | None = None,
    source: str = "",
    success: Sequence[Condition] = (),
    seed: int = 0,
    least: float = LEAST,
    model: Model | None = None,
) -> World:
    """A world with its card. `traces` are the trajectories' transitions, where they were already read.

    Otherwise secrets are taken out by `redactor`: every built-in rule, if None, under a key that is made up. Only one
    with a key of its own makes the same world of the same attempts, where there was anything to take out.
    What answers is built without the held-out sessions, so that the card is of exactly this world. Episodes may begin
    where they began, too, except those of the unseen policy: who asks otherwise leaves other things unsaid. `source` is
    the text of hand-written twins, which run, fenced in, to be judged: whoever gives it here has agreed to that.
    `success` is what must hold in the end of an episode. `least` is the trust that a guess must have earned; `model` is
    asked where nothing better is known, as far as it earns it.
    """
    if traces is None:
        redactor = redactor or Redactor(BUILT_IN)
        before = Counter(redactor.counts)
        # Before all else: the beginnings of episodes are made of them, too.
        trajectories = [redactor.trajectory(each) for each in trajectories]
        traces = from_trajectories(trajectories, redactor)
        traces.redacted = Counter(redactor.counts) - before
    divided = divide(traces.transitions, seed)
    training = [each for each in traces.transitions if each.session in divided.training]
    learned = sourced(training)
    outside = learned.rate if any(each.before is None for each in training) else None
    feet = footprints(learned.transitions)
    programs = read_programs(source, feet) if source else {}
    tools = tuple(traces.tools.values())
    begins = [each for each in trajectories if each.session not in divided.splits["S2"]]
    built = build(learned.transitions, seed=seed, programs=programs, outside=outside, least=least, tools=tools)
    if model is not None:
        built = earned(built, model.proposer, model.answers, seed)
    notes = {
        "sessions": len({each.session for each in traces.transitions}),
        "calls": len(traces.transitions),
        "left out": dict(traces.left_out),
        "in doubt": dict(traces.in_doubt),
        "named": traces.named,
        "redacted": dict(traces.redacted),
        "changes with several possible causes": learned.unclear,
        "outside events": [f"{call}: {'/'.join(map(str, path))}" for call, path in learned.outside[:20]],
    }
    world = World(
        name, built, _starts(begins, sourced(traces.transitions).transitions), tools, source, notes=notes,
        success=tuple(success),
    )  # fmt: skip
    layer = None if model is None else ModelLayer(built.proposer or model.proposer, built.memory, model.answers)
    return with_card(world, measured(world, traces.transitions, divided, seed, layer))


def divide(transitions: Sequence[Transition], seed: int) -> Divided:
    """A quarter of the sessions at random (S1), one policy of several (S2), and the latest (S4) are held out."""
    sessions: dict[str, Transition] = {}
    for each in transitions:
        sessions.setdefault(each.session, each)
    policies = Counter(each.policy for each in transitions)
    rare = [policy for policy, calls in reversed(policies.most_common()) if calls >= _FEWEST_CALLS]
    unseen = rare[0] if len(rare) > 1 else None
    second = frozenset(name for name, call in sessions.items() if unseen is not None and call.policy == unseen)
    rest = [name for name in sessions if name not in second]
    dated = sorted((call.at, name) for name, call in sessions.items() if call.at is not None and name in rest)
    latest = frozenset(name for _, name in dated[len(dated) - len(dated) // _LATEST :])
    first = frozenset(name for name in rest if name not in latest and drawn(seed, "S1", name) % _HELD_OUT == 0)
    training = frozenset(rest) - first - latest
    if not training or not first:
        raise InvalidInput(
            f"{len(sessions)} sessions are too few to build a world and to measure it; nothing was built. Capture "
            "more, or widen --where"
        )
    return Divided(training, {"S1": first, "S2": second, "S4": latest}, unseen)


def measured(
    world: World, transitions: Sequence[Transition], divided: Divided, seed: int, learned: Learned | None = None
) -> FidelityCard:
    """The world's card: every split that the traces allow, beside the baselines."""
    training = [each for each in transitions if each.session in divided.training]
    judging = sourced(transitions, blind=True).transitions
    answers_only = any(each.before is None for each in transitions)
    blind = [each for each in judging if each.session in divided.training]
    predictors = {"world": world.built.resolver(learned), **baselines(blind)}
    seen = _values(training)
    parts = {name: [each for each in judging if each.session in chosen] for name, chosen in divided.splits.items()}
    parts["S3"] = [each for part in parts.values() for each in part if _is_strange(each, seen)]
    measures: list[Measure] = []
    trials: list[Trial] = []
    missing = dict(NOT_HERE)
    for split in SPLITS:
        if len({each.session for each in parts[split]}) < 2:
            missing[split] = f"{SPLITS[split]}: the traces hold none"
            continue
        told = {by: judged(each, parts[split], world.built.shapes) for by, each in predictors.items()}
        measures += against_copying(told, split)
        for by, predictor in predictors.items():
            found = told[by]
            measures += [
                each for each in shares(found, split, by) if not answers_only or each.measure not in _STATE_MEASURES
            ]
            if by == "world":
                measures += uncertainty(found, split)
                if split != "S3":
                    played = play(predictor, parts[split], world.built.footprints, seed)
                    measures += of_play(played, split, by, world.built.faults)
                    tried = try_laws(predictor, parts[split], world.built, seed)
                    measures += of_laws(tried, split)
                    trials += tried
    if answers_only:
        missing["F4"] = "the traces show answers, not the state; a system that can be asked for it (staging) is needed"
    return FidelityCard(
        world=world.content, seed=seed, measures=tuple(measures), not_measured=missing,
        problems=problems_of(measures), violations=violations(trials),
    )  # fmt: skip


def _starts(trajectories: Sequence[Trajectory], transitions: Sequence[Transition]) -> tuple[Start, ...]:
    """Each beginning's opening words, the state it began in where that is known, and what its user said later.

    Attempts at one scenario began in one state: what any of them was told of it is known to all.
    """
    by_session: dict[str, list[Transition]] = {}
    for each in transitions:
        by_session.setdefault(each.session, []).append(each)
    found: dict[str, Start] = {}
    for trajectory in trajectories:
        calls = by_session.get(trajectory.session)
        if calls is None:
            continue
        document: Any = min(calls, key=lambda each: each.order).before
        if document is None:
            continue
        begun = trajectory.scenario_id or trajectory.session
        if begun in found:
            found[begun] = replace(found[begun], document=_joined(found[begun].document, document))
            continue
        first = next((n for n, said in enumerate(trajectory.messages) if said.role == "assistant"), 0)
        later: tuple[Message, ...] = tuple(said for said in trajectory.messages[first:] if said.role == "user")
        found[begun] = Start(trajectory.session, trajectory.messages[:first], document, later)
    return tuple(found.values())


def _joined(one: Any, other: Any) -> Any:
    """Both documents' cells; the first one's where both have one."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one
    return {**other, **{key: _joined(value, other[key]) if key in other else value for key, value in one.items()}}


def _values(calls: Sequence[Transition]) -> set[tuple[str, str, str]]:
    return {(each.tool, name, repr(value)) for each in calls for name, value in each.arguments.items()}


def _is_strange(call: Transition, seen: set[tuple[str, str, str]]) -> bool:
    return any((call.tool, name, repr(value)) not in seen for name, value in call.arguments.items())


def admitted(built: Built) -> list[str]:
    """The tools that have a twin."""
    return sorted(tool for tool, found in built.trials.items() if found.admitted)
