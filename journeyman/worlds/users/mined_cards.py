"""Who a real user was, read from their conversation and from what it changed in a world of their system."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from journeyman.records import Scenario
from journeyman.worlds.compliance.conditions import Condition
from journeyman.worlds.compliance.events import sentences
from journeyman.worlds.environment import WorldEnvironment, WorldSuite
from journeyman.worlds.state import MISSING, Path, leaf_changes
from journeyman.worlds.transitions import error_kind
from journeyman.worlds.users.card import Goal, OwnTool, Talk, UserCard
from journeyman.worlds.users.mining import Dialogue, UserTurn, turns_of
from journeyman.worlds.users.phrasing import FACTUAL
from journeyman.worlds.world import World

if TYPE_CHECKING:
    from journeyman.worlds.users.population import Domain

Document = Mapping[str, Any]


async def observed(session: str, dialogue: Dialogue, world: World) -> list[Document] | str:
    """What `seen_in` shows before each turn of the user and in the end, when the agent's calls are made in it again.

    Why there is none, where the world does not know the session, or is not sure of an answer.
    """
    if session not in {start.id for start in world.starts}:
        return "the world does not know where the session began"
    suite = WorldSuite(world, faults="off")
    scenario = Scenario(
        id=session, environment=suite.name, kind="world", data={"start": session, "seed": 0}
    )  # fmt: skip
    environment = suite.environment(scenario)
    if not isinstance(environment, WorldEnvironment):
        return "the world is one of words, and has no users"
    await environment.start()
    found: list[Document] = []
    for message in dialogue:
        if message.role == "user":
            found.append(seen_in(environment))
        elif message.tool_calls:
            if environment.is_done:
                return "the session has more calls than an episode"
            await environment.step(message)
            if environment.abstained is not None:
                return "the world was not sure of an answer to the agent's calls"
    return [*found, seen_in(environment)]


def seen_in(world: WorldEnvironment) -> Document:
    """What can be observed in a world: its `cells`, and the `calls` that it answered without an error."""
    calls = [_written(each.tool, each.arguments) for each in world.log if error_kind(each.observation) is None]
    found: Document = json.loads(json.dumps({"cells": world.state.document, "calls": calls}))
    return found


def card_of(session: str, dialogue: Dialogue, documents: Sequence[Document], domain: "Domain") -> UserCard | str:
    """The card, without a style: each wish with what was observed when it was granted; or why none can be read.

    A wish is reached by the cells that changed while it was open; where none did, by the facts that the agent told from
    its tools' answers; where it told none, by the last call that was answered without an error. What the user was told
    to do on their own side belongs to the wish that was open then.
    """
    talk = domain.talk
    turns = turns_of(dialogue, talk)
    spoken = [place for place, message in enumerate(dialogue) if message.role == "user"]
    if not turns:
        return "the user said nothing"
    begins = [place for place, turn in enumerate(turns) if place == 0 or turn.act == "request"]
    goals, tools = list[Goal](), dict[str, OwnTool]()
    for begin, end in zip(begins, [*begins[1:], len(turns)], strict=True):
        part = dialogue[spoken[begin] : spoken[end] if end < len(spoken) else len(dialogue)]
        done = [tool for tool in domain.tools if _told(tool, part)]
        goal = _goal(turns[begin:end], part, documents[begin], documents[end], done, talk)
        if isinstance(goal, str):
            return goal
        goals.append(goal)
        tools |= {tool.name: tool for tool in done}
    facts, asked = _facts(turns, talk)
    return UserCard(
        id=session, goals=tuple(goals), facts=facts, unknown=tuple(sorted(asked - facts.keys())),
        tools=tuple(tools.values()),
    )  # fmt: skip


def _goal(
    turns: Sequence[UserTurn], part: Dialogue, before: Document, after: Document, done: Sequence[OwnTool], talk: Talk
) -> Goal | str:
    reached = [_holds(path, value) for path, value in leaf_changes(before["cells"], after["cells"]).items()]
    if any(each is None for each in reached):
        return "a cell that changed has a name or a value that no condition can hold"
    reached += [Condition(field=f"own.{name}", value=value) for tool in done for name, value in tool.sets.items()]
    answered = () if reached else _answered(part)
    made = after["calls"][len(before["calls"]) :]
    if not reached and not answered and made:
        reached = [Condition(field="after.calls", op="contains", value=made[-1])]
    if not reached and not answered:
        return "nothing was observed of what the user wanted"
    ask = _without(talk.thanks if turns[0].act == "request" else talk.greeting, turns[0].text)
    vents = [" ".join(sentences(turn.text)[1:]) for turn in turns if turn.act == "vent"]
    return Goal(
        ask=ask, again=next((each for each in vents if each), ask), answered=answered,
        reached=tuple(each for each in reached if each is not None),
        consents=all(turn.act != "refuse" for turn in turns),
    )  # fmt: skip


def _holds(path: Path, value: Any) -> Condition | None:
    parts = [str(part) for part in path]
    if any("." in part or not part for part in parts) or (isinstance(value, str) and value.startswith("$")):
        return None
    field = ".".join(["after", "cells", *parts])
    return Condition(field=field, op="missing") if value is MISSING else Condition(field=field, value=value)


def _answered(part: Dialogue) -> tuple[str, ...]:
    """One expression: all facts of the agent's last statement that tools gave it."""
    results = " ".join(message.text for message in part if message.role == "tool")
    own = " ".join(message.text for message in part if message.role == "user")
    for message in reversed(part):
        if message.role == "assistant" and message.text.strip():
            said = " ".join(each for each in sentences(message.text) if not each.endswith("?"))
            facts = dict.fromkeys(each for each in FACTUAL.findall(said) if each in results and each not in own)
            if facts:
                return ("".join(f"(?=.*{re.escape(each)})" for each in facts),)
    return ()


def _facts(turns: Sequence[UserTurn], talk: Talk) -> tuple[dict[str, str], set[str]]:
    kinds = {kind.name: kind for kind in talk.facts}
    told: dict[str, str] = {}
    for turn in turns:
        for name in turn.asked:
            found = re.search(kinds[name].value, turn.text)
            if found is not None:
                told[name] = found[0]
    return told, {name for turn in turns for name in turn.asked}


def _written(tool: str, arguments: Mapping[str, Any]) -> str:
    return f"{tool} {json.dumps(arguments, sort_keys=True, ensure_ascii=False)}"


def _told(tool: OwnTool, part: Dialogue) -> bool:
    return any(re.search(tool.told, each.text, re.IGNORECASE) for each in part if each.role == "assistant")


def _without(expression: str, text: str) -> str:
    return re.sub(expression, "", text, count=1, flags=re.IGNORECASE).strip() or text
