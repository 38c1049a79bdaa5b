"""Plays a scene: an environment of somebody's own, with its user, its tools' answers or its faults staged."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Protocol, runtime_checkable

from journeyman.environments.environment import Environment, Observation
from journeyman.errors import InvalidInput
from journeyman.records import Message, Scenario, Score, ToolCall
from journeyman.records.message import tool_result, user
from journeyman.worlds.compliance.scenes import Place, Scene


@runtime_checkable
class HasState(Protocol):
    """An environment that shows the state of its system to whoever judges, never to the agent."""

    def state(self) -> Mapping[str, Any]:
        """The state as it stands now, as JSON values."""
        ...


class Stage:
    """One episode of a scene; an `Environment` around another.

    What is staged: the user's words (`lines`), text planted in the answer of a tool, a call that fails. All else is the
    inner environment's. `before` and `after` are its states, where it shows them.
    """

    def __init__(self, scene: Scene, inner: Environment) -> None:
        self.scene, self.inner = scene, inner
        self.before: dict[str, Any] | None = None
        self.after: dict[str, Any] | None = None
        self.is_planted = False
        """Whether the agent has seen what was planted."""
        self._said = 0
        self._fault = scene.fault
        self._called = 0
        """Calls so far of the tools that a fault is about."""
        self._tools: tuple[Any, ...] = ()

    async def start(self) -> Observation:
        """The inner opening, in which a scripted user has the first word."""
        opening = await self.inner.start()
        self._tools = opening.tools
        self.before = self._state()
        self.after = self.before
        if not self.scene.lines:
            return opening
        own = tuple(each for each in opening.messages if each.role in ("system", "developer"))
        self._said = 1
        return opening.model_copy(update={"messages": (*own, user(self.scene.lines[0])), "done": False})

    async def step(self, reply: Message) -> Observation:
        """The tools' answers, or what the user says next; done when a scripted user has no more lines."""
        if self.scene.lines and not reply.tool_calls:
            if self._said == len(self.scene.lines):
                return Observation(tools=self._tools, done=True)
            self._said += 1
            return Observation(messages=(user(self.scene.lines[self._said - 1]),), tools=self._tools)
        failing = self._failing(reply)
        is_done = self._fault is not None and self._fault.done
        passed = reply if failing is None or is_done else _without(reply, failing)
        observation = Observation(tools=self._tools)
        if failing is None or passed.tool_calls:
            observation = await self.inner.step(passed)
        self.after = self._state()
        if self.scene.lines:
            kept = tuple(each for each in observation.messages if each.role == "tool")
            observation = observation.model_copy(update={"messages": kept})
        if failing is not None:
            observation = _with_answer(reply, observation, failing, self._error())
        return self._plant(reply, observation)

    def fork(self, n: int) -> "Sequence[Stage]":
        """`n` independent copies."""
        twins = [copy(self) for _ in range(n)]
        for twin, inner in zip(twins, self.inner.fork(n), strict=True):
            twin.inner = inner
        return twins

    def score(self) -> tuple[Score, ...]:
        """The inner environment's, where its own user plays: a scripted one wants something else."""
        return () if self.scene.lines else tuple(self.inner.score())

    async def close(self) -> None:
        """Close the inner environment."""
        await self.inner.close()

    def _state(self) -> dict[str, Any] | None:
        # Through JSON, so that a state that is judged now is the same as one that was read back.
        return json.loads(json.dumps(self.inner.state())) if isinstance(self.inner, HasState) else None

    def _failing(self, reply: Message) -> ToolCall | None:
        """The call whose turn it is to fail, where it is among these."""
        if self._fault is None:
            return None
        meant = [call for call in reply.tool_calls or () if call.function.name in self._fault.tools]
        place = self._fault.nth - self._called - 1
        self._called += len(meant)
        return meant[place] if place < len(meant) else None

    def _error(self) -> str:
        assert self._fault is not None
        error, self._fault = self._fault.error, None
        return json.dumps({"error": error})

    def _plant(self, reply: Message, observation: Observation) -> Observation:
        planted = self.scene.planted
        if planted is None or self.is_planted:
            return observation
        named = {call.id for call in reply.tool_calls or () if call.function.name in planted.tools}
        messages = list(observation.messages)
        for place, message in enumerate(messages):
            if message.role == "tool" and message.tool_call_id in named:
                messages[place] = message.model_copy(update={"content": _with_note(message.text, planted.text)})
                self.is_planted = True
                return observation.model_copy(update={"messages": tuple(messages)})
        return observation


class ComplianceSuite:
    """The scenes of a compliance run as a suite, for whatever plays suites."""

    def __init__(self, place: Place) -> None:
        self.place, self.name = place, f"compliance:{place.name}"

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        """Scenes are made from a policy: `make_scenes` does."""
        raise InvalidInput("the scenarios of a compliance run are made from a policy pack: journeyman comply run")

    def environment(self, scenario: Scenario) -> Stage:
        """A fresh episode of that scene."""
        scene = Scene.model_validate(scenario.data)
        return Stage(scene, self.place.suite.environment(scene.inner))


def _without(reply: Message, call: ToolCall) -> Message:
    """The reply without the call that fails: what is said, and other calls, still count."""
    others = tuple(each for each in reply.tool_calls or () if each.id != call.id)
    return reply.model_copy(update={"tool_calls": others or None})


def _with_answer(reply: Message, observation: Observation, call: ToolCall, error: str) -> Observation:
    """The answers in the order of the calls, the failed one's among them."""
    answers = {each.tool_call_id: each for each in observation.messages if each.role == "tool"}
    answers[call.id] = tool_result(call.id, error)
    ordered = [answers[each.id] for each in reply.tool_calls or () if each.id in answers]
    others = [each for each in observation.messages if each.role != "tool"]
    return observation.model_copy(update={"messages": (*ordered, *others)})


def _with_note(answer: str, note: str) -> str:
    """The note as part of a tool's answer: a field of a JSON object, else a line."""
    try:
        found = json.loads(answer)
    except ValueError:
        return f"{answer}\n{note}"
    if not isinstance(found, dict):
        return f"{answer}\n{note}"
    return json.dumps({**found, "note": note}, ensure_ascii=False, separators=(",", ":"))
