"""Tools of any Model Context Protocol server as an environment: a server of one's own for each episode.

Needs `pip install "mcp>=2"`. https://modelcontextprotocol.io
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import require_suite
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records import Function, FunctionCall, Message, Outcome, Scenario, Score, Tool
from journeyman.records.message import tool_result, user

Connect = Callable[[], AbstractAsyncContextManager[Any]]
"""Opens a session of the package, `mcp.ClientSession`, which is initialised."""
Judge = Callable[[Scenario, Outcome], tuple[Score, ...]]
_GONE = "the MCP server is gone"


class McpEnvironment:
    """One episode. Calls go to the server; a reply without any is the answer, and ends it."""

    def __init__(self, scenario: Scenario, connect: Connect, judge: Judge) -> None:
        self._scenario, self._connect, self._judge = scenario, connect, judge
        self._session: McpSession | None = None
        self._tools: tuple[Tool, ...] = ()
        self._calls: tuple[dict[str, Any], ...] = ()
        self._answer: str | None = None

    async def start(self) -> Observation:
        """The scenario's question, and the tools that the server lists."""
        session = await self._opened()
        listed = (await session.ask(lambda each: each.list_tools())).tools
        self._tools = tuple(
            Tool(function=Function(name=each.name, description=each.description or "", parameters=each.input_schema))
            for each in listed
        )
        return Observation(messages=(user(self._scenario.data["question"]),), tools=self._tools)

    async def step(self, reply: Message) -> Observation:
        """Make the calls, one after the other."""
        if self._answer is not None:
            raise InvalidInput("this episode is over; start a new environment for another one")
        if not reply.tool_calls:
            self._answer = reply.text
            return Observation(done=True)
        session = await self._opened()
        results = [tool_result(call.id, await self._run(session, call.function)) for call in reply.tool_calls]
        return Observation(messages=tuple(results), tools=self._tools)

    def fork(self, n: int) -> "Sequence[McpEnvironment]":
        """`n` copies, each with a server of its own, which is brought to the same state by the same calls when it is
        first needed. UpstreamFailed then, where the server answers them otherwise."""
        return [self._again() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """What the suite's judge says."""
        return self._judge(self._scenario, self.outcome())

    def outcome(self) -> Outcome:
        """The answer, and every call with what came back: a server shows no more of its state."""
        return Outcome(state={"answer": self._answer}, events=self._calls)

    async def close(self) -> None:
        """End the session, and the server with it."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(self) -> "McpSession":
        if self._session is None:
            self._session = McpSession(self._connect)
            await self._session.open()
            for made in self._calls:
                answer = await self._session.call(made["name"], made["arguments"])
                if answer != made["answer"]:
                    raise UpstreamFailed(
                        f"the server answered {made['name']} with {answer!r:.80} instead of {made['answer']!r:.80}: "
                        "its answers cannot be repeated, and an episode of it cannot be forked"
                    )
        return self._session

    async def _run(self, session: "McpSession", function: FunctionCall) -> str:
        arguments = function.read()
        if arguments is None:
            return "Error: the arguments are not a JSON object"
        answer = await session.call(function.name, arguments)
        self._calls = (*self._calls, {"name": function.name, "arguments": arguments, "answer": answer})
        return answer

    def _again(self) -> "McpEnvironment":
        twin = McpEnvironment(self._scenario, self._connect, self._judge)
        twin._tools, twin._calls, twin._answer = self._tools, self._calls, self._answer
        return twin


class McpSuite:
    """Questions to be answered with a server's tools; `judge` scores, from the calls and the answer alone."""

    def __init__(
        self, name: str, version: str, connect: Connect, judge: Judge, scenarios: Mapping[str, Sequence[Scenario]]
    ) -> None:
        """`scenarios` by split, each with a `question` in its data; `version` is the judge's."""
        self.name, self.version = name, version
        self._connect, self._judge, self._scenarios = connect, judge, scenarios

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """The first `count` of a split; they are written, so the seed changes nothing."""
        if not 1 <= count <= len(self._scenarios[split]):
            raise InvalidInput(f"{count} scenarios were asked for; {split} has {len(self._scenarios[split])}")
        return self._scenarios[split][:count]

    def environment(self, scenario: Scenario) -> McpEnvironment:
        """A fresh episode of that scenario."""
        require_suite(scenario, self.name)
        return McpEnvironment(scenario, self._connect, self.verify)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """What the judge says, under its version."""
        return tuple(
            each.model_copy(update={"version": self.version}) for each in self._judge(scenario, outcome)
        )  # fmt: skip


def by_command(command: str, *arguments: str, variables: Mapping[str, str] | None = None) -> Connect:
    """Starts the server as a program, and speaks with it over its input and output."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        mcp = _package()
        server = mcp.StdioServerParameters(command=command, args=list(arguments), env=dict(variables or {}))
        async with mcp.stdio_client(server) as (read, write), mcp.ClientSession(read, write) as session:
            await session.initialize()
            yield session

    return connect


class McpSession:
    """A session in a task of its own: the package's sessions end in the task that began them."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._asked: asyncio.Queue[tuple[Callable[[Any], Awaitable[Any]], asyncio.Future[Any]] | None] = asyncio.Queue()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._works = False

    async def open(self) -> None:
        """Connect; UpstreamFailed where nobody answers."""
        self._task = asyncio.create_task(self._serve())
        await self._opened

    async def ask(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """What a call of the session comes to."""
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        assert self._task is not None
        if self._task.done():
            raise UpstreamFailed(f"{_GONE}; this episode cannot go on")
        await self._asked.put((work, answered))
        await asyncio.wait([answered, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise UpstreamFailed(f"{_GONE} in the middle of a call; this episode cannot go on")
        return answered.result()

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The text of a tool's answer; an error is an answer, too, but not that the server is gone."""
        try:
            result = await self.ask(lambda session: session.call_tool(name, dict(arguments)))
        except _package().MCPError as problem:
            if problem.code == _package().types.CONNECTION_CLOSED:
                raise UpstreamFailed(f"{_GONE} in the middle of a call; this episode cannot go on") from problem
            return f"Error: {problem}"
        said = "\n".join(part.text for part in result.content if getattr(part, "text", None) is not None)
        return f"Error: {said}" if result.is_error else said

    async def close(self) -> None:
        """End it, and the server that it started; one that never answered is given up."""
        if self._task is not None:
            if not self._opened.done() or self._opened.cancelled() or self._works:
                self._task.cancel()
            await self._asked.put(None)
            await asyncio.wait([self._task])

    async def _serve(self) -> None:
        try:
            async with self._connect() as session:
                self._opened.set_result(None)
                while (asked := await self._asked.get()) is not None:
                    work, answered = asked
                    self._works = True
                    try:
                        answered.set_result(await work(session))
                    except Exception as problem:  # it belongs to whoever asked
                        answered.set_exception(problem)
                    self._works = False
        except Exception as problem:  # as is one of the connection
            if self._opened.done():
                raise
            self._opened.set_exception(UpstreamFailed(f"the MCP server cannot be reached: {problem!r}"))


def _package() -> Any:
    try:
        import mcp
    except ImportError as error:
        raise InvalidInput(f'mcp is not installed ({error}); pip install "mcp>=2"') from error
    return mcp
