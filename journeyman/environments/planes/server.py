"""Serves a suite over HTTP on two planes that share nothing but the episodes.

The agent's plane, under the episode's own token: `/agent/ID/mcp`, its tools by MCP, and `/agent/ID/messages`, what it
was told and what it says. The control plane, under the control token: start, step, fork, score, close. An agent's
process is given its address and token, and nothing that opens the other plane.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from journeyman.environments.environment import Suite
from journeyman.environments.planes.episodes import Episode, Episodes, told
from journeyman.environments.planes.mcp import answer
from journeyman.errors import InvalidInput, JourneymanError, PortInUse
from journeyman.records import Message, Scenario
from journeyman.records.message import assistant

_MOST_BYTES = 4 << 20
_SHORTEST_TOKEN = 16
_DENIED = "this token opens nothing here"
Handler = Callable[[Request], Awaitable[Response]]


def planes(suite: Suite, control_token: str) -> Starlette:
    """The application; InvalidInput for a control token that could be guessed."""
    if len(control_token) < _SHORTEST_TOKEN:
        raise InvalidInput(f"the control token has {len(control_token)} characters; at least {_SHORTEST_TOKEN}")
    served = _Served(Episodes(suite))
    control, agent = partial(_controlled, control_token), partial(_by_agent, served.episodes)
    return Starlette(routes=[
        Route("/control/episodes", control(served.start), methods=["POST"]),
        Route("/control/episodes/{id}", control(served.judged), methods=["GET"]),
        Route("/control/episodes/{id}", control(served.close), methods=["DELETE"]),
        Route("/control/episodes/{id}/step", control(served.step), methods=["POST"]),
        Route("/control/episodes/{id}/fork", control(served.fork), methods=["POST"]),
        Route("/agent/{id}/messages", agent(_messages), methods=["GET"]),
        Route("/agent/{id}/messages", agent(_say), methods=["POST"]),
        Route("/agent/{id}/mcp", agent(_mcp), methods=["POST"]),
    ])  # fmt: skip


@asynccontextmanager
async def serving(app: Starlette, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """While inside, the application answers at this address; PortInUse where somebody else does."""
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                await task
                raise PortInUse(f"nothing could be served at {host}:{port}; choose another --port")
            await asyncio.sleep(0.01)
        yield f"http://{host}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait([task])


def control_token_in(file: Path) -> str:
    """The token in a file that only its owner may read, which is made when it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32) + "\n")
    if file.stat().st_mode & 0o077:
        raise InvalidInput(f"{file} can be read by others, agents among them: chmod 600 {file}")
    return file.read_text().strip()


class _Served:
    """The control plane's requests."""

    def __init__(self, episodes: Episodes) -> None:
        self.episodes = episodes

    async def start(self, request: Request) -> Response:
        """A new episode of the scenario in the body."""
        episode, opening = await self.episodes.start(Scenario.model_validate(await _body(request)))
        return JSONResponse(_opened(episode) | {"observation": told(opening)})

    async def step(self, request: Request) -> Response:
        """One step with the message in the body, as a rollout in the trainer makes it."""
        episode = self.episodes.get(request.path_params["id"])
        return JSONResponse(told(await episode.step(Message.model_validate(await _body(request)))))

    async def fork(self, request: Request) -> Response:
        """`n` copies."""
        body = await _body(request)
        made = await self.episodes.fork(request.path_params["id"], int(body["n"]))
        return JSONResponse({"episodes": [_opened(episode) for episode in made]})

    async def judged(self, request: Request) -> Response:
        """Scores and outcome."""
        return JSONResponse(self.episodes.get(request.path_params["id"]).judged())

    async def close(self, request: Request) -> Response:
        """End it."""
        await self.episodes.close(request.path_params["id"])
        return JSONResponse({"closed": True})


def _opened(episode: Episode) -> dict[str, Any]:
    return {"id": episode.id, "agent": f"/agent/{episode.id}", "agent_token": episode.token}


async def _messages(request: Request, episode: Episode) -> Response:
    """All that the agent has seen and said."""
    return JSONResponse({
        "messages": [message.wire() for message in episode.messages],
        "tools": [tool.wire() for tool in episode.tools], "done": episode.is_done,
    })  # fmt: skip


async def _say(request: Request, episode: Episode) -> Response:
    """The agent's words, and what they are answered."""
    body = await _body(request)
    seen = await episode.step(assistant(str(body["text"])))
    return JSONResponse({"messages": [message.wire() for message in seen.messages], "done": seen.done})


async def _mcp(request: Request, episode: Episode) -> Response:
    found = await answer(episode, await _body(request))
    return Response(status_code=202) if found is None else JSONResponse(found)


def _controlled(token: str, handler: Handler) -> Handler:
    async def checked(request: Request) -> Response:
        if not hmac.compare_digest(_bearer(request).encode(), token.encode()):
            return JSONResponse({"error": _DENIED}, status_code=401)
        return await _answered(handler(request))

    return checked


def _by_agent(episodes: Episodes, handler: Callable[[Request, Episode], Awaitable[Response]]) -> Handler:
    async def checked(request: Request) -> Response:
        episode = episodes.of_agent(request.path_params["id"], _bearer(request))
        if episode is None:
            return JSONResponse({"error": _DENIED}, status_code=401)
        return await _answered(handler(request, episode))

    return checked


async def _answered(work: Awaitable[Response]) -> Response:
    """A request is one of the places where errors are caught."""
    try:
        return await work
    except JourneymanError as problem:
        return JSONResponse({"error": str(problem), "kind": type(problem).__name__}, status_code=problem.status)
    except (ValidationError, ValueError, KeyError, TypeError) as problem:
        said = f"{type(problem).__name__}: {problem}"[:500]
        return JSONResponse({"error": said, "kind": "InvalidInput"}, status_code=400)


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else ""


async def _body(request: Request) -> Any:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise InvalidInput(f"the body is larger than {_MOST_BYTES} bytes")
    return json.loads(body)
