"""What a model earns: how often its proposals are right on calls that it was never taught, tool by tool."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from journeyman.worlds.build import Built
from journeyman.worlds.learned.model import Answers, ModelLayer
from journeyman.worlds.learned.prompt import question_of
from journeyman.worlds.learned.proposer import Proposer
from journeyman.worlds.learned.rows import divided, is_for_models
from journeyman.worlds.nearest import Nearest
from journeyman.worlds.replay import Recorded
from journeyman.worlds.state import State
from journeyman.worlds.transitions import Transition
from journeyman.worlds.trials import by_tool, is_right, shrunk

MOST_TRIED = 24
"""Held-out calls of one tool that a model is tried on: each is asked for, and may be paid for."""


@dataclass(frozen=True)
class Tried:
    """One held-out call, and what the model proposed for it; None when nothing could be used."""

    call: Transition
    proposed: Recorded | None

    @property
    def right(self) -> bool:
        """Whether answer, kind of error and changes are those that really came."""
        said = self.proposed
        return said is not None and is_right(said.observation, said.changes, said.error, self.call)


def earned(built: Built, proposer: Proposer, answers: Answers, seed: int = 0) -> Built:
    """The world with this model as its learned layer, trusted as far as held-out calls bear it out.

    It is tried on the tools that have no admitted twin, on calls of families that no row to learn from came from, with
    neighbours from the others.
    """
    tried = try_model(built, proposer, answers, seed)
    right, answered = Counter(e.call.tool for e in tried if e.right), Counter(e.call.tool for e in tried)
    everywhere = sum(right.values()) / (len(tried) + 1)
    trust = {tool: shrunk(right[tool], count, everywhere) for tool, count in answered.items()}
    return replace(built, proposer=replace(proposer, trust=trust, tried=dict(answered), right=dict(right)))


def try_model(
    built: Built, proposer: Proposer, answers: Answers, seed: int = 0, *, tools: Sequence[str] | None = None
) -> list[Tried]:
    """The model on held-out calls: of `tools`, or of all that have no admitted twin."""
    learned, judged = divided(built, seed)
    layer = ModelLayer(proposer, Nearest(learned), answers)
    found: list[Tried] = []
    for tool, calls in by_tool(judged).items():
        trial = built.trials.get(tool)
        if tool in tools if tools is not None else trial is None or not trial.admitted:
            found += _of_tool(layer, answers, built, [call for call in calls if is_for_models(call)][:MOST_TRIED])
    return found


def _of_tool(layer: ModelLayer, answers: Answers, built: Built, calls: Sequence[Transition]) -> list[Tried]:
    if not calls:
        return []
    tool = calls[0].tool
    shape, footprint = built.shapes[tool], built.footprints[tool]
    states = [State(call.before or {}) for call in calls]
    similar = [layer.similar(tool, call.arguments, state) for call, state in zip(calls, states, strict=True)]
    asked = [
        question_of(tool, call.arguments, state, shape, footprint, near)
        for call, state, near in zip(calls, states, similar, strict=True)
    ]
    told = answers.of(asked, shape)
    return [
        Tried(call, layer.read(text, tool, call.arguments, state, shape, near))
        for call, state, near, text in zip(calls, states, similar, told, strict=True)
    ]


def said_of(proposer: Proposer, neighbours: Mapping[str, float], least: float) -> list[str]:
    """What a model earned, tool by tool, for people."""
    lines = []
    for tool, count in sorted(proposer.tried.items()):
        votes = max((trust for key, trust in neighbours.items() if key.rpartition("/")[0] == tool), default=0.0)
        asked = "is asked" if proposer.trust[tool] >= least else "is not asked"
        lines.append(
            f"{proposer.model} {asked} for {tool}: right about {proposer.right.get(tool, 0)} of {count} held-out calls "
            f"(trust {proposer.trust[tool]:.2f}; neighbours at best {votes:.2f})"
        )
    return lines
