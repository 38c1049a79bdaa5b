"""Plays an attempt again in the real system: the same replies, from the same beginning, scored by its own verifier."""

import json
from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

from journeyman.environments.admission.transcripts import Transcript, play, repeating
from journeyman.environments.environment import Suite
from journeyman.errors import InvalidInput
from journeyman.records import Message, Scenario, Trajectory

_MOST_SHOWN = 160


@runtime_checkable
class Counterparts(Protocol):
    """What the suite of a real system has besides, so that attempts made in a simulation of it can be replayed."""

    def counterpart(self, scenario: Scenario) -> Scenario | None:
        """This suite's scenario that begins as that one of a simulation does; None where it has none."""
        ...


def counterparts_of(suite: Suite) -> Counterparts | None:
    """The suite, where it can say which of its scenarios is a simulation's."""
    return cast(Counterparts, suite) if isinstance(suite, Counterparts) else None


def replies_of(attempt: Trajectory) -> list[Message]:
    """What the agent did, in order: an opening may hold replies, too, such as a greeting or examples."""
    said = [message for message in attempt.messages if message.role == "assistant"]
    return said[len(said) - attempt.turns :] if 0 < attempt.turns < len(said) else said


async def replayed(suite: Suite, scenario: Scenario, attempt: Trajectory) -> Transcript | None:
    """The attempt's replies, played in the counterpart of its scenario; None where there is no counterpart.

    An episode that is over earlier there is scored as it stands. InvalidInput when the suite names no counterparts.
    """
    real = counterparts_of(suite)
    if real is None:
        raise InvalidInput(f"{suite.name} cannot replay attempts: it has no `counterpart(scenario)`")
    same = real.counterpart(scenario)
    replies = replies_of(attempt)
    return None if same is None else await play(suite.environment(same), repeating(replies), most=len(replies))


def first_other_answer(attempt: Trajectory, replay: Transcript) -> str:
    """Where the simulation first answered otherwise than the real system did, in some words of each."""
    replies, other = replies_of(attempt), _seen(replay)
    one = _answers(attempt.messages)[-len(replies) :]
    for said, here, there in zip(replies, one, other, strict=False):
        if here != there:
            return f"to {_shown(_acted(said))} the simulation said {_shown(here)}, the real system {_shown(there)}"
    return "both answered alike, as far as both went"


def _answers(messages: Sequence[Message]) -> list[str]:
    """What came after each reply."""
    found, since = list[str](), list[str]()
    for message in reversed(messages):
        if message.role == "assistant":
            found.append("\n".join(reversed(since)))
            since = []
        else:
            since.append(message.text)
    return found[::-1]


def _seen(replay: Transcript) -> list[str]:
    told = [[Message.model_validate(each).text for each in seen["messages"]] for seen in replay.seen]
    return ["\n".join(each) for each in told[1:]]


def _acted(reply: Message) -> str:
    called = [f"{each.function.name}({each.function.arguments})" for each in reply.tool_calls or ()]
    return " ".join([*([json.dumps(reply.text, ensure_ascii=False)] if reply.text else []), *called])


def _shown(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
