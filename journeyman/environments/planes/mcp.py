"""The agent's plane as a Model Context Protocol server: its tools, over HTTP, and nothing of the trainer's.

The protocol's streamable HTTP with plain JSON answers: https://modelcontextprotocol.io/specification. Each episode has
an address; what the protocol offers besides tools is not there.
"""

import json
from typing import Any

from journeyman import __version__
from journeyman.environments.planes.episodes import Episode
from journeyman.errors import JourneymanError
from journeyman.records import FunctionCall, Message, Tool, ToolCall

VERSIONS = ("2025-06-18", "2025-03-26", "2024-11-05")
"""Of the protocol, the newest first: of each, only what is the same in all is used."""
_NO_METHOD, _BAD_PARAMS, _BAD_REQUEST = -32601, -32602, -32600


async def answer(episode: Episode, request: Any) -> dict[str, Any] | None:
    """What to send back for one JSON-RPC message; None for a notification, which has no answer."""
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return _failed(None, _BAD_REQUEST, "one JSON-RPC request is expected")
    id, method, params = request.get("id"), request["method"], request.get("params") or {}
    if id is None:
        return None
    if method == "initialize":
        asked = params.get("protocolVersion")
        return _done(id, {
            "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": f"journeyman {episode.scenario.environment}", "version": __version__},
        })  # fmt: skip
    if method == "ping":
        return _done(id, {})
    if method == "tools/list":
        return _done(id, {"tools": [_listed(tool) for tool in episode.tools]})
    if method == "tools/call":
        return await _call(episode, id, params)
    return _failed(id, _NO_METHOD, f"{method} is not offered here; there are tools/list and tools/call")


async def _call(episode: Episode, id: Any, params: dict[str, Any]) -> dict[str, Any]:
    name, arguments = params.get("name"), params.get("arguments") or {}
    if name not in {tool.function.name for tool in episode.tools}:
        return _failed(id, _BAD_PARAMS, f"there is no tool {name}")
    function = FunctionCall(name=name, arguments=json.dumps(arguments, ensure_ascii=False))
    made = ToolCall(id=f"call_{len(episode.messages)}", function=function)
    try:
        seen = await episode.step(Message(role="assistant", content=None, tool_calls=(made,)))
    except JourneymanError as problem:
        return _done(id, {"content": [_text(str(problem))], "isError": True})
    said = [_text(message.text) for message in seen.messages]
    return _done(id, {"content": said, "isError": False})


def _listed(tool: Tool) -> dict[str, Any]:
    function = tool.function
    schema = function.parameters or {"type": "object", "properties": {}}
    return {"name": function.name, "description": function.description or "", "inputSchema": schema}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _done(id: Any, result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def _failed(id: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}
