"""F8: whether a frozen agent, told what the world answers, does next what it does when told what really came.

An answer may differ from the real one and still lead the agent the same way, or be equal but for the one word that
matters. Any engine can be the agent: a model at temperature 0, or a script.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from journeyman.engines.engine import Engine
from journeyman.errors import InvalidInput
from journeyman.records import Message, Sampling, Tool, Trajectory
from journeyman.records.message import tool_result
from journeyman.worlds.baselines import Predictor
from journeyman.worlds.card import Measure
from journeyman.worlds.expressions import same
from journeyman.worlds.fidelity import share_of
from journeyman.worlds.state import State
from journeyman.worlds.transitions import Transition

_GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Compared:
    """What an agent did next after the real answer and after the world's.

    `equal`: the answers were the same, so that nobody was asked. `agrees`: the same calls with equal arguments, or
    words in both cases.
    """

    session: str
    equal: bool
    agrees: bool


@dataclass(frozen=True)
class _Point:
    call: Transition
    before: tuple[Message, ...]
    result: Message
    tools: tuple[Tool, ...]


async def compare(
    agent: Engine,
    model: str,
    predictor: Predictor,
    trajectories: Sequence[Trajectory],
    calls: Sequence[Transition],
    most: int | None = None,
) -> list[Compared]:
    """The agent asked after each captured result and after what the world says in its place.

    `calls` are the trajectories' transitions with their states; at most `most` differing answers are put to the agent.
    What the world abstains from is left out: such an episode ends there. InvalidInput where nothing fits together.
    """
    known = {(call.session, call.order): call for call in calls}
    points = [point for trajectory in trajectories for point in _points(trajectory, known)]
    if not points:
        raise InvalidInput("none of these calls was made in these trajectories; nothing was compared")
    found: list[Compared] = []
    asked = 0
    for point in points:
        call = point.call
        answer = predictor.answer(call.tool, call.arguments, State(call.before or {}))
        if answer.source == "abstain":
            continue
        if same(answer.observation, call.observation):
            found.append(Compared(call.session, True, True))
            continue
        if most is not None and asked >= most:
            continue
        asked += 1
        said = answer.observation
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        told = tool_result(point.result.tool_call_id or "", text)
        real, simulated = [
            (await agent.reply(model, (*point.before, result), point.tools, _GREEDY)).message
            for result in (point.result, told)
        ]
        found.append(Compared(call.session, False, _does(real) == _does(simulated)))
    return found


def of_behaviour(found: Sequence[Compared], split: str) -> list[Measure]:
    """F8 over all answers, and over those that differ from the real ones, with intervals from resampling sessions."""
    differing = [(each.session, each.agrees) for each in found if not each.equal]
    return [
        share_of("F8", split, "world", [(each.session, each.agrees) for each in found]),
        share_of("F8", split, "world", differing, "answers that differ from the real one"),
    ]


def _points(trajectory: Trajectory, known: Mapping[tuple[str, int], Transition]) -> Iterator[_Point]:
    """Each captured result that is the last one of its turn: the agent speaks only then."""
    order = 0
    for place, message in enumerate(trajectory.messages):
        calls = message.tool_calls or ()
        call = known.get((trajectory.session, order + len(calls) - 1)) if calls else None
        order += len(calls)
        last = place + len(calls)
        # Where a session has several conversations, its calls are counted through them all.
        if call is None or call.tool != calls[-1].function.name or last >= len(trajectory.messages):
            continue
        result = trajectory.messages[last]
        if result.role == "tool" and result.tool_call_id == calls[-1].id:
            yield _Point(call, trajectory.messages[:last], result, trajectory.tools)


def _does(message: Message) -> str:
    """What a reply does: its calls with their arguments, or that it speaks."""
    acts = []
    for call in message.tool_calls or ():
        try:
            arguments = json.loads(call.function.arguments or "{}")
        except ValueError:
            arguments = call.function.arguments
        acts.append([call.function.name, arguments])
    return json.dumps(acts, sort_keys=True)
