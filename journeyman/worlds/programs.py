"""Twins written by hand: a Python function for each tool, run in the sandbox that environments have.

    def restock(state, arguments):
        item = state["shop"]["items"][arguments["item"]]
        item["stock"] += arguments["count"]
        return {"stock": item["stock"]}

It sees the tables of its tool's footprint and no others; what it changes in them is its patch. A program that takes
too much is killed, one that writes elsewhere is refused by the resolver, and both are reported.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from journeyman.environments.sandbox import SandboxLimits, python_command, run_sandboxed_here
from journeyman.errors import InvalidInput, ProgramFailed
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.state import MISSING, Change, difference, read
from journeyman.worlds.transitions import error_kind

LIMITS = SandboxLimits(cpu_seconds=2, output_mb=64)
"""What a twin may use. Its answer is the tables of its footprint, which may be large."""
_LAST_WORDS = 300
_RUNNER = """
import json, sys
asked = json.load(sys.stdin)
out, sys.stdout = sys.stdout, sys.stderr
names = {}
exec(compile(asked["source"], "twin", "exec"), names)
answer = names[asked["tool"]](asked["state"], asked["arguments"])
json.dump({"answer": answer, "state": asked["state"]}, out)
"""


@dataclass(frozen=True)
class Program:
    """One tool's function in a source text, as a twin."""

    tool: str
    source: str
    footprint: Footprint
    limits: SandboxLimits = LIMITS

    def run(self, arguments: Mapping[str, Any], document: Any) -> tuple[Any, tuple[Change, ...], str | None]:
        """Answer, changes and kind of error; ProgramFailed when it raised, looped or gave no answer."""
        before = _slice(document, self.footprint)
        asked = {"source": self.source, "tool": self.tool, "state": before, "arguments": dict(arguments)}
        said = self._said(json.dumps(asked))
        try:
            answer, after = itemgetter("answer", "state")(json.loads(said))
        except (ValueError, LookupError, TypeError) as problem:
            raise ProgramFailed(f"the twin of {self.tool} ended without an answer; nothing was changed") from problem
        return answer, difference(before, after), error_kind(answer, arguments)

    def _said(self, asked: str) -> bytes:
        result = run_sandboxed_here(python_command("-S", "-c", _RUNNER), asked.encode(), self.limits)
        if result.ended != "by itself":
            raise ProgramFailed(
                f"the twin of {self.tool} used too much {result.ended} and was killed; nothing was changed"
            )
        if result.code:
            words = result.errors.decode(errors="replace").strip()[-_LAST_WORDS:] or f"it ended with {result.code}"
            raise ProgramFailed(f"the twin of {self.tool} failed: {words}; nothing was changed")
        return result.out


def read_programs(source: str, footprints: Mapping[str, Footprint]) -> dict[str, Program]:
    """The functions of a source text that are named like tools. Reading it runs nothing of it."""
    try:
        tree = ast.parse(source)
    except SyntaxError as problem:
        raise InvalidInput(f"the twins are no Python: {problem}; nothing was built") from problem
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    unknown = [name for name in names if name not in footprints and not name.startswith("_")]
    if unknown:
        raise InvalidInput(
            f"twins for tools that no trace knows: {', '.join(unknown)}; there is: {', '.join(sorted(footprints))}"
        )
    return {name: Program(name, source, footprints[name]) for name in names if name in footprints}


def _slice(document: Any, footprint: Footprint) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table in footprint.touched:
        value = read(document, table)
        if value is MISSING:
            continue
        inner = found
        for part in table[:-1]:
            inner = inner.setdefault(str(part), {})
        inner[str(table[-1])] = json.loads(json.dumps(value))
    return found
