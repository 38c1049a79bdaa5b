"""Whether an episode in a world came to what it should: decided from its outcome alone, never by the world's say-so."""

import json
import re
from typing import Any

from journeyman.records import Outcome, Scenario, Score
from journeyman.worlds.state import read


def verify(scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
    """The scores of an episode, from its scenario and outcome alone.

    `abstained` is 1 where the world did not know; there is no `success` then, nor where the scenario expects nothing.
    A scenario's `expect` lists what must hold in the end: a cell, `{path: [...], value: ...}`, or words that the agent
    was told, `{told: "a regular expression"}`. `success` is 1 when all of it holds, `reward` the share that does.
    """
    state: Any = outcome.state
    unknown = state["abstained"] is not None
    scores = [Score(name="abstained", value=float(unknown), reason=state["abstained"] or "")]
    expected = scenario.data.get("expect")
    if expected and not unknown:
        wrong = [problem for each in expected if (problem := _problem(each, outcome)) is not None]
        reason = "; ".join(wrong)
        scores.insert(0, Score(name="success", value=float(not wrong), reason=reason))
        scores.insert(1, Score(name="reward", value=1 - len(wrong) / len(expected), reason=reason))
    return tuple(scores)


def _problem(expected: dict[str, Any], outcome: Outcome) -> str | None:
    """What is not as it should be; None when it is."""
    if "told" in expected:
        found = any(re.search(expected["told"], _told(event)) for event in outcome.events)
        return None if found else f"the agent should have been told {expected['told']!r}"
    state: Any = outcome.state
    path, value = expected["path"], expected["value"]
    held = read(state["document"], tuple(path)) == value
    return None if held else f"{'/'.join(map(str, path))} should be {value!r}"


def _told(event: dict[str, Any]) -> str:
    """What the agent was told in an event of a world, as text."""
    found = event["told"] if "told" in event else event.get("observation")
    return found if isinstance(found, str) else "" if found is None else json.dumps(found, ensure_ascii=False)
