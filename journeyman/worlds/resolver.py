"""Who answers a call: a twin, else a recording, else the nearest calls, else nobody. No guess passes for a fact.

Before them all stands the tool's own schema: what it forbids is refused. The tools that the real system answers
(`real`) are asked by the environment, and come here only where that is not allowed.

Whatever a layer proposes is checked against the tool's schema, its footprint and the state before it is committed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from journeyman.errors import InvalidInput, ProgramFailed
from journeyman.worlds.contracts import Contracts
from journeyman.worlds.drawing import Drawing
from journeyman.worlds.expressions import Unknown
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.replay import Recorded, Replay
from journeyman.worlds.schemas import ToolShape, fits, is_strange, is_valid
from journeyman.worlds.sourcing import ROOT, is_told_by
from journeyman.worlds.state import Change, Path, State, applied, table_of

_ONE_RECORDING = 0.5
LEAST = 0.5
"""What is no twin must have been right so often on held-out calls to be asked at all: likelier right than wrong.

Where a wrong answer costs c times what a right one is worth, and none costs nothing, the best threshold on a calibrated
trust is c / (1 + c); this is c = 1.
"""
_AGREED = 0.6
ANY_TOOL = "*"
"""In place of a tool's name: what votes earned for all tools together."""
Layer = Literal["real", "schema", "twin", "replay", "learned", "nearest", "drawn", "abstain"]


class Twin(Protocol):
    """A small program that is a tool: a rule, or Python in a sandbox."""

    @property
    def tool(self) -> str:
        """The tool's name."""
        ...

    def run(self, arguments: Mapping[str, Any], document: Any) -> tuple[Any, tuple[Change, ...], str | None]:
        """Answer, changes and kind of error; Unknown where the twin does not know."""
        ...


class Learned(Protocol):
    """A model that proposes an answer from the nearest calls, the slice of state and the schema; it never commits."""

    def propose(
        self, tool: str, arguments: Mapping[str, Any], state: State, shape: ToolShape, footprint: Footprint
    ) -> Recorded | None:
        """A proposal; None when it has none."""
        ...

    def trust(self, tool: str) -> float:
        """How often its proposals for this tool were right on calls that it never saw; 0 where none was tried."""
        ...


@dataclass(frozen=True)
class Answer:
    """What the world says to a call, and why.

    `confidence` is in [0, 1]; `evidence` names the calls or the twin behind it; `reads` and `writes` are the tables
    that it depended on and changed. Of an abstention, `reason` says what was missing: the episode ends without a
    reward.
    """

    observation: Any
    source: Layer
    confidence: float
    changes: tuple[Change, ...] = ()
    error: str | None = None
    evidence: tuple[str, ...] = ()
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    reason: str = ""


@dataclass
class Resolver:
    """The layers of a world, in order. `least` is the confidence below which an unadmitted rule or a neighbour is not
    asked; `neighbours` is how often neighbours were right.

    `trust` is each twin's share of held-out calls that it replayed, by tool, and that of guesses, by `guess_key`;
    `guesses` are rules that were not admitted and may answer, below the recordings, with the little trust that they
    earned. `drawing` imagines cells that no trace told, where the state was put together from answers. `contracts` say
    what the tools' schemas forbid. `refused` counts what a check stopped.
    """

    shapes: Mapping[str, ToolShape]
    footprints: Mapping[str, Footprint]
    replay: Replay
    nearest: Nearest
    neighbours: Mapping[str, float] = field(default_factory=dict)
    twins: Mapping[str, Twin] = field(default_factory=dict)
    trust: Mapping[str, float] = field(default_factory=dict)
    guesses: Mapping[str, Twin] = field(default_factory=dict)
    drawing: Drawing | None = None
    learned: Learned | None = None
    least: float = LEAST
    contracts: Contracts = field(default_factory=Contracts)
    refused: dict[str, int] = field(default_factory=dict)

    def answer(self, tool: str, arguments: Mapping[str, Any], state: State) -> Answer:
        """The answer of the first layer that knows one; it is not committed yet."""
        forbidden = self.contracts.refusal(tool, arguments)
        if forbidden is not None:
            found = self.replay.answer(tool, arguments, state) or forbidden
            return Answer(found.observation, "schema", found.confidence, error=found.error, evidence=found.evidence)
        shape = self.shapes.get(tool)
        if shape is None:
            return _abstain(f"no call to {tool} was ever seen")
        if not fits(shape.arguments, dict(arguments)):
            return _abstain(f"{tool} was never seen with arguments of this shape")
        if is_strange(shape, arguments):
            return _abstain(f"{tool} was never seen with names of this kind, nor to refuse any")
        footprint = self.footprints.get(tool, Footprint())
        for layer, found in self._proposals(tool, arguments, state, shape, footprint):
            problem = self.problem(shape, footprint, state, found)
            if problem:
                self.refused[f"{layer}: {problem}"] = self.refused.get(f"{layer}: {problem}", 0) + 1
                continue
            writes = tuple(dict.fromkeys(table_of(change.path) for change in found.changes))
            return Answer(
                found.observation, layer, found.confidence, found.changes, found.error, found.evidence,
                footprint.reads, writes,
            )  # fmt: skip
        return _abstain(f"nothing seen of {tool} is near enough to this call")

    def problem(self, shape: ToolShape, footprint: Footprint, state: State, found: Recorded) -> str | None:
        """Why a proposal must not be committed; None when it may."""
        if not is_valid(shape, found.observation, found.error):
            return "the answer does not fit the tool's schema"
        touched = {table_of(change.path) for change in found.changes} - {*footprint.writes}
        # What a tool told are tables of its own, which only telling fills; all that was told is one while it is empty.
        is_empty = ROOT not in state.document
        if not all(is_told_by(shape.tool, table) and (len(table) > 1 or is_empty) for table in touched):
            return "it writes outside the tool's footprint"
        try:
            applied(state.document, found.changes)
        except InvalidInput:
            return "its changes do not fit the state"
        return None

    def _proposals(
        self, tool: str, arguments: Mapping[str, Any], state: State, shape: ToolShape, footprint: Footprint
    ) -> Iterator[tuple[Layer, Recorded]]:
        """The layers' proposals, each asked only when those before it had none that held."""
        said = self._run(self.twins.get(tool), arguments, state)
        if self.drawing is not None and self.drawing.is_open(tool, arguments, state):
            yield from self._untold(self.drawing, tool, arguments, state, said)
            return
        if said is not None:
            yield "twin", said
        recorded = self.replay.answer(tool, arguments, state)
        if recorded is not None and recorded.confidence >= min(self.least, _ONE_RECORDING):
            yield "replay", recorded
        yield from self._guessed(tool, arguments, state, shape, footprint)

    def _guessed(
        self, tool: str, arguments: Mapping[str, Any], state: State, shape: ToolShape, footprint: Footprint
    ) -> Iterator[tuple[Layer, Recorded]]:
        """What no held-out call has proven, the most trusted first; what is trusted too little is not asked."""
        near = self.nearest.answer(tool, arguments, state)
        asked: list[tuple[float, Layer, Callable[[], Recorded | None]]] = []
        if self.learned is not None:
            model = self.learned
            ask = partial(model.propose, tool, arguments, state, shape, footprint)
            asked.append((model.trust(tool), "learned", ask))
        guessed = self._guess(tool, arguments, state)
        if guessed is not None:
            asked.append((guessed.confidence, "learned", lambda: guessed))
        if near is not None:
            trusted = near._replace(confidence=self._trust_in_votes(tool, near.confidence))
            asked.append((trusted.confidence, "nearest", lambda: trusted))
        for trust, layer, propose in sorted(asked, key=lambda each: -each[0]):
            found = propose() if trust >= self.least else None
            if found is not None and found.confidence >= self.least:
                yield layer, found

    def _untold(
        self, drawing: Drawing, tool: str, arguments: Mapping[str, Any], state: State, said: Recorded | None
    ) -> Iterator[tuple[Layer, Recorded]]:
        """Of what this session has not told: another session's word, a draw, or that there is no such thing."""
        recorded = drawing.recorded(tool, arguments, state)
        if recorded is not None and recorded.confidence >= min(self.least, _ONE_RECORDING):
            yield "replay", recorded
        absent = drawing.absent(tool, arguments, state)
        if absent is not None and absent.confidence >= self.least:
            yield "learned", absent
        imagined = drawing.drawn(tool, arguments, state)
        if imagined is not None:
            yield "drawn", imagined
        if said is not None and said.error is not None:
            yield "twin", said
        guessed = self._guess(tool, arguments, state)
        if guessed is not None and guessed.error is not None and guessed.confidence >= self.least:
            yield "learned", guessed

    def _trust_in_votes(self, tool: str, confidence: float) -> float:
        of_all = self.neighbours.get(vote_key(ANY_TOOL, confidence), 0.0)
        return self.neighbours.get(vote_key(tool, confidence), of_all)

    def _guess(self, tool: str, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        """What the rule that was not admitted says, with the trust that it earned in saying such things."""
        said = self._run(self.guesses.get(tool), arguments, state)
        if said is None:
            return None
        return said._replace(confidence=self.trust.get(guess_key(tool, said.error is not None), 0.0))

    def _run(self, twin: Twin | None, arguments: Mapping[str, Any], state: State) -> Recorded | None:
        if twin is None:
            return None
        try:
            observation, changes, error = twin.run(arguments, state.document)
        except (Unknown, InvalidInput):
            return None
        except ProgramFailed as problem:
            self.refused[str(problem)] = self.refused.get(str(problem), 0) + 1
            return None
        return Recorded(observation, changes, error, self.trust.get(twin.tool, 0.0), (f"program of {twin.tool}",))


def vote_key(tool: str, confidence: float) -> str:
    """Votes of neighbours that agree, and those that do not, are trusted apart."""
    return f"{tool}/{'agreed' if confidence >= _AGREED else 'split'}"


def guess_key(tool: str, refuses: bool) -> str:
    """A rule that was not admitted is trusted apart in when the tool refuses, and in what it does otherwise."""
    return f"{tool}/{'refuses' if refuses else 'does'}"


def _abstain(reason: str) -> Answer:
    return Answer(None, "abstain", 0.0, reason=reason)
