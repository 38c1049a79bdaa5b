"""Plays episodes again in a fresh process, where hashes, the day and the time of day are others.

`python -m journeyman.environments.admission.again ASKED ANSWERED`: two files of JSON. What differs there leaned on the
order of a set, on the clock, on the time zone, or on what the first process had left behind.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from journeyman.environments.admission.checks import Examined, same_replies
from journeyman.environments.admission.report import Finding
from journeyman.environments.admission.transcripts import attempted, first_difference, play, repeating
from journeyman.environments.suites import load_suite
from journeyman.records import Message, Scenario

_SECONDS = 600.0
_LAST_WORDS = 600
NAME = "a fresh process goes the same"


async def check_fresh_process(
    address: str | None, examined: Sequence[Examined], scenarios: Sequence[Scenario], split: str, seed: int
) -> Finding:
    """The same replies in another process, on another local day, meet the same, byte for byte."""
    if address is None:
        return Finding(
            check=NAME, passed=None, detail="the suite was given as an object, and has no name to load it by"
        )
    episodes = [(each.scenario, went) for each in examined for went in each.played]
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        asked.write_text(json.dumps({
            "suite": address, "split": split, "seed": seed, "count": len(scenarios),
            "episodes": [same_replies(scenario, went.replies) for scenario, went in episodes],
        }))  # fmt: skip
        problem = await _run(asked, answered)
        if problem:
            return Finding(check=NAME, passed=False, detail=problem)
        told = json.loads(answered.read_text())
    if told["scenarios"] != [attempted(each) for each in scenarios]:
        return Finding(check=NAME, passed=False, detail="the same seed gave other scenarios there")
    for (scenario, went), there in zip(episodes, told["episodes"], strict=True):
        if went.written() != there:
            where = first_difference(went.written(), there)
            return Finding(check=NAME, passed=False, detail=f"{scenario.id} went otherwise: {where}")
    return Finding(check=NAME, passed=True, detail=f"{len(episodes)} episodes byte for byte")


async def _run(asked: Path, answered: Path) -> str:
    """What went wrong; nothing when it did not."""
    variables = os.environ | {
        "PYTHONHASHSEED": "4711", "TZ": another_day(),
        "PYTHONPATH": os.pathsep.join(each for each in (os.getcwd(), *sys.path) if each),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "journeyman.environments.admission.again", str(asked), str(answered),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=variables,
    )  # fmt: skip
    try:
        _, said = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"it took longer than {_SECONDS:g} s there, and was stopped"
    if process.returncode:
        return f"it broke there: {said.decode(errors='replace').strip()[-_LAST_WORDS:]}"
    return ""


def another_day() -> str:
    """A time zone where the local date is another one now: one of the two at the ends of the world always is."""
    here = datetime.now().date()
    east = (datetime.now(UTC) + timedelta(hours=14)).date()
    return "<+14>-14" if east != here else "<-12>+12"


def answer(asked: Path, answered: Path) -> None:
    """Play what the other process asked for, and write down how it went."""
    answered.write_text(json.dumps(asyncio.run(_again(json.loads(asked.read_text())))))


async def _again(wanted: dict[str, Any]) -> dict[str, Any]:
    suite, episodes = load_suite(wanted["suite"]), list[str]()
    made = suite.scenarios(wanted["split"], wanted["count"], wanted["seed"])
    for each in wanted["episodes"]:
        replies = [Message.model_validate(reply) for reply in each["replies"]]
        environment = suite.environment(Scenario.model_validate(each["scenario"]))
        episodes.append((await play(environment, repeating(replies))).written())
    return {"scenarios": [attempted(each) for each in made], "episodes": episodes}


if __name__ == "__main__":
    answer(Path(sys.argv[1]), Path(sys.argv[2]))
