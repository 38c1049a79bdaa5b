"""`POST /v1/responses`: OpenAI's newer API over the same conversations, whole or streamed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman.engines.local.api.answers import EventStream, caller_id, event, read_json
from journeyman.engines.local.api.chat import ChatCall, ChatRoute
from journeyman.engines.local.api.response_body import read_response_body
from journeyman.engines.local.api.response_writer import Event, ResponseWriter
from journeyman.engines.local.api.served import ServedModel
from journeyman.engines.local.request import Update
from journeyman.errors import JourneymanError


class ResponsesRoute:
    """Answers responses of one base model and its adapters."""

    def __init__(self, served: ServedModel) -> None:
        self._chat = ChatRoute(served)

    async def answer(self, request: HTTPRequest) -> Response:
        """The route itself."""
        body = read_response_body(await read_json(request))
        call = await self._chat.start(body.chat(), caller_id(request))
        writer = ResponseWriter(body, call.ongoing.requests[0])
        if body.stream:
            return EventStream(_stream(call, writer), call.ongoing.cancel)
        watching = asyncio.create_task(call.ongoing.cancel_when_gone(request))
        try:
            async for _, update in call.ongoing.updates():
                _write(call, writer, update)
        finally:
            watching.cancel()
        return JSONResponse(writer.response(writer.status))


def _write(call: ChatCall, writer: ResponseWriter, update: Update) -> list[Event]:
    (reader,) = call.readers
    ended = update.finish_reason is not None
    piece = reader.add(update.text, last=ended)
    events = [*writer.add("reasoning", piece.thought), *writer.add("message", piece.words)]
    return [*events, *writer.end(reader.message.tool_calls or ())] if ended else events


async def _stream(call: ChatCall, writer: ResponseWriter) -> AsyncIterator[bytes]:
    for told in writer.begin():
        yield event(told, told["type"])
    try:
        async with contextlib.aclosing(call.ongoing.updates()) as updates:
            async for _, update in updates:
                for told in _write(call, writer, update):
                    yield event(told, told["type"])
    except JourneymanError as error:
        # The headers are gone: this event is the truth about the stream.
        for told in writer.fail(error):
            yield event(told, told["type"])
