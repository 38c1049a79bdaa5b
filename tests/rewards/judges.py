"""Scripted judges, sound ones and such as are planted to be defeated."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from journeyman.engines.scripted import Script, ScriptedEngine
from journeyman.records import Message
from journeyman.records.message import assistant
from journeyman.rewards.asking import Asker
from journeyman.rewards.metering import Ceiling

Shown = dict[str, Any]
Worth = Callable[[int, Shown], float]
"""Of an attempt, by its place and what the judge is shown of it."""


def words(shown: Shown) -> str:
    """What the attempt says in its last message."""
    return str(shown["messages"][-1].get("content", "")) if shown["messages"] else ""


def by_number(_: int, shown: Shown) -> float:
    """The number that the attempt says."""
    return float(words(shown))


def verdict_on(attempts: Sequence[Shown], worth: Worth) -> dict[str, Any]:
    """A well-formed answer with these scores."""
    scores = {each["id"]: min(1.0, max(0.0, worth(place, each))) for place, each in enumerate(attempts)}
    return {
        "attempts": [{"id": id, "reason": f"worth {score:.3f}", "score": score} for id, score in scores.items()],
        "ranking": sorted(scores, key=lambda id: -scores[id]),
    }


class ListwiseJudge:
    """An engine that scores what it is shown by `worth`; `spoil` may change the answer, told how often it was asked."""

    def __init__(self, worth: Worth = by_number, spoil: Callable[[dict[str, Any], int], object] | None = None) -> None:
        self.worth, self.spoil = worth, spoil
        self.seen: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.reply = ScriptedEngine(self._script()).reply

    def _script(self) -> Script:
        def answer(messages: Sequence[Message], _: object) -> Message:
            shown = json.loads(messages[1].text)
            self.seen.append(shown)
            self.complaints += [messages[-1].text] if len(messages) > 2 else []
            said: object = verdict_on(shown["attempts"], self.worth)
            if self.spoil is not None:
                said = self.spoil(said, len(messages))  # type: ignore[arg-type]
            return assistant(said if isinstance(said, str) else json.dumps(said))

        return answer


def asker(judge: ListwiseJudge, **settings: Any) -> Asker:
    """The judge behind the seam that asks."""
    return Asker(judge, settings.pop("model", "judge"), **settings)


__all__ = ["Ceiling", "ListwiseJudge", "asker", "by_number", "verdict_on", "words"]
