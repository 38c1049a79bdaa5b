"""Models and judges that follow a script, for tests of whatever measures them."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from journeyman.engines.engine import Reply
from journeyman.engines.scripted import ScriptedEngine
from journeyman.records import Message, Sampling, Tool
from journeyman.records.message import assistant

Script = Callable[[Sequence[Message], Sequence[Tool]], Message]


class Players:
    """Several scripted models behind one engine; counts how often each was asked."""

    def __init__(self, **scripts: Script) -> None:
        self.scripts = scripts
        self.asked: list[str] = []

    async def reply(
        self,
        model: str,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        sampling: Sampling = Sampling(),
        *,
        session: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Reply:
        self.asked.append(model)
        return await ScriptedEngine(self.scripts[model]).reply(model, messages, tools, sampling)


def says(text: str) -> Script:
    """Whatever it is asked, it says this."""
    return lambda *_: assistant(text)


def judging(decide: Callable[[dict[str, Any]], str]) -> Script:
    """A judge that keeps to the form; `decide` sees what it was shown."""

    def answer(messages: Sequence[Message], _: Sequence[Tool]) -> Message:
        return assistant(json.dumps({"reason": "because", "verdict": decide(json.loads(messages[1].text))}))

    return answer
