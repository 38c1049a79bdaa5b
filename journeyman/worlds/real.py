"""A world's first layer: tools that only read may be asked of the real system, where whoever runs the world allows it.

What is allowed lies in the folder that holds all worlds, and only for the world as it was then: one that came from
elsewhere starts nothing here, and of one that was built again nobody knows what its tools change.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import environ
from pathlib import Path
from typing import Any

from journeyman.environments.adapters.mcp_server import McpSession, by_command
from journeyman.environments.waiting import bounded
from journeyman.errors import InvalidInput, Refused, UpstreamFailed
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.resolver import Answer
from journeyman.worlds.transitions import error_kind, read_result
from journeyman.worlds.views import reads_only
from journeyman.worlds.world import World

LONGEST_CALL = 60.0
"""Seconds for the server's start or for an answer of a tool; the attempt is lost then, by name."""
_FILE = ".real-tools.json"


@dataclass(frozen=True)
class Allowed:
    """Tools that may be asked, the command of the MCP server that has them, and which variables of the environment it
    is given."""

    tools: tuple[str, ...]
    command: tuple[str, ...]
    variables: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """A hash of all of it: what an admission of the suite holds for."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


def allow(world: World, folder: Path, allowed: Allowed, *, reads_only_for_sure: bool = False) -> None:
    """Let the real system answer these tools of a world from now on, in place of what was allowed before.

    Refused for a tool that was seen to change anything: the world would not know what it did. Where the traces show
    answers and no state, they cannot tell, and whoever allows must be sure. InvalidInput for a tool that the world does
    not know.
    """
    if not allowed.tools or not allowed.command:
        raise InvalidInput("tools, and the command of the server that has them, are needed; nothing was allowed")
    unknown = [tool for tool in allowed.tools if tool not in world.built.shapes]
    if unknown:
        raise InvalidInput(
            f"world {world.name} has no tool {', '.join(unknown)}; it has {', '.join(sorted(world.built.shapes))}. "
            "Nothing was allowed"
        )
    changing = [tool for tool in allowed.tools if not reads_only(tool, _footprint(world, tool))]
    if changing:
        raise Refused(
            f"{', '.join(changing)} was seen to change the state, which the world could not follow, and every attempt "
            "would act on the real system. Nothing was allowed"
        )
    if world.built.outside is not None and not reads_only_for_sure:
        raise Refused(
            f"the traces of world {world.name} show answers only: they cannot tell whether {', '.join(allowed.tools)} "
            "changes anything, and every attempt would act on the real system. Nothing was allowed. Say --reads-only "
            "if you know that it changes nothing"
        )
    _keep(_kept(folder) | {world.name: {"world": world.content, **asdict(allowed)}}, folder)


def forbid(name: str, folder: Path) -> bool:
    """Take back what was allowed; whether anything was."""
    kept = _kept(folder)
    if name not in kept:
        return False
    del kept[name]
    _keep(kept, folder)
    return True


def allowed_for(world: World, folder: Path) -> Allowed | None:
    """What was allowed here; None where nothing was.

    Refused where the world was built again since. InvalidInput for a file that cannot be read.
    """
    kept = _kept(folder).get(world.name)
    if kept is None:
        return None
    try:
        content = kept.pop("world")
        found = Allowed(**{key: tuple(map(str, value)) for key, value in kept.items()})
    except (TypeError, AttributeError, LookupError) as problem:
        raise _unreadable(folder, problem) from problem
    if content != world.content:
        raise Refused(
            f"world {world.name} was built again since {', '.join(found.tools)} of {found.command[0]} were allowed, "
            "and may show now that they change something; nothing was asked. Allow them again, or: journeyman world "
            f"forbid {world.name}"
        )
    return found


class RealTools:
    """The tools that are allowed, in one episode: a server of its own, started when it is first asked."""

    def __init__(self, allowed: Allowed, longest: float = LONGEST_CALL) -> None:
        self.tools = frozenset(allowed.tools)
        self._allowed, self._longest = allowed, longest
        self._session: McpSession | None = None

    async def answer(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        """What the real tool says; UpstreamFailed when it says nothing in time, or is gone."""
        server = self._allowed.command[0]
        if self._session is None:
            given = {name: environ[name] for name in self._allowed.variables if name in environ}
            self._session = McpSession(by_command(*self._allowed.command, variables=given))
            await bounded(self._session.open(), self._longest, lambda: UpstreamFailed(
                f"the server {server} did not start within {self._longest:g} s; this attempt is lost"
            ))  # fmt: skip
        said = await bounded(self._session.call(tool, arguments), self._longest, lambda: UpstreamFailed(
            f"the real {tool} did not answer within {self._longest:g} s; this attempt is lost"
        ))  # fmt: skip
        observation = read_result(said)
        kind = error_kind(observation, arguments)
        return Answer(observation, "real", 1.0, error=kind, evidence=(f"asked of {server}",))

    def again(self) -> "RealTools":
        """The same tools for another episode, which shares no server with this one."""
        return RealTools(self._allowed, self._longest)

    async def close(self) -> None:
        """End the server, if it was started."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _kept(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / _FILE
    try:
        found: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return dict(found)
    except (ValueError, TypeError) as problem:
        raise _unreadable(folder, problem) from problem


def _keep(kept: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    path = folder / _FILE
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept), encoding="utf-8")
    partial.replace(path)


def _unreadable(folder: Path, problem: Exception) -> InvalidInput:
    return InvalidInput(f"{folder / _FILE} does not say what is allowed ({problem}); delete it, and allow it again")


def _footprint(world: World, tool: str) -> Footprint:
    return world.built.footprints.get(tool, Footprint())
