"""Attempts of which it is known how good they are: what judges are measured on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from journeyman.errors import BadRow, InvalidInput
from journeyman.records import Message, Scenario, Trajectory, TrajectoryGroup
from journeyman.records.message import assistant, user
from journeyman.rewards.contents import content_of


class Labelled(NamedTuple):
    """A group with what is true of each attempt; higher is better, and equal numbers are not compared."""

    group: TrajectoryGroup
    truth: tuple[float, ...]


def labelled(
    id: str, kind: str, asked: Sequence[Message], attempts: Sequence[tuple[Sequence[Message], float]], data: str = ""
) -> Labelled:
    """Continuations of one conversation with their truth, without the copies among them."""
    known: dict[str, tuple[Trajectory, float]] = {}
    for number, (said, truth) in enumerate(attempts):
        trajectory = Trajectory(
            id=f"{id}-{number}", scenario_id=id, model="", session=f"{id}-{number}", messages=(*asked, *said)
        )
        known.setdefault(content_of(trajectory).key, (trajectory, truth))
    scenario = Scenario(id=id, environment=data or "labelled", kind=kind)
    group = TrajectoryGroup(scenario=scenario, trajectories=tuple(each for each, _ in known.values()))
    return Labelled(group, tuple(truth for _, truth in known.values()))


def pairs_of(cases: Sequence[Labelled]) -> list[Labelled]:
    """Every two attempts of a case whose truth differs, as a case of its own."""
    found = []
    for group, truth in cases:
        for one, other in combinations(range(len(truth)), 2):
            if truth[one] != truth[other]:
                two = (group.trajectories[one], group.trajectories[other])
                found.append(Labelled(group.model_copy(update={"trajectories": two}), (truth[one], truth[other])))
    return found


def hash_of_cases(cases: Sequence[Labelled]) -> str:
    """12 hex digits that stand for the attempts and their truth."""
    said = [[[content_of(each).key for each in case.group.trajectories], case.truth] for case in cases]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def _ours(row: Mapping[str, Any], number: int) -> Labelled:
    asked = [Message.model_validate(each) for each in row["messages"]]
    attempts = [
        ([Message.model_validate(each) for each in attempt["messages"]], float(attempt["truth"]))
        for attempt in row["attempts"]
    ]
    return labelled(str(row.get("id", number)), str(row.get("kind", "labelled")), asked, attempts)


def _rewardbench(row: Mapping[str, Any], number: int) -> Labelled:
    """RewardBench (arXiv 2403.13787): `prompt`, `chosen`, `rejected`, `subset`, `id`."""
    attempts = [([assistant(_text(row["chosen"]))], 1.0), ([assistant(_text(row["rejected"]))], 0.0)]
    return labelled(f"rewardbench-{row.get('id', number)}", str(row.get("subset", "")), _asked(row["prompt"]), attempts)


def _rewardbench2(row: Mapping[str, Any], number: int) -> Labelled:
    """RewardBench 2 (arXiv 2506.01937): lists `chosen` and `rejected`; several are right in the subset Ties."""
    attempts = [([assistant(_text(each))], 1.0) for each in row["chosen"]]
    attempts += [([assistant(_text(each))], 0.0) for each in row["rejected"]]
    return labelled(
        f"rewardbench2-{row.get('id', number)}", str(row.get("subset", "")), _asked(row["prompt"]), attempts
    )


def _rm_bench(row: Mapping[str, Any], number: int) -> Labelled:
    """RM-Bench (arXiv 2410.16184): `chosen` and `rejected` in three styles: concise, detailed, detailed with Markdown.

    All nine pairs count, so a judge that goes by style loses the three where the style speaks for the wrong one.
    """
    if len(row["chosen"]) != len(row["rejected"]):
        raise InvalidInput(f"{len(row['chosen'])} chosen and {len(row['rejected'])} rejected; RM-Bench has as many")
    attempts = [([assistant(_text(each))], 1.0) for each in row["chosen"]]
    attempts += [([assistant(_text(each))], 0.0) for each in row["rejected"]]
    return labelled(f"rm-bench-{row.get('id', number)}", str(row.get("domain", "")), _asked(row["prompt"]), attempts)


def _judgebench(row: Mapping[str, Any], number: int) -> Labelled:
    """JudgeBench (arXiv 2410.12784): `question`, `response_A`, `response_B`, `label` "A>B" or "B>A"."""
    if row["label"] not in ("A>B", "B>A"):
        raise InvalidInput(f"the label is {row['label']!r}; JudgeBench says A>B or B>A")
    better = row["label"] == "A>B"
    attempts = [([assistant(row["response_A"])], float(better)), ([assistant(row["response_B"])], float(not better))]
    return labelled(
        f"judgebench-{row.get('pair_id', number)}", str(row.get("source", "")), _asked(row["question"]), attempts
    )


SHAPES: dict[str, Callable[[Mapping[str, Any], int], Labelled]] = {
    "labelled": _ours,
    "rewardbench": _rewardbench,
    "rewardbench2": _rewardbench2,
    "rm-bench": _rm_bench,
    "judgebench": _judgebench,
}


def load_labelled(path: Path, shape: str | None = None) -> list[Labelled]:
    """The cases of a file of JSON lines, or of one JSON list, in one of SHAPES; told by its fields if not named.

    BadRow names the line, or the place in the list, that cannot be used; a row whose attempts are all the same, or all
    as good, says nothing of a judge and is refused too.
    """
    if shape is not None and shape not in SHAPES:
        raise InvalidInput(f"no shape {shape!r}; there is: {', '.join(SHAPES)}")
    found = []
    for number, row in _rows(path):
        try:
            case = SHAPES[shape or shape_of(row)](row, number)
        except (KeyError, TypeError, ValueError, ValidationError, InvalidInput) as error:
            said = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
            raise BadRow(number, f"{said}; see docs/guides/rewards.md for the shapes that are read") from error
        if len(set(case.truth)) < 2:
            raise BadRow(number, "all its attempts are as good, or the same: a judge cannot be measured by it")
        found.append(case)
    if not found:
        raise InvalidInput(f"{path} has no rows")
    return found


def shape_of(row: Mapping[str, Any]) -> str:
    """Which of SHAPES a row has; InvalidInput when none."""
    if {"attempts", "messages"} <= row.keys():
        return "labelled"
    if {"response_A", "response_B", "label"} <= row.keys():
        return "judgebench"
    if {"prompt", "chosen", "rejected"} <= row.keys():
        if isinstance(row["chosen"], str):
            return "rewardbench"
        return "rm-bench" if "domain" in row else "rewardbench2"
    raise InvalidInput(f"its fields ({', '.join(sorted(row))}) are those of no shape that is read here")


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except ValueError as error:
            raise InvalidInput(f"{path} is no JSON list: {error}") from error
        numbered: Iterator[tuple[int, object]] = enumerate(listed, 1)
    else:
        numbered = ((number, _line(number, line)) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    for number, row in numbered:
        if not isinstance(row, dict):
            raise BadRow(number, f"it is {type(row).__name__}, not an object")
        yield number, row


def _line(number: int, line: str) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadRow(number, f"not JSON: {error}") from error


def _asked(prompt: object) -> list[Message]:
    return [Message.model_validate(each) for each in prompt] if isinstance(prompt, list) else [user(_text(prompt))]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"a prompt or reply is {value!r:.60}, not text")
    return value
