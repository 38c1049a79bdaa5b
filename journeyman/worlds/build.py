"""Builds a world from transitions: shapes, footprints, twins, recordings, neighbours; judged on calls held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from journeyman.errors import InvalidInput
from journeyman.records import Tool
from journeyman.worlds.bugs import mined
from journeyman.worlds.contracts import Contracts, contracts_of
from journeyman.worlds.drawing import Drawing
from journeyman.worlds.faults import Bug, ToolFaults, calibrated, is_transient
from journeyman.worlds.footprints import Footprint, footprints
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.replay import Replay
from journeyman.worlds.resolver import ANY_TOOL, LEAST, Learned, Resolver, Twin, guess_key, vote_key
from journeyman.worlds.rules import Rule
from journeyman.worlds.schemas import ToolShape, after_change, shapes
from journeyman.worlds.state import State
from journeyman.worlds.synthesis import synthesize
from journeyman.worlds.transitions import Transition, with_families
from journeyman.worlds.trials import Trial, by_tool, folds_of, is_right, judged_twin, shrunk

FOLDS = 3
_FEWEST_SESSIONS = 6


@dataclass
class Built:
    """What was found in the traces: everything that a world answers from.

    `trials` says of every twin that was tried whether it was let in, and why not. `neighbours` is how often the nearest
    calls of a tool were right on calls held out. `least` is the trust below which what is no twin is not asked.
    `proposer` is the model that the world was measured with, where there is one. `contracts` say what the tools'
    schemas forbid; a world whose traces do not tell the schemas has none.
    """

    shapes: Mapping[str, ToolShape]
    footprints: Mapping[str, Footprint]
    rules: Mapping[str, Rule]
    trials: Mapping[str, Trial]
    memory: Sequence[Transition]
    neighbours: Mapping[str, float]
    programs: Mapping[str, Twin] = field(default_factory=dict)
    faults: Mapping[str, ToolFaults] = field(default_factory=dict)
    bugs: tuple[Bug, ...] = ()
    outside: float | None = None
    least: float = LEAST
    proposer: Proposer | None = None
    cautious: bool = False
    contracts: Contracts = field(default_factory=Contracts)

    def resolver(self, learned: Learned | None = None) -> Resolver:
        """The layers, ready to answer; `learned` is the model's, where the world has one.

        InvalidInput without it: the world would answer otherwise than it was measured.
        """
        if self.proposer is not None and learned is None:
            raise InvalidInput(
                f"this world asks the model {self.proposer.model}, and was opened without it; open it with `learned_of`"
            )
        admitted = {tool for tool, trial in self.trials.items() if trial.admitted}
        twins: dict[str, Twin] = {tool: rule for tool, rule in self.rules.items() if tool in admitted}
        twins |= {tool: program for tool, program in self.programs.items() if tool in admitted}
        return Resolver(
            self.shapes,
            self.footprints,
            Replay(self.memory, self.footprints),
            Nearest(self.memory, records=not self.cautious),
            self.neighbours,
            twins,
            {tool: self.trials[tool].trust for tool in admitted} | of_guesses(self.trials),
            {tool: rule for tool, rule in self.rules.items() if tool not in admitted},
            None if self.outside is None else Drawing(self.memory),
            learned,
            self.least,
            self.contracts,
        )


def build(
    transitions: Sequence[Transition],
    *,
    seed: int = 0,
    programs: Mapping[str, Twin] | None = None,
    outside: float | None = None,
    least: float = LEAST,
    cautious: bool = False,
    tools: Sequence[Tool] = (),
) -> Built:
    """Find twins in all calls, admit those whose kind replays calls held out, and remember everything.

    `programs` are twins written by hand; they pass the same gate, and one that is admitted goes before a rule.
    `outside` is the rate of outside events, where the state was put together from answers (`sourced`); `least` the
    trust that a guess must have earned. A `cautious` world lets no tool's guesses answer for what others of their kind
    earned: one more call is counted as wrong, and what was never tried is not asked. Nor do its neighbours look
    for whole records of an answer in the state. `tools` are those that were on offer: what their schemas forbid is
    refused.
    InvalidInput when no transition has a state, or there are too few sessions to hold some out.
    """
    stated = [each for each in transitions if each.before is not None and each.after is not None]
    of_all_times = with_families([each for each in stated if not is_passing(each)])
    usable = after_change(of_all_times)
    sessions = len({each.session for each in usable})
    if sessions < _FEWEST_SESSIONS:
        raise InvalidInput(
            f"{len(usable)} usable calls in {sessions} sessions are too few to build a world: {_FEWEST_SESSIONS} "
            "sessions are needed, as some must be held out to judge it. Capture more"
        )
    folds = folds_of(usable, FOLDS, seed)
    tried: dict[str, list[tuple[Twin, list[Transition]]]] = {}
    told: list[tuple[str, float, bool]] = []
    for learned, judged in folds:
        held = by_tool(judged)
        for tool, rule in synthesize(by_tool(learned)).items():
            if tool in held:
                tried.setdefault(tool, []).append((rule, held[tool]))
        told += _told(Nearest(learned, records=not cautious), judged)
    whole = by_tool(usable)
    rules = synthesize(whole)
    trials = {tool: judged_twin(tried.get(tool, []), tool) for tool in rules}
    let_in: dict[str, Twin] = {}
    for tool, program in (programs or {}).items():
        found = judged_twin([(program, whole.get(tool, []))], tool)
        if found.admitted or tool not in trials or not trials[tool].admitted:
            trials[tool] = found
            let_in[tool] = program
            rules.pop(tool, None)
    if cautious:
        rules = {tool: rule for tool, rule in rules.items() if trials[tool].admitted or trials[tool].trust >= least}
    votes = own_votes(told) if cautious else trusts(told)
    return Built(
        shapes(of_all_times), _with_rules(footprints(usable), rules), rules, trials, usable, votes, let_in,
        calibrated(transitions), mined(transitions, rules), outside, least, None, cautious,
        contracts_of(tools, transitions),
    )  # fmt: skip


def is_passing(call: Transition) -> bool:
    """Whether a call failed by a fault that follows from nothing: no program can say when; the faults do."""
    return call.error is not None and is_transient(call.error)


def _with_rules(found: Mapping[str, Footprint], rules: Mapping[str, Rule]) -> dict[str, Footprint]:
    """Footprints that also read what the tool's rule looks at."""
    return {
        tool: replace(foot, reads=tuple(dict.fromkeys((*foot.reads, *rules[tool].reads())))) if tool in rules else foot
        for tool, foot in found.items()
    }


def of_guesses(trials: Mapping[str, Trial]) -> dict[str, float]:
    """How far each rule that was not admitted is trusted when it refuses and when it does not, by `guess_key`.

    Each share is drawn towards that of all such rules: a tool may refuse for a plain reason and else do what no rule
    can say.
    """
    unproven = [(tool, each) for tool, each in trials.items() if not each.admitted]
    found: dict[str, float] = {}
    for refuses in (True, False):
        counts = {tool: _answered(each, refuses) for tool, each in unproven}
        right, answered = (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0)
        everywhere = right / (answered + 1)
        found |= {guess_key(tool, refuses): shrunk(*each, everywhere) for tool, each in counts.items()}
    return found


def _answered(trial: Trial, refuses: bool) -> tuple[int, int]:
    """Of the answers that refuse, or of the others: how many were right, and how many there were."""
    if refuses:
        return trial.rightly_refused, trial.refused
    return trial.right - trial.rightly_refused, trial.answered - trial.refused


def own_votes(told: Sequence[tuple[str, float, bool]]) -> dict[str, float]:
    """How often each tool's votes were right, one more counted as wrong; nothing for those that were never tried."""
    counts: dict[str, list[int]] = {}
    for tool, confidence, right in told:
        found = counts.setdefault(vote_key(tool, confidence), [0, 0])
        found[0] += right
        found[1] += 1
    return {key: right / (count + 1) for key, (right, count) in counts.items()}


def trusts(told: Sequence[tuple[str, float, bool]]) -> dict[str, float]:
    """How often the neighbours of each tool were right on held-out calls, apart for votes that agree and that do not.

    Each is drawn towards the share of all tools' votes of its kind, which also stands for tools that were never tried.
    """
    counts: dict[str, list[int]] = {}
    kinds: dict[str, list[int]] = {}
    for tool, confidence, right in told:
        key = vote_key(tool, confidence)
        for found in (counts.setdefault(key, [0, 0]), kinds.setdefault(key.rpartition("/")[2], [0, 0])):
            found[0] += right
            found[1] += 1
    everywhere = {kind: right / (count + 1) for kind, (right, count) in kinds.items()}
    own = {key: shrunk(right, count, everywhere[key.rpartition("/")[2]]) for key, (right, count) in counts.items()}
    return own | {f"{ANY_TOOL}/{kind}": share for kind, share in everywhere.items()}


def _told(nearest: Nearest, judged: Sequence[Transition]) -> list[tuple[str, float, bool]]:
    """How sure the neighbours were of each held-out call, and whether they were right."""
    found = []
    for call in judged:
        said = nearest.answer(call.tool, call.arguments, State(call.before or {}))
        if said is not None:
            found.append((call.tool, said.confidence, is_right(said.observation, said.changes, said.error, call)))
    return found
