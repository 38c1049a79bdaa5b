"""Multi-turn tasks of the Berkeley Function Calling Leaderboard: Python APIs for files, trading, travel, tickets.

Needs `pip install --no-deps bfcl-eval && pip install mpmath`. https://github.com/ShishirPatil/gorilla
"""

import json
import random
from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from journeyman.engines.scripted import Script
from journeyman.environments.adapters.bfcl_tasks import (
    CATEGORIES,
    Apis,
    Call,
    Category,
    Task,
    ToolStyle,
    checker,
    read_tasks,
    tools_of,
    version,
)
from journeyman.environments.environment import Observation
from journeyman.environments.tasks.drawing import digest, require_split, require_suite
from journeyman.environments.verifying import stamped
from journeyman.errors import InvalidInput
from journeyman.records import FunctionCall, Message, Outcome, Scenario, Score, Tool, ToolCall
from journeyman.records.message import assistant, tool_result

_BY = "bfcl-eval"
_HELD_OUT_IN = 4
"""One task in so many is kept for held-out scenarios, with all its variations."""
_REVISION = 1
"""Of our part of the verdict; the package's own version stands before it."""


class BFCLSettings(ToolStyle):
    """Which category. An attempt that makes more than `max_steps` calls of the model in a turn is over, as in the
    package."""

    category: Category = "base"
    max_steps: int = Field(20, ge=2)


class BFCLEnvironment:
    """One task. Tool calls are executed at once; a reply without any hands over to the user's next turn."""

    def __init__(self, scenario: Scenario, task: Task, settings: BFCLSettings) -> None:
        self.scenario, self.task, self._settings = scenario, task, settings
        self.apis = Apis(task)
        self._events: tuple[dict[str, Any], ...] = ()
        self._turn = self._steps = 0
        self._is_done = False

    async def start(self) -> Observation:
        """The first turn's words, and the functions that are on offer so far."""
        return self._next_turn(0)

    async def step(self, reply: Message) -> Observation:
        """Execute the calls in order; without any, the user's next turn."""
        if self._is_done:
            raise InvalidInput("this episode is over; start a new environment for another one")
        self._steps += 1
        if not reply.tool_calls:
            self._log(said=reply.text)
            return self._next_turn(self._turn + 1)
        results = tuple(tool_result(call.id, self._run(call.function)) for call in reply.tool_calls)
        self._is_done = self._steps >= self._settings.max_steps
        return Observation(messages=results, tools=self.tools(), done=self._is_done)

    def fork(self, n: int) -> "Sequence[BFCLEnvironment]":
        """`n` independent copies, by a deep copy of the APIs."""
        return [self._copy() for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        """`success` as the package judges, `reward`: the share of the turns that were right until one was not."""
        return stamped(verify(self.task, self.outcome()), verifier_version())

    async def close(self) -> None:
        """There is nothing to release."""

    def outcome(self) -> Outcome:
        """The public state of every API, and every call by turn with its answer."""
        return Outcome(state=self.apis.state(), events=self._events)

    def tools(self) -> tuple[Tool, ...]:
        """The functions on offer in this turn: some tasks keep one back until later."""
        late = {name for turn, names in self.task.added.items() if turn > self._turn for name in names}
        offered = [tools_of(api, self._settings.descriptions) for api in self.task.apis]
        return tuple(tool for tools in offered for name, tool in tools.items() if name not in late)

    def _next_turn(self, turn: int) -> Observation:
        self._turn, self._steps = turn, 0
        if turn >= len(self.task.questions):
            self._is_done = True
            return Observation(done=True)
        asked = tuple(Message.model_validate(message) for message in self.task.questions[turn])
        return Observation(messages=asked, tools=self.tools())

    def _run(self, function: FunctionCall) -> str:
        arguments = function.read()
        if arguments is None:
            # As in the package, what cannot be read is no call: it is told, and judged as if it had not been made.
            self._log(unread=function.arguments)
            return "Error during execution: the arguments are not a JSON object"
        answer = self.apis.call(Call(function.name, arguments))
        self._log(name=function.name, arguments=arguments, answer=answer)
        return answer

    def _log(self, **what: Any) -> None:
        self._events = (*self._events, {"turn": self._turn, "step": self._steps, **what})

    def _copy(self) -> "BFCLEnvironment":
        twin = copy(self)
        twin.apis = self.apis.fork()
        return twin


class BFCLSuite:
    """A category of tasks. Variations of one task in other categories are held out, or trained on, together."""

    def __init__(self, settings: BFCLSettings = BFCLSettings()) -> None:
        self.settings, self.name = settings, f"bfcl-{settings.category}"
        self._tasks = read_tasks(settings.category)
        self.version = verifier_version()

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """`count` tasks of `split`, drawn without repeating any; the same seed gives the same ones."""
        require_split(split)
        tasks = [task for task in self._tasks.values() if _is_held_out(task) == (split == "held-out")]
        if not 1 <= count <= len(tasks):
            raise InvalidInput(f"{count} scenarios were asked for; the {split} tasks of {self.name} are {len(tasks)}")
        drawn = random.Random(f"{self.name}/{split}/{seed}").sample(tasks, count)
        return [self.scenario(task) for task in drawn]

    def scenario(self, task: Task) -> Scenario:
        """The scenario of one task; its gold calls stay in the package, where no agent's program is shown them."""
        settings = self.settings.model_dump()
        return Scenario(
            id=f"{task.id}-{digest(settings)}",
            at=datetime(2026, 1, 1, tzinfo=UTC), environment=self.name, kind="+".join(sorted(task.apis)),
            data={"task": task.id, "settings": settings},
        )  # fmt: skip

    def environment(self, scenario: Scenario) -> BFCLEnvironment:
        """A fresh episode of that scenario."""
        return BFCLEnvironment(scenario, self._task(scenario), self.settings)

    def verify(self, scenario: Scenario, outcome: Outcome) -> tuple[Score, ...]:
        """As `verify` below."""
        return verify(self._task(scenario), outcome)

    def gold(self, scenario: Scenario) -> Script:
        """A player that makes the package's gold calls, one at a time where a turn lasts so long."""
        return _player(self._task(scenario).gold, self.settings.max_steps - 1)

    def other_paths(self, scenario: Scenario) -> Sequence[Script]:
        """Gold with every call that only looks made twice, and gold with each turn's calls in one reply."""
        task = self._task(scenario)
        return (_player(_looking_twice(task), self.settings.max_steps - 1), _player(task.gold, 1))

    def _task(self, scenario: Scenario) -> Task:
        require_suite(scenario, self.name)
        return self._tasks[scenario.data["task"]]


def bfcl_suite(category: str) -> BFCLSuite:
    """The suite of a category, for `bfcl/CATEGORY`."""
    if category not in CATEGORIES:
        raise InvalidInput(f"bfcl has no category {category!r}; it has: {', '.join(CATEGORIES)}")
    return BFCLSuite(BFCLSettings.model_validate({"category": category}))


def verifier_version() -> str:
    """The package's version, which brings tasks and checker, and ours."""
    return f"bfcl-eval {version()}/{_REVISION}"


def verify(task: Task, outcome: Outcome) -> tuple[Score, ...]:
    """`success` and `reward` of an episode, by the package's rules and its comparisons.

    After each turn the state must be that of the gold calls, and their answers must be among those that the agent has
    had. The calls are executed again for it: a log that does not lead to the state it came with is worth nothing.
    """
    theirs, ours, answers = Apis(task), Apis(task), list[str]()
    right, fault = 0, ""
    said = sum("said" in event for event in outcome.events)
    for turn, gold in enumerate(task.gold):
        calls = [event for event in outcome.events if event["turn"] == turn and "name" in event]
        answers += [ours.call(Call(event["name"], event["arguments"])) for event in calls]
        wanted = [theirs.call(call) for call in gold]
        if not fault:
            fault = _fault(turn, calls, wanted, answers, ours, theirs)
            right += not fault
    if not fault and said < len(task.gold):
        fault = f"only {said} of {len(task.gold)} turns were finished"
    if ours.state() != outcome.state:
        right, fault = 0, "the logged calls do not lead to the state that the episode ended in"
    scores = {"success": float(not fault), "reward": right / len(task.gold)}
    return tuple(Score(name=name, value=value, reason=fault, by=_BY) for name, value in scores.items())


def _fault(turn: int, calls: Sequence[object], wanted: list[str], answers: list[str], ours: Apis, theirs: Apis) -> str:
    if not wanted:
        return ""
    if not calls:
        return f"no call in turn {turn}"
    difference = ours.differs_from(theirs)
    if difference:
        return f"turn {turn}: {difference}"
    found = checker().response_checker(answers, wanted, turn)
    return "" if found["valid"] else f"turn {turn}: an answer is missing that the task needs"


def _is_held_out(task: Task) -> bool:
    return int(digest(["bfcl", task.number]), 16) % _HELD_OUT_IN == 0


def _player(turns: Sequence[Sequence[Call]], replies: int) -> Script:
    """Makes each turn's calls in at most so many replies, then says that it is done."""

    def act(messages: Sequence[Message], tools: Sequence[Tool]) -> Message:
        mine = [message for message in messages if message.role == "assistant"]
        turn = sum(not message.tool_calls for message in mine)
        since = max((place for place, each in enumerate(mine) if not each.tool_calls), default=-1)
        made = sum(len(each.tool_calls or ()) for each in mine[since + 1 :])
        calls = turns[turn] if turn < len(turns) else ()
        if made == len(calls):
            return assistant("Done.")
        return _calling(calls[made : made + -(-len(calls) // max(replies, 1))], turn, made)

    return act


def _calling(calls: Sequence[Call], turn: int, made: int) -> Message:
    written = tuple(
        ToolCall(
            id=f"call_{turn}_{made + place}",
            function=FunctionCall(name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False)),
        )
        for place, call in enumerate(calls)
    )
    return Message(role="assistant", content=None, tool_calls=written)


def _looking_twice(task: Task) -> list[list[Call]]:
    apis, turns = Apis(task), list[list[Call]]()
    for turn in task.gold:
        calls = list[Call]()
        for call in turn:
            before = apis.state()
            apis.call(call)
            calls += [call, call] if apis.state() == before else [call]
        turns.append(calls)
    return turns
