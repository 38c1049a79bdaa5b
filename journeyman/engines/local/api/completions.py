"""`POST /v1/completions`: plain text or ids continued, whole or streamed; or a prompt scored."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman.engines.local.api.answers import DONE, EventStream, caller_id, error_body, event, read_json
from journeyman.engines.local.api.completion_body import MOST_CHOICES, CompletionBody, read_completion_body
from journeyman.engines.local.api.prompts import check_ids, read_prompts
from journeyman.engines.local.api.served import Ongoing, ServedModel
from journeyman.engines.local.api.texts import Candidate, TextCompletion
from journeyman.engines.local.request import Request
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.errors import InvalidInput, JourneymanError
from journeyman.records import new_id


class CompletionsRoute:
    """Answers plain completions of one base model and its adapters."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served

    async def answer(self, request: HTTPRequest) -> Response:
        """The route itself."""
        body = read_completion_body(await read_json(request))
        ongoing = self._submit(body, caller_id(request) or new_id())
        completion = TextCompletion(body, [Candidate(body, each) for each in ongoing.requests])
        if body.stream:
            return EventStream(_stream(body, completion, ongoing), ongoing.cancel)
        watching = asyncio.create_task(ongoing.cancel_when_gone(request))
        try:
            async for index, update in ongoing.updates():
                completion.candidates[index].text += update.text
        finally:
            watching.cancel()
        return JSONResponse(completion.whole())

    def _submit(self, body: CompletionBody, id: str) -> Ongoing:
        served, ongoing = self._served, Ongoing()
        adapter, tokenizer = served.find(body.model)
        served.check_rollout(body.return_token_ids)
        prompts = read_prompts(tokenizer, body.prompt, add_special_tokens=body.add_special_tokens)
        if len(prompts) * body.candidates > MOST_CHOICES:
            raise InvalidInput(
                f"prompt: {len(prompts)} prompts of {body.candidates} candidates each are too many for one call; "
                f"at most {MOST_CHOICES} together"
            )
        check_ids(tokenizer, [*body.stop_token_ids, *body.logit_bias])
        for prompt in prompts:
            served.room(prompt, body.max_tokens or None)
        scores = (body.logprobs or 0) if body.echo and (body.logprobs is not None or not body.max_tokens) else None
        deadline = body.deadline
        requests = [
            Request(
                prompt, Sampler(body.rule(candidate), prompt), body.max_tokens, body.stops, tokenizer,
                ongoing.teller(place * body.candidates + candidate), adapter, body.logprobs or 0,
                id=id, choice=candidate, priority=body.priority, deadline=deadline,
                stop_ids=frozenset(body.stop_token_ids), ignore_eos=body.ignore_eos, prompt_tops=scores,
            )
            for place, prompt in enumerate(prompts)
            for candidate in range(body.candidates)
        ]  # fmt: skip
        ongoing.submit(served.scheduler, requests)
        return ongoing


async def _stream(body: CompletionBody, completion: TextCompletion, ongoing: Ongoing) -> AsyncIterator[bytes]:
    if body.echo:
        for index, candidate in enumerate(completion.candidates):
            yield event(completion.chunk(index, candidate.echoed))
    try:
        async with contextlib.aclosing(ongoing.updates()) as updates:
            async for index, update in updates:
                completion.candidates[index].text += update.text
                if update.finish_reason is not None:
                    yield event(completion.last_chunk(index, update.text))
                elif update.text:
                    yield event(completion.chunk(index, update.text))
    except JourneymanError as error:
        # The headers are gone: an error event and no [DONE] is the truth about this stream.
        yield event(error_body(error))
        return
    if body.stream_options is not None and body.stream_options.include_usage:
        yield event(completion.usage_chunk())
    yield DONE
