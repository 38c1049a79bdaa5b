"""Builds a world from transitions: shapes, footprints, twins, recordings, neighbours; judged on calls held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from journeyman.errors import InvalidInput
from journeyman.worlds.admission import Admission, admit, by_tool, folds_of, is_right
from journeyman.worlds.footprints import Footprint, footprints
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.replay import Replay
from journeyman.worlds.resolver import Learned, Resolver, Twin
from journeyman.worlds.rules import Rule
from journeyman.worlds.schemas import ToolShape, after_change, shapes
from journeyman.worlds.state import State
from journeyman.worlds.synthesis import synthesize
from journeyman.worlds.transitions import Transition, with_families

FOLDS = 3
_FEWEST_SESSIONS = 6
_WANTED = 0.9
_STEPS = 20
_FEWEST_JUDGED = 10


@dataclass
class Built:
    """What was found in the traces: everything that a world answers from.

    `admissions` says of every twin that was tried whether it was let in, and why not. `least` is the confidence from
    which on a neighbour's answer is right nine times in ten on held-out calls.
    """

    shapes: Mapping[str, ToolShape]
    footprints: Mapping[str, Footprint]
    rules: Mapping[str, Rule]
    admissions: Mapping[str, Admission]
    memory: Sequence[Transition]
    least: float
    programs: Mapping[str, Twin] = field(default_factory=dict)

    def resolver(self, learned: Learned | None = None) -> Resolver:
        """The layers, ready to answer."""
        admitted = {tool for tool, admission in self.admissions.items() if admission.admitted}
        twins: dict[str, Twin] = {tool: rule for tool, rule in self.rules.items() if tool in admitted}
        twins |= {tool: program for tool, program in self.programs.items() if tool in admitted}
        return Resolver(
            self.shapes,
            self.footprints,
            Replay(self.memory, self.footprints),
            Nearest(self.memory),
            twins,
            {tool: admission.trust for tool, admission in self.admissions.items()},
            {tool: rule for tool, rule in self.rules.items() if tool not in admitted},
            learned,
            self.least,
        )


def build(transitions: Sequence[Transition], *, seed: int = 0, programs: Mapping[str, Twin] | None = None) -> Built:
    """Find twins in all calls, admit those whose kind replays calls held out, and remember everything.

    `programs` are twins written by hand; they pass the same gate, and one that is admitted goes before a rule.
    InvalidInput when no transition has a state, or there are too few sessions to hold some out.
    """
    stated = [each for each in transitions if each.before is not None and each.after is not None]
    usable = after_change(with_families(stated))
    sessions = len({each.session for each in usable})
    if sessions < _FEWEST_SESSIONS:
        raise InvalidInput(
            f"{len(usable)} usable calls in {sessions} sessions are too few to build a world: {_FEWEST_SESSIONS} "
            "sessions are needed, as some must be held out to judge it. Capture more"
        )
    folds = folds_of(usable, FOLDS, seed)
    trials: dict[str, list[tuple[Twin, list[Transition]]]] = {}
    told: list[tuple[float, bool]] = []
    for learned, judged in folds:
        held = by_tool(judged)
        for tool, calls in by_tool(learned).items():
            rule = synthesize(tool, calls) if held.get(tool) else None
            if rule is not None:
                trials.setdefault(tool, []).append((rule, held[tool]))
        told += _told(Nearest(learned), judged)
    whole = by_tool(usable)
    rules = {tool: rule for tool, calls in whole.items() if (rule := synthesize(tool, calls)) is not None}
    admissions = {tool: admit(trials.get(tool, []), tool) for tool in rules}
    let_in: dict[str, Twin] = {}
    for tool, program in (programs or {}).items():
        found = admit([(program, whole.get(tool, []))], tool)
        if found.admitted or tool not in admissions or not admissions[tool].admitted:
            admissions[tool] = found
            let_in[tool] = program
            rules.pop(tool, None)
    return Built(shapes(usable), footprints(usable), rules, admissions, usable, threshold(told), let_in)


def threshold(told: Sequence[tuple[float, bool]]) -> float:
    """The least confidence from which on proposals are right nine times in ten; above 1 when they never are."""
    for step in range(_STEPS + 1):
        least = step / _STEPS
        above = [right for confidence, right in told if confidence >= least]
        if len(above) < _FEWEST_JUDGED:
            break
        if sum(above) >= _WANTED * len(above):
            return least
    return 1.01


def _told(nearest: Nearest, judged: Sequence[Transition]) -> list[tuple[float, bool]]:
    """How sure the neighbours were of each held-out call, and whether they were right."""
    found = []
    for call in judged:
        said = nearest.answer(call.tool, call.arguments, State(call.before or {}))
        if said is not None:
            found.append((said.confidence, is_right(said.observation, said.changes, said.error, call)))
    return found
