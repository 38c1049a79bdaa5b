"""What a case expects of an answer, as it is written in a suite's file, and how it is checked.

Every check tells why it failed. A check that cannot be carried out (a judge that does not answer, code that raises)
is an error of the case, not a verdict.
"""

import hashlib
import importlib
import importlib.util
import json
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from journeyman.errors import InvalidInput
from journeyman.records import Message
from journeyman.rewards.judge import Judge

Outcome = tuple[bool, str]
"""Whether it holds, and why not."""

_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")


class _Check(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exact(_Check):
    """The answer's words are these, but for space at both ends; one of several is enough."""

    type: Literal["exact"]
    answer: str | list[str]
    ignore_case: bool = False

    def holds(self, reply: Message) -> Outcome:
        """Whether the answer is one of the expected."""
        wanted = [self.answer] if isinstance(self.answer, str) else self.answer
        plain: Callable[[str], str] = str.casefold if self.ignore_case else str
        is_one = plain(reply.text.strip()) in [plain(each.strip()) for each in wanted]
        return is_one, f"expected {' or '.join(map(repr, wanted))}, got {_short(reply.text)}"


class Regex(_Check):
    """A regular expression is found in the answer (or, with `absent`, is not)."""

    type: Literal["regex"]
    pattern: str
    absent: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as problem:
            raise ValueError(f"{pattern!r} is no regular expression: {problem}") from problem
        return pattern

    def holds(self, reply: Message) -> Outcome:
        """Whether it is found where it should be, and only there."""
        found = re.search(self.pattern, reply.text) is not None
        return found != self.absent, f"{self.pattern!r} was {'' if found else 'not '}found in {_short(reply.text)}"


class Numeric(_Check):
    """The last number in the answer is this one, within an absolute or a relative tolerance."""

    type: Literal["numeric"]
    answer: float
    tolerance: float = Field(0.0, ge=0)
    relative: float = Field(0.0, ge=0)

    def holds(self, reply: Message) -> Outcome:
        """Whether the number is close enough; a last sentence's full stop is no part of it."""
        numbers = [each for each in _NUMBER.findall(reply.text) if any(map(str.isdigit, each))]
        if not numbers:
            return False, f"no number in {_short(reply.text)}"
        got = float(numbers[-1].replace(",", "").replace("−", "-"))
        close = math.isclose(got, self.answer, abs_tol=self.tolerance, rel_tol=self.relative)
        return close, f"expected {self.answer:g}, got {numbers[-1]}"


class JsonSchema(_Check):
    """The answer is JSON that fits a JSON Schema; a code fence around it is allowed for."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")

    def holds(self, reply: Message) -> Outcome:
        """Whether it fits; the reason names the place that does not."""
        text = re.sub(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", r"\1", reply.text, flags=re.DOTALL)
        try:
            value = json.loads(text)
        except ValueError as problem:
            return False, f"no JSON ({problem}): {_short(reply.text)}"
        wrong = next(iter(_validator(self.schema_).iter_errors(value)), None)
        return wrong is None, "" if wrong is None else f"{wrong.json_path}: {wrong.message}"


class ExpectedCall(_Check):
    """A call to a tool; `arguments` are compared as values, and only those that are given where `others` is true."""

    name: str
    arguments: dict[str, Any] = {}
    others: bool = False

    def fits(self, name: str, arguments: Any) -> bool:
        """Whether a call is this one."""
        if name != self.name or not isinstance(arguments, dict):
            return False
        if self.others:
            arguments = {key: value for key, value in arguments.items() if key in self.arguments}
        return bool(arguments == self.arguments)


class ToolCalls(_Check):
    """The answer calls these tools and no others, in any order unless `in_order`; an empty list: none."""

    type: Literal["tool_calls"]
    calls: list[ExpectedCall]
    in_order: bool = False

    def holds(self, reply: Message) -> Outcome:
        """Whether each call has its match."""
        made = [(each.function.name, _parsed(each.function.arguments)) for each in reply.tool_calls or ()]
        told = (
            ", ".join(f"{name}({json.dumps(arguments)})" for name, arguments in made) or f"none: {_short(reply.text)}"
        )
        if len(made) != len(self.calls):
            return False, f"expected {len(self.calls)} tool calls, got {told}"
        if self.in_order:
            matched = all(wanted.fits(*each) for wanted, each in zip(self.calls, made, strict=True))
        else:
            matched = _all_matched(self.calls, made)
        wanted = ", ".join(f"{each.name}({json.dumps(each.arguments)})" for each in self.calls)
        return matched, f"expected {wanted}, got {told}"


class Code(_Check):
    """A function in a Python file beside the suite: `check(reply, case)` returns whether the answer is right.

    It may return `(holds, reason)`. `reply` is a Message, `case` the case as it was written, as a dictionary. The file
    runs in this process with your rights: use suites that you trust.
    """

    type: Literal["code"]
    file: str
    function: str = "check"

    def load(self, folder: Path) -> tuple[Callable[[Message, dict[str, Any]], object], str]:
        """The function, and the hash of the file that it stands in."""
        path = folder / self.file
        try:
            source = path.read_bytes()
        except OSError as problem:
            raise InvalidInput(
                f"the check's code {path} cannot be read ({problem.strerror}); nothing was evaluated"
            ) from problem
        digest = hashlib.sha256(source).hexdigest()[:12]
        return _function(path, self.function, digest), digest


class Judged(_Check):
    """A judge model decides by a rubric, beside a reference answer where there is one."""

    type: Literal["judge"]
    rubric: str = Field(min_length=1)
    reference: str | None = None


Check = Annotated[
    Exact | Regex | Numeric | JsonSchema | ToolCalls | Code | Judged,
    Field(discriminator="type"),
]


async def run_check(
    check: Check,
    reply: Message,
    conversation: Sequence[Message],
    case: dict[str, Any],
    folder: Path,
    judge: Judge | None,
) -> Outcome:
    """Whether `reply` to `conversation` passes; InvalidInput when there is no judge for a check that needs one."""
    if isinstance(check, Judged):
        if judge is None:
            raise InvalidInput("a check asks for a judge, and none was named; give --judge MODEL")
        verdict = await judge.grade(conversation, reply, check.rubric, check.reference)
        return verdict.word == "pass", verdict.reason
    if isinstance(check, Code):
        function, _ = check.load(folder)
        return _outcome(function(reply, case), check)
    return check.holds(reply)


def _outcome(found: object, check: Code) -> Outcome:
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], bool):
        return found[0], str(found[1])
    if isinstance(found, bool):
        return found, f"{check.function} in {check.file} says no"
    raise InvalidInput(f"{check.function} in {check.file} returned {found!r}; it must return a bool, or (bool, reason)")


def _validator(schema: dict[str, Any]) -> Any:
    try:
        jsonschema: Any = importlib.import_module("jsonschema")
    except ImportError as problem:
        raise InvalidInput(
            "a check with a JSON Schema needs the package jsonschema: pip install jsonschema. Nothing was evaluated"
        ) from problem
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as problem:
        raise InvalidInput(f"a check's JSON Schema is not valid: {problem.message}; nothing was evaluated") from problem
    return kind(schema)


def prepare(check: Check, folder: Path) -> dict[str, Any]:
    """Find out now what would fail later, and return the check as data that identifies it, code by its hash."""
    data: dict[str, Any] = check.model_dump(mode="json", by_alias=True, exclude_defaults=False)
    if isinstance(check, Code):
        data["sha256"] = check.load(folder)[1]
    if isinstance(check, JsonSchema):
        _validator(check.schema_)
    return data


@lru_cache(maxsize=64)
def _function(path: Path, name: str, digest: str) -> Callable[[Message, dict[str, Any]], object]:
    """The function in that file, which is run once for each of its contents."""
    spec = importlib.util.spec_from_file_location(f"journeyman_check_{digest}", path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{path} is no Python file; a check's code ends with .py. Nothing was evaluated")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found: Callable[[Message, dict[str, Any]], object] = getattr(module, name)
    except Exception as problem:
        raise InvalidInput(
            f"the check's code {path} cannot be used ({type(problem).__name__}: {problem}); nothing was evaluated"
        ) from problem
    return found


def _all_matched(wanted: Sequence[ExpectedCall], made: Sequence[tuple[str, Any]]) -> bool:
    """Whether each call can be given an expected one of its own; expectations may overlap, so it is searched."""
    if not wanted:
        return True
    return any(
        wanted[0].fits(*each) and _all_matched(wanted[1:], [*made[:at], *made[at + 1 :]])
        for at, each in enumerate(made)
    )


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments) if arguments.strip() else {}
    except ValueError:
        return arguments


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
