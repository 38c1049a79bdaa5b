"""What is done once in a home, however often a benchmark is begun again there."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journeyman.errors import InvalidInput


class Stages:
    """The stages of a home: in what words each was asked for, the CPU-seconds of its processes, and which are done."""

    def __init__(self, home: Path) -> None:
        self._file = home / "stages.json"

    def once(self, name: str, words: str, work: Callable[[], None]) -> None:
        """Do a stage, whose processes end with it, unless it is done; InvalidInput where it was begun in other words.

        What a try that was cut short has cost is added to the stage's cost.
        """
        begun = self._begun().get(name, {"words": words, "cpu": 0.0, "is_done": False})
        if begun["words"] != words:
            raise InvalidInput(
                f"{self._file.parent} was made otherwise: {name} was `{begun['words']}`, and is `{words}` now. Nothing "
                "was changed there; name another folder, or an empty one"
            )
        if begun["is_done"]:
            return
        before = _cpu_of_children()
        try:
            work()
            begun["is_done"] = True
        finally:
            begun["cpu"] += _cpu_of_children() - before
            # Read again: another process may have done other stages in the same home meanwhile.
            self._file.write_text(json.dumps(self._begun() | {name: begun}, indent=2))

    def cost(self, name: str) -> float:
        """The CPU-seconds of a stage."""
        return float(self._begun()[name]["cpu"])

    def _begun(self) -> dict[str, dict[str, Any]]:
        return json.loads(self._file.read_text()) if self._file.is_file() else {}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
