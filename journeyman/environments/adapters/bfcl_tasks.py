"""The tasks of bfcl-eval's multi-turn categories, and its APIs: read from the installed package and executed."""

import ast
import copy
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from journeyman.environments.determinism import VirtualClock, on_virtual_time, ticking
from journeyman.errors import InvalidInput
from journeyman.records import Frozen, Function, Tool

Category = Literal["base", "miss_func", "miss_param", "long_context"]
CATEGORIES: tuple[str, ...] = get_args(Category)
_SOURCE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
_CHECKER = "bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker"
_STATELESS = ("MathAPI",)
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_MODULES = {
    "GorillaFileSystem": "gorilla_file_system", "MathAPI": "math_api", "MessageAPI": "message_api",
    "TwitterAPI": "posting_api", "TicketAPI": "ticket_api", "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking", "VehicleControlAPI": "vehicle_control",
}  # fmt: skip
_TOLD_OF_MORE = "I have updated some more functions you can choose from. What about now?"
"""The package's own words when a function is added half-way (DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC)."""
_PURPOSE = re.compile(r".*Tool description:\s*", re.DOTALL)


class Call(NamedTuple):
    """A function of an API and its arguments by name."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One task: `questions` are the messages of each turn, `added` the functions that come with a turn."""

    id: str
    questions: tuple[tuple[dict[str, Any], ...], ...]
    apis: tuple[str, ...]
    config: Mapping[str, Any]
    added: Mapping[int, tuple[str, ...]]
    gold: tuple[tuple[Call, ...], ...]

    @property
    def number(self) -> int:
        """Tasks of different categories with the same number are variations of one."""
        return int(self.id.rsplit("_", 1)[1])

    @property
    def is_long(self) -> bool:
        """Whether its APIs are filled up with what distracts."""
        return "long_context" in self.id


class ToolStyle(Frozen):
    """How much of a function's documentation an agent is shown: `short` is one sentence, and types of arguments."""

    descriptions: Literal["full", "short"] = "full"


@cache
def read_tasks(category: str) -> dict[str, Task]:
    """Every task of a category by id; InvalidInput when the package is not installed."""
    name = f"BFCL_v4_multi_turn_{category}.json"
    gold = {line["id"]: line["ground_truth"] for line in _lines(f"possible_answer/{name}")}
    return {entry["id"]: _task(entry, gold[entry["id"]]) for entry in _lines(name)}


@cache
def tools_of(api: str, descriptions: str) -> dict[str, Tool]:
    """The functions of an API by name, as tools."""
    found = {}
    for line in _lines(f"multi_turn_func_doc/{_doc(api)}"):
        parameters = _schema(line["parameters"], descriptions)
        purpose = _PURPOSE.sub("", line["description"])
        text = purpose if descriptions == "full" else purpose.split(". ")[0]
        found[line["name"]] = Tool(function=Function(name=line["name"], description=text, parameters=parameters))
    return found


def version() -> str:
    """The package's version: tasks and checker come with it."""
    from importlib.metadata import version as installed

    return installed("bfcl-eval")


class Apis:
    """The APIs of one task in the state that calls have brought them to."""

    def __init__(self, task: Task) -> None:
        self._instances: dict[str, Any] = {}
        with on_frozen_time():
            for api in task.apis:
                instance = getattr(_module(api), api)()
                if api not in _STATELESS:
                    instance._load_scenario(copy.deepcopy(task.config.get(api, {})), long_context=task.is_long)
                self._instances[api] = instance

    def call(self, call: Call) -> str:
        """What the function answers, in the package's words also where it fails; it may change the state."""
        method = self._method(call.name)
        if method is None:
            return f"Error during execution: name '{call.name}' is not defined"
        try:
            with on_frozen_time():
                # Some functions keep what they are given, and change it later.
                result = method(**copy.deepcopy(call.arguments))
            return result if isinstance(result, str) else _dumped(result)
        except Exception as error:
            return f"Error during execution: {error}"

    def state(self) -> dict[str, Any]:
        """Every public attribute of every API, and the folder where the file system stands, as JSON."""
        return {api: _state(instance) for api, instance in self._instances.items()}

    def fork(self) -> "Apis":
        """An independent copy."""
        twin = copy.copy(self)
        twin._instances = copy.deepcopy(self._instances)
        return twin

    def differs_from(self, other: "Apis") -> str:
        """By the package's own comparison, what differs from another state; empty when nothing does."""
        found = checker().state_checker(self._instances, other._instances)
        return "" if found["valid"] else f"{found['error_message']} {sorted(found['details']['differences'])}"

    def _method(self, name: str) -> Any:
        for api in reversed(self._instances):  # as in the package, a later API hides an earlier one's function
            if name in tools_of(api, "full"):
                return getattr(self._instances[api], name, None)
        return None


@contextmanager
def on_frozen_time() -> Iterator[None]:
    """The APIs ask for the present here and there; a task is the same on every day."""
    with ticking(VirtualClock()):
        yield


def checker() -> Any:
    """The package's module that compares states and answers."""
    return importlib.import_module(_CHECKER)


def plain(value: Any) -> Any:
    """A value as JSON; files and folders as the package's task files write them."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=str)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if type(value).__name__ == "File":
        return {"type": "file", "content": value.content}
    if type(value).__name__ == "Directory":
        return {"type": "directory", "contents": plain(value.contents)}
    return str(value)


def _state(instance: Any) -> dict[str, Any]:
    shown = {name: plain(value) for name, value in vars(instance).items() if not name.startswith("_")}
    if hasattr(instance, "_current_dir"):
        shown |= {"root": {instance.root.name: plain(instance.root)}, "_current_dir": _path(instance._current_dir)}
    return shown


def _path(folder: Any) -> str:
    return "" if folder is None else f"{_path(folder.parent)}/{folder.name}"


def _dumped(result: Any) -> str:
    if isinstance(result, dict):
        try:
            return json.dumps(result)
        except TypeError:
            return str(result)
    return str(result)


def _task(entry: Mapping[str, Any], gold: list[list[str]]) -> Task:
    added = {int(turn): tuple(names) for turn, names in entry.get("missed_function", {}).items()}
    questions = [tuple(turn) if turn else ({"role": "user", "content": _TOLD_OF_MORE},) for turn in entry["question"]]
    calls = tuple(tuple(_call(text, entry["involved_classes"]) for text in turn) for turn in gold)
    return Task(entry["id"], tuple(questions), tuple(entry["involved_classes"]), entry["initial_config"], added, calls)


def _call(text: str, apis: list[str]) -> Call:
    """A call as the package writes it, with every argument by its name."""
    node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise InvalidInput(f"bfcl-eval has a gold call that is no plain call: {text}; is its version newer?")
    places = [ast.literal_eval(each) for each in node.args]
    names = {each.arg: ast.literal_eval(each.value) for each in node.keywords if each.arg is not None}
    owner = next(api for api in reversed(apis) if node.func.id in tools_of(api, "full"))
    order = list(inspect.signature(getattr(getattr(_module(owner), owner), node.func.id)).parameters)
    return Call(node.func.id, dict(zip(order[1:], places, strict=False)) | names)


def _schema(given: Mapping[str, Any], descriptions: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in given.items():
        if name == "type":
            made.update({} if value == "any" else {"type": _TYPES.get(value, value)})
        elif name == "properties":
            made[name] = {key: _schema(each, descriptions) for key, each in value.items()}
        elif name == "items":
            made[name] = _schema(value, descriptions)
        elif descriptions == "full" or name in ("required", "enum"):
            made[name] = value
    return made


def _lines(name: str) -> list[dict[str, Any]]:
    text = (_package() / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _doc(api: str) -> str:
    return f"{_MODULES[api]}.json"


@cache
def _module(api: str) -> Any:
    _package()
    module = importlib.import_module(f"{_SOURCE}.{_MODULES[api]}")
    on_virtual_time(module)
    return module


def _package() -> Path:
    try:
        import bfcl_eval
        import mpmath  # noqa: F401, MathAPI computes with it
    except ImportError as error:
        raise InvalidInput(
            f"bfcl-eval is not installed ({error}): pip install --no-deps bfcl-eval && pip install mpmath. With its "
            "dependencies it takes 2 GB, and none of them is needed here"
        ) from error
    return Path(bfcl_eval.__file__).parent
