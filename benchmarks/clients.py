"""Other people's clients, unmodified, through the gateway: which of chat, stream and tools work, and are kept rightly.

python benchmarks/clients.py            the table; older lines of openai are installed into environments of their own
python benchmarks/clients.py --quick    the installed versions alone; not kept

It runs `tests/clients`, whose provider speaks OpenAI's and Anthropic's APIs over HTTP. A test passes when the client
reads what it would read from the provider itself, and the store has every call as it was made and answered.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

from record import Row, row, write_results

ROOT = Path(__file__).parent.parent
_OPENAI = {
    "chat": r"\b(chat|chat_async|responses)\b|keeps_its_sampling|instructions_of_a_response",
    "stream": r"\b(stream|stream_with_usage|stream_async|responses_stream|stream_of_tools)\b",
    "tools": r"\b(tools|stream_of_tools|responses_tools)\b",
}
CLIENTS: dict[str, tuple[str, dict[str, str]]] = {
    **{f"openai {line}": (rf"test_openai\.\S+\[.*\b{line}\b", _OPENAI) for line in "123"},
    "anthropic": (r"test_anthropic\.", {"chat": r"a_message", "stream": r"a_stream|tools\[True", "tools": r"tools"}),
    "openai-agents": (r"test_openai_agents\.", {"chat": r"-False|False-", "stream": r"-True|True-", "tools": r"tool"}),
    "langchain-openai": (
        r"test_langchain\.",
        {"chat": r"invoke", "stream": r"stream|bind_tools\S*True", "tools": r"bind_tools"},
    ),
}
"""By client: its tests, and among them those that show what it can do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the installed versions alone; not kept")
    quick = parser.parse_args().quick
    outcomes = run_tests(quick)
    if not outcomes:
        sys.exit("no test ran; nothing was written. What pytest says stands above")
    rows = [made for client in CLIENTS for made in rows_of(client, outcomes)]
    write_results("clients", rows, seed=0, extra={"tests": outcomes}, quick=quick)


def run_tests(quick: bool) -> dict[str, str]:
    """What became of each test: passed, failed or skipped."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "clients.xml"
        chosen = ["-m", "not clients"] if quick else []
        command = [sys.executable, "-m", "pytest", "-q", "tests/clients", f"--junitxml={report}", *chosen]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
        found = {}
        for case in cases:
            kinds = {each.tag for each in case}
            outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            found[f"{case.get('classname')}.{case.get('name')}"] = outcome
        return found


def rows_of(client: str, outcomes: dict[str, str]) -> list[Row]:
    """One row for each ability; skipped tests are named apart, as they show nothing."""
    which, abilities = CLIENTS[client]
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for test, outcome in outcomes.items():
        if re.search(which, test):
            for ability, pattern in abilities.items():
                if re.search(pattern, test.rpartition(".")[2]):
                    counted[ability][outcome] += 1
    rows = []
    for ability in abilities:
        found = counted[ability]
        said = f"{found['passed']} of {found['passed'] + found['failed']} tests"
        if found["skipped"]:
            said += f", {found['skipped']} skipped"
        holds = bool(found["passed"]) and not found["failed"]
        rows.append(row(f"{_named(client)}: {ability}", said, bar="all pass", holds=holds))
    return rows


def _named(client: str) -> str:
    """With the version that was tested; those of openai's older lines stand in `tests/client/test_lines.py`."""
    if client in ("openai 1", "openai 2"):
        return f"{client}.x"
    package = client.split()[0]
    return f"{package} {version(package)}"


if __name__ == "__main__":
    main()
