"""Transitions of BFCL's multi-turn tasks: its own Python tools executed, their state written out before and after.

Three policies play each task: `gold` makes the task's own calls, `noisy` changes, drops and adds some of them, `random`
calls any tool of the task with values that occur in it.
"""

import ast
import copy
import importlib
import inspect
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from journeyman.worlds.transitions import Transition, error_kind

Call = tuple[str, dict[str, Any]]
POLICIES = ("gold", "noisy", "random")
_RANDOM_CALLS = 8


@dataclass(frozen=True)
class Task:
    """One task: the classes it needs, how they begin, and the calls that solve it."""

    number: int
    classes: tuple[str, ...]
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    question: tuple[str, ...]


def available() -> bool:
    """Whether bfcl-eval can be imported."""
    return importlib.util.find_spec("bfcl_eval") is not None


@cache
def tasks() -> tuple[Task, ...]:
    """The 200 base tasks, in BFCL's order."""
    root = Path(str(importlib.import_module("bfcl_eval").__file__)).parent / "data"
    name = "BFCL_v4_multi_turn_base.json"
    golden = {row["id"]: row["ground_truth"] for row in _rows(root / "possible_answer" / name)}
    found = []
    for number, row in enumerate(_rows(root / name)):
        classes = tuple(row["involved_classes"])
        instances = _instances(classes, {})
        calls = [_parsed(text, instances) for turn in golden[row["id"]] for text in turn]
        said = tuple(message["content"] for turn in row["question"] for message in turn)
        found.append(Task(number, classes, row["initial_config"], tuple(calls), said))
    return tuple(found)


def played(task: Task, policy: str, seed: int) -> list[Transition]:
    """The transitions of one policy on one task; the seed decides what a policy changes."""
    instances = _instances(task.classes, task.config)
    session = f"{policy}-{task.number}-{seed}"
    found = []
    before = snapshot(instances)
    for order, (tool, arguments) in enumerate(_calls(task, policy, seed, instances)):
        observation = execute(instances, tool, arguments)
        try:
            after = snapshot(instances)
        except RecursionError:
            # A folder was put into itself, which the real tool allows: what it is then cannot be written down.
            break
        found.append(
            Transition(
                tool, arguments, observation, session, order, error_kind(observation, arguments),
                before=before, after=after,
            )
        )  # fmt: skip
        before = after
    return found


def start(task: Task) -> dict[str, Any]:
    """The state in which a task begins."""
    return snapshot(_instances(task.classes, task.config))


def execute(instances: Mapping[str, Any], tool: str, arguments: Mapping[str, Any]) -> Any:
    """What the real tool answers, as JSON."""
    owner = next(instance for instance in instances.values() if hasattr(instance, tool))
    try:
        result = getattr(owner, tool)(**copy.deepcopy(dict(arguments)))
    except Exception as error:
        result = f"Error during execution: {error}"
    return _plain(result)


def snapshot(instances: Mapping[str, Any]) -> dict[str, Any]:
    """The state of all classes as JSON: each one's attributes; the file system as folders by path, the root's is ""."""
    return {
        name: _file_system(instance) if name == "GorillaFileSystem" else _attributes(instance)
        for name, instance in instances.items()
        if name != "MathAPI"
    }


def _calls(task: Task, policy: str, seed: int, instances: Mapping[str, Any]) -> list[Call]:
    if policy == "gold":
        return list(task.calls)
    rng = random.Random(f"{policy}/{task.number}/{seed}")
    values = [value for _, arguments in task.calls for value in arguments.values()]
    tools = [name for instance in instances.values() for name in _methods(instance)]
    if policy == "random":
        return [_made_up(rng, rng.choice(tools), values, instances) for _ in range(_RANDOM_CALLS)]
    calls: list[Call] = []
    for tool, arguments in task.calls:
        if rng.random() < 0.15:
            continue
        changed = dict(arguments)
        if changed and rng.random() < 0.2:
            name = rng.choice(sorted(changed))
            changed[name] = _like(rng, changed[name], values)
        calls += [(tool, changed)] * (2 if rng.random() < 0.1 else 1)
        if rng.random() < 0.3:
            calls.append(_made_up(rng, rng.choice(tools), values, instances))
    return calls


def _made_up(rng: random.Random, tool: str, values: Sequence[Any], instances: Mapping[str, Any]) -> Call:
    owner = next(instance for instance in instances.values() if hasattr(instance, tool))
    arguments = {}
    for name, parameter in inspect.signature(getattr(owner, tool)).parameters.items():
        if parameter.default is not inspect.Parameter.empty and rng.random() < 0.5:
            continue
        kind = parameter.annotation
        fitting = [value for value in values if kind in (type(value), inspect.Parameter.empty)]
        if kind is bool:
            arguments[name] = rng.random() < 0.5
        elif kind in (int, float):
            arguments[name] = kind(rng.choice(fitting)) if fitting else kind(rng.randrange(1, 200))
        elif kind is str or not fitting:
            words = [value for value in values if isinstance(value, str)] or ["notes"]
            arguments[name] = rng.choice(words)
        else:
            arguments[name] = rng.choice(fitting)
    return tool, arguments


def _like(rng: random.Random, value: Any, values: Sequence[Any]) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(value + rng.choice((-1, 1, 10, 100)))
    return rng.choice([other for other in values if type(other) is type(value)])


def _methods(instance: Any) -> list[str]:
    return [name for name, _ in inspect.getmembers(instance, inspect.ismethod) if not name.startswith("_")]


def _instances(classes: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    mapping = importlib.import_module("bfcl_eval.constants.executable_backend_config")
    found = {}
    for name in classes:
        instance = getattr(importlib.import_module(mapping.CLASS_FILE_PATH_MAPPING[name]), name)()
        if name not in mapping.STATELESS_CLASSES:
            instance._load_scenario(copy.deepcopy(dict(config.get(name, {}))))
        found[name] = instance
    return found


def _parsed(text: str, instances: Mapping[str, Any]) -> Call:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    tool = node.func.id if isinstance(node.func, ast.Name) else node.func.attr  # type: ignore[attr-defined]
    owner = next(instance for instance in instances.values() if hasattr(instance, tool))
    names = list(inspect.signature(getattr(owner, tool)).parameters)
    arguments = {names[place]: ast.literal_eval(value) for place, value in enumerate(node.args)}
    arguments |= {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
    return tool, _plain(arguments)


def _attributes(instance: Any) -> dict[str, Any]:
    kept = {name: value for name, value in vars(instance).items() if name not in ("_api_description", "_random")}
    plain: dict[str, Any] = _plain(kept)
    return plain


def _file_system(instance: Any) -> dict[str, Any]:
    folders: dict[str, Any] = {}

    def walk(folder: Any, path: str) -> None:
        held = folders[path] = {}
        for name, item in folder.contents.items():
            is_folder = hasattr(item, "contents")
            held[name] = {"type": "directory"} if is_folder else {"type": "file", "content": item.content}
            if is_folder:
                walk(item, f"{path}/{name}")

    walk(instance.root, "")
    return {"folders": folders, "current": _path_of(instance._current_dir, instance.root), "root": instance.root.name}


def _path_of(folder: Any, root: Any) -> str:
    parts = []
    while folder is not root and folder is not None:
        parts.append(folder.name)
        folder = folder.parent
    return "".join(f"/{part}" for part in reversed(parts))


def _plain(value: Any) -> Any:
    """A value as JSON would carry it."""
    return json.loads(json.dumps(value, default=lambda found: sorted(found) if isinstance(found, set) else str(found)))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)
