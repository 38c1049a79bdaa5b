"""Twins written by hand: a Python function for each tool, run in a process of its own that can reach nothing.

    def restock(state, arguments):
        item = state["shop"]["items"][arguments["item"]]
        item["stock"] += arguments["count"]
        return {"stock": item["stock"]}

It sees the tables of its tool's footprint and no others; what it changes in them is its patch. A program that runs too
long is killed, one that writes elsewhere is refused by the resolver, and both are reported.
"""

import ast
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from journeyman.errors import InvalidInput, ProgramFailed
from journeyman.worlds.footprints import Footprint
from journeyman.worlds.state import MISSING, Change, difference, read
from journeyman.worlds.transitions import error_kind

SECONDS = 2.0
_MEMORY_BYTES = 512 << 20
_LAST_WORDS = 300
_RUNNER = """
import json, sys
asked = json.load(sys.stdin)
names = {}
exec(compile(asked["source"], "twin", "exec"), names)
answer = names[asked["tool"]](asked["state"], asked["arguments"])
json.dump({"answer": answer, "state": asked["state"]}, sys.stdout)
"""


@dataclass(frozen=True)
class Program:
    """One tool's function in a source text, as a twin."""

    tool: str
    source: str
    footprint: Footprint
    seconds: float = SECONDS

    def run(self, arguments: Mapping[str, Any], document: Any) -> tuple[Any, tuple[Change, ...], str | None]:
        """Answer, changes and kind of error; ProgramFailed when it raised, looped or answered no JSON."""
        before = _slice(document, self.footprint)
        asked = {"source": self.source, "tool": self.tool, "state": before, "arguments": dict(arguments)}
        found = json.loads(self._said(json.dumps(asked)))
        changes = difference(before, found["state"])
        return found["answer"], changes, error_kind(found["answer"], arguments)

    def _said(self, asked: str) -> str:
        command = [*_sandbox(), sys.executable, "-I", "-S", "-c", _RUNNER]
        try:
            done = subprocess.run(
                command, input=asked, capture_output=True, text=True, timeout=self.seconds, env={},
                preexec_fn=_limit, cwd="/",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ProgramFailed(
                f"the twin of {self.tool} ran longer than {self.seconds:g} s and was killed; nothing was changed"
            ) from None
        if done.returncode:
            words = done.stderr.strip()[-_LAST_WORDS:] or f"it ended with {done.returncode}"
            raise ProgramFailed(f"the twin of {self.tool} failed: {words}; nothing was changed")
        return done.stdout


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


@cache
def isolation() -> str:
    """How programs are kept apart on this machine."""
    return "bubblewrap, no network" if _sandbox() else "a process with limits only: install bubblewrap for a real wall"


@cache
def _sandbox() -> tuple[str, ...]:
    found = shutil.which("bwrap")
    if found is None:
        return ()
    words = (found, "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp", "--die-with-parent")
    works = subprocess.run([*words, sys.executable, "-I", "-S", "-c", ""], capture_output=True, timeout=30)
    return words if works.returncode == 0 else ()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS) + 1, int(SECONDS) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


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
