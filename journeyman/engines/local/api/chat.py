"""`POST /v1/chat/completions`, whole or streamed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman.engines.local.api.answers import DONE, EventStream, caller_id, error_body, event, read_json
from journeyman.engines.local.api.body import ChatBody, read_body
from journeyman.engines.local.api.replies import Completion, delta_of
from journeyman.engines.local.api.served import Ongoing, ServedModel
from journeyman.engines.local.request import Request
from journeyman.engines.local.sampling.constraints import Constraint
from journeyman.engines.local.sampling.grammars import Calls, reply_grammar
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.errors import InvalidInput, JourneymanError
from journeyman.records import new_id
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.reasoning import opens_thought
from journeyman.rendering.reply import ReplyReader
from journeyman.rendering.tool_calls import offered_of, style_of


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat completion under way: its choices in the engine, and a reader of each one's text."""

    body: ChatBody
    ongoing: Ongoing
    readers: list[ReplyReader]


class ChatRoute:
    """Answers chat completions of one base model and its adapters."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served

    async def answer(self, request: HTTPRequest) -> Response:
        """The route itself."""
        call = await self.start(read_body(await read_json(request)), caller_id(request))
        completion = Completion(call.body, call.ongoing.requests)
        if call.body.stream:
            return EventStream(_stream(call, completion), call.ongoing.cancel)
        watching = asyncio.create_task(call.ongoing.cancel_when_gone(request))
        try:
            async for index, update in call.ongoing.updates():
                call.readers[index].add(update.text, last=update.finish_reason is not None)
        finally:
            watching.cancel()
        return JSONResponse(completion.whole(call.readers))

    async def start(self, body: ChatBody, id: str | None = None) -> ChatCall:
        """Hand the call to the scheduler, one request for each choice; `id` is by which its caller knows it."""
        served, ongoing = self._served, Ongoing()
        adapter, tokenizer = served.find(body.model)
        served.check_rollout(body.return_token_ids)
        if body.offered and not tokenizer.template.shows_tools:
            raise InvalidInput("tools: this model's chat template shows the model no tools; leave them out")
        rendered = tokenizer.render(body.messages, body.offered)
        prompt = tokenizer.encoding(rendered).ids
        limit = served.room(prompt, body.limit)
        _check_tokens(body, tokenizer)
        thinking = opens_thought(rendered.text)
        constraints = await self._constraints(body, tokenizer, thinking)
        style = style_of(tokenizer.template.text) if body.offered else None
        callable = offered_of(body.callable)
        id, deadline = id or new_id(), body.deadline
        requests = [
            Request(
                prompt, Sampler(body.rule(index), prompt, constraints[index]), limit, body.stops, tokenizer,
                ongoing.teller(index), adapter, body.top_logprobs, id=id, choice=index, priority=body.priority,
                deadline=deadline, stop_ids=frozenset(body.stop_token_ids), ignore_eos=body.ignore_eos,
                prompt_tops=None if index else body.prompt_logprobs,
            )
            for index in range(body.n)
        ]  # fmt: skip
        ongoing.submit(served.scheduler, requests)
        return ChatCall(body, ongoing, [ReplyReader(style, callable, thinking=thinking) for _ in requests])

    async def _constraints(self, body: ChatBody, tokenizer: ChatTokenizer, thinking: bool) -> list[Constraint | None]:
        """What keeps each choice to the form that was asked for; None where any reply will do."""
        calls = None
        if body.callable:
            many = body.parallel_tool_calls and body.tool_choice in ("auto", "required")
            calls = Calls(style_of(tokenizer.template.text), body.callable, body.forces_a_call, many)
        if body.answer_schema is None and (calls is None or not calls.restricts):
            return [None] * body.n

        def compiled() -> list[Constraint | None]:
            grammars = self._served.grammars()
            grammar = reply_grammar(grammars.single, body.answer_schema, calls, tokenizer.thinks)
            return [grammars.constraint(grammar, thinks=tokenizer.thinks, thinking=thinking) for _ in range(body.n)]

        # Seconds for an intricate schema, which other calls need not wait for.
        return await asyncio.to_thread(compiled)


def _check_tokens(body: ChatBody, tokenizer: ChatTokenizer) -> None:
    size = tokenizer.tokenizer.get_vocab_size()
    for field, ids in (("stop_token_ids", body.stop_token_ids), ("logit_bias", body.logit_bias)):
        for id in ids:
            if id >= size:
                raise InvalidInput(f"{field}: token {id} is not in the vocabulary, which has {size} entries")


async def _stream(call: ChatCall, completion: Completion) -> AsyncIterator[bytes]:
    for index in range(len(call.readers)):
        yield event(completion.chunk(index, {"role": "assistant", "content": ""}))
    try:
        async with contextlib.aclosing(call.ongoing.updates()) as updates:
            async for index, update in updates:
                piece = call.readers[index].add(update.text, last=update.finish_reason is not None)
                if update.finish_reason is not None:
                    yield event(completion.last_chunk(index, call.readers[index], piece))
                elif delta := delta_of(piece):
                    yield event(completion.chunk(index, delta))
    except JourneymanError as error:
        # The headers are gone: an error event and no [DONE] is the truth about this stream.
        yield event(error_body(error))
        return
    if call.body.stream_options is not None and call.body.stream_options.include_usage:
        yield event(completion.usage_chunk())
    yield DONE
