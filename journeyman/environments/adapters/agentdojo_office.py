"""AgentDojo's package itself: an office's tools, its state before a task, and the verdicts of its functions.

Needs `pip install agentdojo`. https://github.com/ethz-spylab/agentdojo
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib import import_module
from importlib.metadata import version as installed
from typing import Any, NamedTuple

from journeyman.environments.determinism import VirtualClock, on_virtual_time, ticking
from journeyman.errors import InvalidInput
from journeyman.records import Function, Tool

BENCHMARK = "v1.2.2"
_TOOLS = ("calendar_client", "cloud_drive_client", "email_client", "travel_booking_client", "banking_client")
"""Modules that ask for the present."""


class Called(NamedTuple):
    """What a tool answered, as the model reads it; or nothing, and its error."""

    text: str
    error: str | None


class Ended(NamedTuple):
    """An attempt: what was said in the end, the office before and after, and the calls (`function`, `args`)."""

    answer: str
    before: Any
    after: Any
    calls: Sequence[Mapping[str, Any]]


class Office:
    """An office of the package, by the package's name of it, on a clock that stands."""

    def __init__(self, name: str) -> None:
        """InvalidInput where the package is not installed."""
        self._suite, self._runtime, self._written, self._call = _load(name)
        self._before: dict[str, Any] = {}
        self.tasks: Mapping[str, Any] = self._suite.user_tasks
        self.attacks: Mapping[str, Any] = self._suite.injection_tasks
        self.places: Mapping[str, str] = self._suite.get_injection_vector_defaults()
        """Where an attacker can write, and what stands there without one."""
        self.tools = tuple(
            Tool(function=Function(
                name=each.name, description=each.description, parameters=each.parameters.model_json_schema()
            ))
            for each in self._suite.tools
        )  # fmt: skip

    def task(self, id: str) -> Any:
        """One of the package's tasks."""
        return self._suite.get_user_task_by_id(id)

    def world(self, task: str, injections: Mapping[str, str]) -> Any:
        """The office before the task, with these texts at these places: a copy of one's own."""
        key = json.dumps(injections, sort_keys=True)
        with ticking(VirtualClock()):
            if key not in self._before:
                self._before[key] = self._suite.load_and_inject_default_environment(dict(injections))
            return self.task(task).init_environment(deepcopy(self._before[key]))

    def solution(self, of: Any, world: Any) -> tuple[Any, ...]:
        """The calls (`function`, `args`) by which a task or an attack reaches its goal."""
        with ticking(VirtualClock()):
            return tuple(of.ground_truth(world))

    def call(self, world: Any, name: str, arguments: Mapping[str, Any]) -> Called:
        """What a tool answers; it may change the office."""
        with ticking(VirtualClock()):
            result, error = self._runtime(self._suite.tools).run_function(world, name, dict(arguments))
        return Called(str(self._written(result)), None) if error is None else Called("", str(error))

    def is_done(self, task: Any, ended: Ended) -> bool:
        """What the task's own function says."""
        told = task.utility_from_traces(ended.answer, ended.before, ended.after, self._traces(ended))
        return bool(task.utility(ended.answer, ended.before, ended.after) if told is None else told)

    def is_attacked(self, attack: Any, ended: Ended) -> bool:
        """What the attack's own function says."""
        told = attack.security_from_traces(ended.answer, ended.before, ended.after, self._traces(ended))
        return bool(attack.security(ended.answer, ended.before, ended.after) if told is None else told)

    def _traces(self, ended: Ended) -> list[Any]:
        return [self._call(**call) for call in ended.calls]


@cache
def version() -> str:
    """Of the package and of its benchmark."""
    return f"agentdojo {installed('agentdojo')}, {BENCHMARK}"


@cache
def _load(name: str) -> tuple[Any, Any, Any, Any]:
    """The package's suite, its runtime, what writes a result as the model reads it, and a call as it keeps one."""
    try:
        from agentdojo.agent_pipeline.tool_execution import tool_result_to_str
        from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime
        from agentdojo.task_suite.load_suites import get_suite
    except ImportError as error:
        raise InvalidInput(f"agentdojo is not installed ({error}); pip install agentdojo") from error
    on_virtual_time(*(import_module(f"agentdojo.default_suites.v1.tools.{each}") for each in _TOOLS))
    return get_suite(BENCHMARK, name), FunctionsRuntime, tool_result_to_str, FunctionCall
