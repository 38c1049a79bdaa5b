"""Replies that both checkers are asked about: the models' own, and right answers with one thing changed."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bfcl_parts.checker import calls_of, judge
from bfcl_parts.questions import Question
from bfcl_parts.rows import answer_of
from bfcl_parts.theirs import TheirChecker

Calls = list[tuple[str, Any]]


class Agreement(NamedTuple):
    """On how many replies the checkers agree, how many both call right, and what they disagree on."""

    replies: int
    right: int
    apart: list[dict[str, Any]]


def compare_checkers(replies: Sequence[tuple[Question, Calls]], theirs: TheirChecker) -> Agreement:
    """Ask both about every reply."""
    right, apart = 0, []
    for question, calls in replies:
        ours, reason = judge(calls, question.functions, question.answers)
        other = theirs.judge(calls, question.functions, question.answers, question.category)
        right += ours and other
        if ours != other:
            apart.append({"question": question.id, "calls": calls, "ours": ours, "theirs": other, "reason": reason})
    return Agreement(len(replies), right, apart)


def changed_answers(questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, Calls]]:
    """For every question its answer, and the answer after each kind of change."""
    draw = random.Random(seed)
    for question in questions:
        calls = calls_of(answer_of(question))
        yield question, calls
        yield question, [*calls, *calls]
        yield question, [(calls[0][0] + "_", calls[0][1])]
        ((name, arguments),) = calls
        possible = next(iter(question.answers[0].values()))
        for key in sorted(possible):
            others = [value for value in possible[key] if value != ""]
            yield question, [(name, {**arguments, key: _plain(draw.choice(others))})] if others else calls
            yield question, [(name, {**arguments, key: _altered(arguments.get(key), draw)})]
            yield question, [(name, {one: value for one, value in arguments.items() if one != key})]
        yield question, [(name, {**arguments, "unheard_of": 1})]


def _plain(value: Any) -> Any:
    """A possible value as a caller writes it; of an object's keys each has a list of possible ones."""
    if isinstance(value, dict):
        return {key: _plain(each[-1]) for key, each in value.items() if each and each[-1] != ""}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _altered(value: Any, draw: random.Random) -> Any:
    """Another value: of the same type, of another, or the same but for what a checker overlooks."""
    options: list[Any] = ["", 0, 1.5, True, [], {}, ["x"], "x"]
    if isinstance(value, str):
        options += [value.upper(), value + ".", " ".join(value), value + "x", [value]]
    elif isinstance(value, bool):
        options += [not value, str(value), int(value)]
    elif isinstance(value, (int, float)):
        options += [value + 1, float(value), str(value), -value, [value]]
    elif isinstance(value, list):
        options += [value[::-1], [str(each) for each in value], value[:-1], [*value, *value], str(value)]
    elif isinstance(value, dict):
        options += [dict(list(value.items())[:-1]), {**value, "more": 1}, str(value)]
    return draw.choice(options)
