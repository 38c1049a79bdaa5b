"""How far a rule's check can be trusted: measured on words of agents whose verdict people have given."""

import json
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, model_validator

from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Frozen, FunctionCall, Interval, Message, Scenario, ToolCall, Trajectory
from journeyman.records.compliance import CheckerAccuracy
from journeyman.records.message import assistant, tool_result, user
from journeyman.rewards.judge import Judge
from journeyman.rewards.rubric import squeezed
from journeyman.statistics import proportion
from journeyman.worlds.compliance.checks import Breach
from journeyman.worlds.compliance.judged import judge_attempts
from journeyman.worlds.compliance.pack import Pack
from journeyman.worlds.compliance.scenes import MADE, Scene
from journeyman.worlds.compliance.trying import Tried

OF_THE_PACK = "the pack's own examples"
_LINE = re.compile(r"(?:(user|agent): *(.+)|call: *(\S+)(?: (\{.*?\}))?(?: -> (.+))?)\Z", re.DOTALL)


class Labelled(Frozen):
    """What an agent said, and whether it violates a rule: as `text` (after what was `asked`), or as `messages`.

    `span` are the agent's own words that violate it, as a person marked them: what a check quotes must be about them.
    """

    rule: str
    violates: bool
    span: str = ""
    text: str = ""
    asked: str = "Hello."
    messages: tuple[Message, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_two(self) -> "Labelled":
        if bool(self.text.strip()) == bool(self.messages):
            raise ValueError("give either `text` or `messages`")
        if self.span and not self.violates:
            raise ValueError("`span` marks the words that violate, and this example does not")
        said = squeezed(" ".join(each.text for each in self.conversation if each.role == "assistant"))
        if squeezed(self.span) not in said:
            raise ValueError("`span` does not stand in what the agent said")
        return self

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The messages that are judged."""
        return self.messages or (user(self.asked), assistant(self.text))


def examples_of(pack: Pack) -> list[Labelled]:
    """The examples that stand in the pack itself."""
    return [
        Labelled(
            rule=rule.id,
            violates=violates,
            messages=_conversation(
                (f"user: {rule.examples.asked}", f"agent: {each}") if isinstance(each, str) else each
            ),
            facts=rule.examples.facts,
        )
        for rule in pack.rules
        for violates, examples in ((False, rule.examples.ok), (True, rule.examples.violates))
        for each in examples
    ]


def read_labelled(file: Path, pack: Pack) -> list[Labelled]:
    """Labelled examples from JSON lines. InvalidInput names the first line that is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as problem:
        raise InvalidInput(f"the labelled examples {file} cannot be read ({problem})") from problem
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(Labelled.model_validate(json.loads(line)))
            pack.rule(found[-1].rule)
        except (ValueError, ValidationError, NotFound) as problem:
            first = problem.errors()[0]["msg"] if isinstance(problem, ValidationError) else problem
            raise InvalidInput(f"{file}, line {number}: {first}; nothing was measured") from problem
    return found


async def measure_checkers(
    pack: Pack, labelled: Sequence[Labelled], source: str, judges: Sequence[Judge] = ()
) -> list[CheckerAccuracy]:
    """How each rule's check does on the examples; those that it cannot judge count neither way."""
    tried = [_as_attempt(number, each) for number, each in enumerate(labelled)]
    judged = await judge_attempts(pack, tried, judges)
    found = []
    for rule in pack.rules:
        seen = [
            _verdict(each, said.breaches[rule.id])
            for each, said in zip(labelled, judged, strict=True)
            if each.rule == rule.id and rule.id in said.breaches
        ]
        if seen:
            found.append(_accuracy(rule.id, source, seen))
    return found


class _Verdict(NamedTuple):
    """Of one example: its truth, whether the check caught it, and how many false alarms it raised there."""

    violates: bool
    is_marked: bool
    caught: bool
    alarms: int


def _verdict(each: Labelled, breaches: Sequence[Breach]) -> _Verdict:
    about = [breach for breach in breaches if not each.span or is_about(breach.quote, each.span)]
    if not each.violates:
        return _Verdict(False, False, False, int(bool(breaches)))
    return _Verdict(True, bool(each.span), bool(about), int(bool(breaches) and not about))


def _accuracy(rule: str, source: str, seen: Sequence[_Verdict]) -> CheckerAccuracy:
    violating, clean = [each for each in seen if each.violates], [each for each in seen if not each.violates]
    caught, alarms = sum(each.caught for each in violating), sum(each.alarms for each in clean)
    return CheckerAccuracy(
        rule=rule, source=source, violating=len(violating), caught=caught, clean=len(clean), alarms=alarms,
        sensitivity=proportion(caught, len(violating)) if violating else None,
        specificity=proportion(len(clean) - alarms, len(clean)) if clean else None,
        spans=sum(each.is_marked for each in violating), elsewhere=sum(each.alarms for each in violating),
        f1=_f1(seen),
    )  # fmt: skip


def _f1(seen: Sequence[_Verdict]) -> Interval | None:
    """2 TP / (2 TP + FP + FN); None where there was nothing to find, and nothing found.

    It is 2 J / (1 + J) of the share J = TP / (TP + FP + FN), so the ends of J's interval (Wilson's) give those of F1.
    """
    caught = sum(each.caught for each in seen)
    wrong = sum(each.alarms + (each.violates and not each.caught) for each in seen)
    if caught + wrong == 0:
        return None
    share = proportion(caught, caught + wrong)
    ends = (2 * each / (1 + each) for each in (share.estimate, share.low, share.high))
    return Interval(**dict(zip(("estimate", "low", "high"), ends, strict=True)))


def is_about(quote: str, span: str) -> bool:
    """Whether a quotation is of the marked words: more than half of the shorter one, in a row, stands in the other."""
    one, other = squeezed(quote).split(), squeezed(span).split()
    if not one or not other:
        return False
    shared = max(match.size for match in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())
    return 2 * shared > min(len(one), len(other))


def _conversation(lines: Sequence[str]) -> tuple[Message, ...]:
    """The messages of an example; InvalidInput for a line that is none."""
    messages: list[Message] = []
    for number, line in enumerate(lines):
        read = _LINE.match(line)
        if read is None:
            raise InvalidInput(f"the example line {line!r} begins with none of user:, agent:, call: NAME")
        said, text, tool, arguments, result = read.groups()
        if said is not None:
            messages.append(user(text) if said == "user" else assistant(text))
            continue
        function = FunctionCall(name=tool, arguments=arguments or "{}")
        made = ToolCall(id=f"call_{number}", function=function)
        messages.append(Message(role="assistant", content=None, tool_calls=(made,)))
        messages.append(tool_result(made.id, result or "{}"))
    return tuple(messages)


def _as_attempt(number: int, each: Labelled) -> Tried:
    id = f"labelled/{number}"
    inner = Scenario(id=id, at=MADE, environment="labelled", kind="labelled")
    scene = Scene(rule=each.rule, kind="twin", expects="help", inner=inner, lines=(each.asked,), facts=each.facts)
    return Tried(
        scenario=Scenario(id=id, at=MADE, environment="labelled", kind="twin", data=scene.model_dump(mode="json")),
        attempt=1, seed=0,
        trajectory=Trajectory(scenario_id=id, model="labelled", session=id, messages=each.conversation),
    )  # fmt: skip
