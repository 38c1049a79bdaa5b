"""The proxy that most people write: a FastAPI route, `httpx.AsyncClient`, and `StreamingResponse`.

`python naive.py URL` prints its port; `URL` is the upstream's, up to and with `/v1`. It checks nothing and keeps
nothing. It runs under an interpreter that has fastapi, httpx and uvicorn, and none of our packages.
"""

import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all calls."""
    async with httpx.AsyncClient(base_url=sys.argv[1], timeout=600) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Send the request on with the provider's key and its name of the model, and the answer back."""
    client: httpx.AsyncClient = request.app.state.client
    body = await request.json()
    body["model"] = body["model"].partition("/")[2]
    headers = {"authorization": "Bearer sk-provider"}
    if not body.get("stream"):
        answer = await client.post("/chat/completions", json=body, headers=headers)
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

    async def events() -> AsyncIterator[bytes]:
        async with client.stream("POST", "/chat/completions", json=body, headers=headers) as answer:
            async for part in answer.aiter_bytes():
                yield part

    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(json.dumps(listener.getsockname()[1]), flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        server.run(sockets=[listener])
