"""An engine whose replies come from a function: for tests, reference players and scripted agents."""

import time
from collections.abc import Callable, Sequence

from journeyman.engines.engine import Reply
from journeyman.errors import InvalidInput
from journeyman.records import Choice, Message, Sampling, Tool, Usage

Script = Callable[[Sequence[Message], Sequence[Tool]], Message]


def estimated_usage(messages: Sequence[Message], tools: Sequence[Tool], reply: Message) -> Usage:
    """Tokens at four characters each, for a reply that no tokenizer has seen."""
    read = sum(len(part.model_dump_json(exclude_unset=True)) for part in (*messages, *tools))
    return Usage(prompt_tokens=-(-read // 4), completion_tokens=-(-len(reply.model_dump_json(exclude_unset=True)) // 4))


class ScriptedEngine:
    """Answers with what `script` returns, under whatever model name is asked. Its usage is an estimate."""

    def __init__(self, script: Script) -> None:
        self._script = script

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
        """The script's message; sampling cannot change it, except that more than one choice is refused."""
        if (sampling.n or 1) != 1:
            raise InvalidInput(f"n={sampling.n} was asked of a script, which has one reply; leave n out")
        started = time.perf_counter()
        message = self._script(messages, tools)
        finish_reason = "tool_calls" if message.tool_calls else "stop"
        return Reply(
            choices=(Choice(message=message, finish_reason=finish_reason),),
            usage=estimated_usage(messages, tools, message),
            latency=time.perf_counter() - started,
            served=model,
        )
