"""Conversations without tool calls read as episodes: what was done, in words, and what was told."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from journeyman.capture.redact import Redactor
from journeyman.capture.redact_patterns import BUILT_IN
from journeyman.records import Message, Trajectory
from journeyman.worlds.traces import Traces


@dataclass(frozen=True)
class TextEpisode:
    """One attempt. `opening` is what was said before the agent's first own reply, examples of other episodes included.

    `steps` are actions with what they were answered, in order. `begun` names what the episode began with: its scenario
    where that is known, otherwise its opening words. `policy` is the model that acted.
    """

    session: str
    policy: str
    at: datetime | None
    begun: str
    opening: tuple[Message, ...]
    steps: tuple[tuple[str, str], ...]

    @property
    def first(self) -> str:
        """What could be seen when it began."""
        return self.opening[-1].text if self.opening else ""


@dataclass
class TextTraces:
    """Episodes, and what was left out of them."""

    episodes: list[TextEpisode] = field(default_factory=list)
    left_out: Traces = field(default_factory=Traces)


def read_episodes(trajectories: Iterable[Trajectory], redactor: Redactor | None = None) -> TextTraces:
    """The text episodes among attempts; those with tool calls, and actions without an answer, are left out by name.

    Secrets are taken out by `redactor`: every built-in rule, if None.
    """
    redactor = redactor or Redactor(BUILT_IN)
    found = TextTraces()
    for each in trajectories:
        if any(said.tool_calls or said.role == "tool" for said in each.messages):
            found.left_out.leave_out("conversations with tool calls", each.session)
            continue
        at = _first_own(each)
        steps = tuple(_steps(each.messages[at:], each.session, found.left_out, redactor))
        if steps:
            opening = tuple(_cleaned(said, redactor) for said in each.messages[:at])
            begun = each.scenario_id or "\n".join(f"{said.role}: {said.text}" for said in opening)
            found.episodes.append(TextEpisode(each.session, each.model, each.at, begun, opening, steps))
    found.left_out.redacted = redactor.counts
    return found


def _first_own(trajectory: Trajectory) -> int:
    """Where the agent's own replies begin: assistants' turns before them are examples that it was shown."""
    replies = [place for place, said in enumerate(trajectory.messages) if said.role == "assistant"]
    own = trajectory.turns or len(replies)
    return replies[-own] if len(replies) >= own > 0 else len(trajectory.messages)


def _steps(
    messages: Sequence[Message], session: str, left_out: Traces, redactor: Redactor
) -> Iterable[tuple[str, str]]:
    replies = [place for place, said in enumerate(messages) if said.role == "assistant"]
    for order, place in enumerate(replies):
        end = replies[order + 1] if order + 1 < len(replies) else len(messages)
        answered = [said.text for said in messages[place + 1 : end]]
        if not answered:
            left_out.leave_out("actions without an answer", f"{session}#{order}")
            continue
        yield redactor.text(messages[place].text.strip()), redactor.text("\n".join(answered))


def _cleaned(said: Message, redactor: Redactor) -> Message:
    return said.model_copy(update={"content": redactor.text(said.text)})
