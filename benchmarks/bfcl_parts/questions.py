"""BFCL's single-turn questions as they lie in the package, and which of them share a function."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from bfcl_parts.likeness import TfIdf

PACKAGE = "bfcl-eval"
VERSION = "2026.3.23"
CATEGORIES = ("simple_python", "multiple", "live_simple")
LIKE = 0.6
"""Cosine of two functions' names, descriptions and parameters from which on they are taken for one."""


class Question(NamedTuple):
    """One question: the functions on offer as BFCL writes them, and the calls that answer it, each value a list."""

    id: str
    category: str
    messages: list[dict[str, Any]]
    functions: list[dict[str, Any]]
    answers: list[dict[str, dict[str, list[Any]]]]


def find_package(given: Path | None) -> Path:
    """The folder that holds the package `bfcl_eval`: the given one, $JOURNEYMAN_BFCL_PATH, or where it is installed."""
    named = given or (Path(os.environ["JOURNEYMAN_BFCL_PATH"]) if "JOURNEYMAN_BFCL_PATH" in os.environ else None)
    if named is None:
        try:
            named = Path(str(distribution(PACKAGE).locate_file("")))
        except PackageNotFoundError:
            named = Path("bfcl")
    if not (named / "bfcl_eval" / "data").is_dir():
        raise SystemExit(
            f"{named} holds no bfcl_eval: `pip install --no-deps --target bfcl {PACKAGE}=={VERSION}`, then name the "
            "folder with --bfcl or JOURNEYMAN_BFCL_PATH"
        )
    return named


def load_questions(package: Path, categories: Sequence[str] = CATEGORIES) -> list[Question]:
    """All questions of the categories that some call answers; BFCL has a few where no value is possible."""
    data, found = package / "bfcl_eval" / "data", []
    for category in categories:
        asked = _lines(data / f"BFCL_v4_{category}.json")
        answered = {
            each["id"]: each["ground_truth"] for each in _lines(data / "possible_answer" / f"BFCL_v4_{category}.json")
        }
        for each in asked:
            (turn,) = each["question"]
            if not _is_impossible(answered[each["id"]]):
                found.append(Question(each["id"], category, turn, each["function"], answered[each["id"]]))
    return found


def groups(questions: Sequence[Question], like: float = LIKE) -> list[int]:
    """For each question the number of its group; questions of two groups offer no function that is the same.

    The same is a function with the same name but for case and punctuation, or one whose name, description and
    parameters are at least `like` alike.
    """
    owners: dict[str, list[int]] = defaultdict(list)
    texts: dict[str, str] = {}
    for number, question in enumerate(questions):
        for function in question.functions:
            name = plain_name(function["name"])
            owners[name].append(number)
            texts.setdefault(name, _text(function))
    joined = _Joined(len(questions))
    for numbers in owners.values():
        joined.join(numbers)
    names, model = list(texts), TfIdf(list(texts.values()))
    alike = model.vectors @ model.vectors.T >= like
    for first, second in zip(*alike.nonzero(), strict=True):
        joined.join([owners[names[first]][0], owners[names[second]][0]])
    return [joined.root(number) for number in range(len(questions))]


def plain_name(name: str) -> str:
    """A function's name without what only tells two spellings apart."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


class _Joined:
    """Which of so many things are connected (union-find)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def root(self, one: int) -> int:
        while self._above[one] != one:
            self._above[one] = self._above[self._above[one]]
            one = self._above[one]
        return one

    def join(self, some: Sequence[int]) -> None:
        for other in some[1:]:
            self._above[self.root(other)] = self.root(some[0])


def _is_impossible(answers: Any) -> bool:
    if isinstance(answers, dict):
        return any(values == [] or _is_impossible(values) for values in answers.values())
    return isinstance(answers, list) and any(_is_impossible(each) for each in answers)


def _text(function: dict[str, Any]) -> str:
    parameters = " ".join(function["parameters"]["properties"])
    return f"{function['name']} {function['description']} {parameters}"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
