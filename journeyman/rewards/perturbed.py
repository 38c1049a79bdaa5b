"""Labelled groups from attempts that are known to be right: a copy with one thing broken is known to be worse.

No benchmark's data comes in a package, but every environment that checks its own outcome gives such attempts for free.
"""

import random
import re
from collections.abc import Awaitable, Callable, Sequence

from journeyman.errors import InvalidInput
from journeyman.records import Message, Scenario, Trajectory, TrajectoryGroup
from journeyman.rewards.contents import content_of
from journeyman.rewards.labelled import Labelled

_NUMBER = re.compile(r"\d+(?:\.\d+)?")

Perturbation = Callable[[Sequence[Message], Sequence[Sequence[Message]], random.Random], Sequence[Message] | None]
"""Messages of an attempt and of others, and a generator, to broken messages; None where it does not apply."""


def another_number(
    messages: Sequence[Message], others: Sequence[Sequence[Message]], generator: random.Random
) -> Sequence[Message] | None:
    """A number in the last reply is another one."""
    *before, last = messages
    found = list(_NUMBER.finditer(last.text))
    if last.role != "assistant" or not found:
        return None
    at = generator.choice(found)
    wrong = str(int(float(at[0])) + generator.choice((1, 2, 10, 100)))
    text = last.text[: at.start()] + wrong + last.text[at.end() :]
    return [*before, last.model_copy(update={"content": text})]


def another_ones_reply(
    messages: Sequence[Message], others: Sequence[Sequence[Message]], generator: random.Random
) -> Sequence[Message] | None:
    """The last reply is that of an attempt at another scenario."""
    *before, last = messages
    replies = [other[-1] for other in others if other and other[-1].role == "assistant" and other[-1].text != last.text]
    if last.role != "assistant" or not replies:
        return None
    return [*before, generator.choice(replies)]


def without_a_call(
    messages: Sequence[Message], others: Sequence[Sequence[Message]], generator: random.Random
) -> Sequence[Message] | None:
    """A tool was not called, and its result never seen, yet the attempt ends as if it had been."""
    calls = [message for message in messages if message.tool_calls]
    if not calls:
        return None
    dropped = generator.choice(calls)
    ids = {each.id for each in dropped.tool_calls or ()}
    return [message for message in messages if message is not dropped and message.tool_call_id not in ids]


def cut_off(
    messages: Sequence[Message], others: Sequence[Sequence[Message]], generator: random.Random
) -> Sequence[Message] | None:
    """The attempt ends halfway: the model's last message never came."""
    spoken = [at for at, message in enumerate(messages) if message.role == "assistant"]
    return messages[: spoken[-1]] if len(spoken) > 1 else None


Succeeds = Callable[[Scenario, Trajectory], Awaitable[bool]]

PERTURBATIONS: dict[str, Perturbation] = {
    "another number": another_number,
    "another one's reply": another_ones_reply,
    "without a call": without_a_call,
    "cut off": cut_off,
}


def gold_against_perturbed(
    gold: Sequence[tuple[Scenario, Trajectory]], seed: int = 0, *, most: int = 3
) -> list[Labelled]:
    """A group for each successful attempt: itself with truth 1, and up to `most` broken copies with truth 0.

    What was broken shows in a copy's messages alone: a judge has to find it. Where the environment can play them again,
    `without_lucky_copies` makes sure that they fail. InvalidInput for an attempt that its environment does not call a
    success: nothing would be known of its copies.
    """
    found = []
    for number, (scenario, trajectory) in enumerate(gold):
        if trajectory.score("success") != 1 or trajectory.error is not None:
            raise InvalidInput(
                f"the attempt {trajectory.id} at scenario {scenario.id} is no success; only copies of successes are "
                "known to be worse"
            )
        # A generator for each scenario: one more or less leaves the others as they were.
        generator = random.Random(f"{seed}/{scenario.id}")
        others = [each.messages for at, (_, each) in enumerate(gold) if at != number]
        copies = _copies(trajectory, others, generator, most)
        if copies:
            members = [(trajectory, 1.0), *((copy, 0.0) for copy in copies)]
            generator.shuffle(members)
            group = TrajectoryGroup(scenario=scenario, trajectories=tuple(each for each, _ in members))
            found.append(Labelled(group, tuple(truth for _, truth in members)))
    return found


async def without_lucky_copies(cases: Sequence[Labelled], succeeds: Succeeds) -> tuple[list[Labelled], int]:
    """The cases without the broken copies that succeed all the same, and how many those were.

    A call that nobody needed can be left out: in the bank of the demo four in ten of such copies still reach the goal.
    `succeeds` plays a copy's messages in the scenario's environment.
    """
    kept, lucky = [], 0
    for case in cases:
        members = []
        for trajectory, truth in zip(case.group.trajectories, case.truth, strict=True):
            if truth or not await succeeds(case.group.scenario, trajectory):
                members.append((trajectory, truth))
            else:
                lucky += 1
        if len(members) > 1:
            group = case.group.model_copy(update={"trajectories": tuple(each for each, _ in members)})
            kept.append(Labelled(group, tuple(truth for _, truth in members)))
    return kept, lucky


def _copies(
    trajectory: Trajectory, others: Sequence[Sequence[Message]], generator: random.Random, most: int
) -> list[Trajectory]:
    copies: dict[str, Trajectory] = {content_of(trajectory).key: trajectory}
    for name in generator.sample(sorted(PERTURBATIONS), len(PERTURBATIONS)):
        broken = PERTURBATIONS[name](trajectory.messages, others, generator)
        if broken is None or len(copies) > most:
            continue
        copy = trajectory.model_copy(
            update={
                "id": f"{trajectory.id}-{name.replace(' ', '-')}",
                "messages": tuple(broken),
                "scores": (),
                "tokens": (),
            }
        )
        copies.setdefault(content_of(copy).key, copy)
    return list(copies.values())[1:]
