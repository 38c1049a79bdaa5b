"""BFCL's questions as rows to learn from and as cases of a suite, in OpenAI's shapes."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bfcl_parts.questions import Question
from journeyman.datasets.formats import export_rows
from journeyman.records import Message, Row, Tool
from journeyman.records.message import FunctionCall, ToolCall

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
CHECKER = Path(__file__).parent / "checker.py"


def write_rows(train: Sequence[Question], validation: Sequence[Question], path: Path) -> None:
    """The rows as a file in OpenAI's fine-tuning format, each with its split."""
    parts = {"train": train, "validation": validation}
    export_rows([to_row(each, split) for split, questions in parts.items() for each in questions], path)


def to_row(question: Question, split: str) -> Row:
    """The question and its answer; what BFCL lets a caller leave out is left out."""
    return Row.model_validate({
        "messages": [*_messages(question), answer_of(question)], "tools": tools_of(question), "split": split,
        "conversation": question.id, "source": f"bfcl:{question.category}",
    })  # fmt: skip


def write_suite(held_out: Sequence[Question], folder: Path) -> None:
    """A suite of cases whose check is `checker.py`, with BFCL's functions and answers written into it."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {each.id: {"functions": each.functions, "answers": each.answers} for each in held_out}
    # In the code itself: a suite is known by the hash of its checks, so other answers are another suite.
    (folder / "checker.py").write_text(f"{CHECKER.read_text()}\n\nKNOWN.update({known!r})\n", encoding="utf-8")
    (folder / "suite.toml").write_text('name = "bfcl"\ncheck = { type = "code", file = "checker.py" }\n')
    cases = [
        {"id": each.id, "kind": each.category, "messages": [message.wire() for message in _messages(each)],
         "tools": [tool.wire() for tool in tools_of(each)]}
        for each in held_out
    ]  # fmt: skip
    lines = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
    (folder / "cases.jsonl").write_text(lines, encoding="utf-8")


def tools_of(question: Question) -> tuple[Tool, ...]:
    """The functions on offer as OpenAI's tools: JSON Schema's types, and no dots in names."""
    return tuple(
        Tool.model_validate({"type": "function", "function": {
            "name": wire_name(each["name"]), "description": each["description"],
            "parameters": _schema(each["parameters"]),
        }})
        for each in question.functions
    )  # fmt: skip


def wire_name(name: str) -> str:
    """A name as OpenAI's rule lets it be, as bfcl-eval itself writes it for such models."""
    return re.sub(r"\.", "_", name)


def answer_of(question: Question) -> Message:
    """The first of the possible values of each argument; no argument that may be absent."""
    calls = []
    for number, answer in enumerate(question.answers):
        ((name, arguments),) = answer.items()
        required = next(each["parameters"]["required"] for each in question.functions if each["name"] == name)
        written = json.dumps(_chosen(arguments, required), ensure_ascii=False, separators=(",", ":"))
        function = FunctionCall(name=wire_name(name), arguments=written)
        calls.append(ToolCall(id=f"call_{number}", function=function))
    return Message(role="assistant", content=None, tool_calls=tuple(calls))


def _chosen(arguments: dict[str, list[Any]], required: Sequence[str] = ()) -> dict[str, Any]:
    wanted = {name: values for name, values in arguments.items() if name in required or "" not in values}
    return {name: _plain(next(each for each in values if each != "")) for name, values in wanted.items()}


def _plain(value: Any) -> Any:
    """A possible value as a value: in objects each key has a list of possible ones."""
    if isinstance(value, dict):
        return _chosen(value)
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _messages(question: Question) -> list[Message]:
    return [Message.model_validate(each) for each in question.messages]


def _schema(given: Any) -> Any:
    """BFCL's parameters as JSON Schema, at every depth."""
    if isinstance(given, list):
        return [_schema(each) for each in given]
    if not isinstance(given, dict):
        return given
    return {
        key: _TYPES.get(value, value) if key == "type" and isinstance(value, str) else _schema(value)
        for key, value in given.items()
    }
