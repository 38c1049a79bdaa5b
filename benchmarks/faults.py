"""The fault suite of capture, counted: calls sent, asked and stored under each fault.

python benchmarks/faults.py             the store is away for a full minute
python benchmarks/faults.py --quick     for five seconds; not kept
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import Row, row, write_results

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the store is away for five seconds; not kept")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as scratch:
        counts = Path(scratch) / "faults.json"
        environment = {**os.environ, "JOURNEYMAN_FAULTS": str(counts), "OMP_NUM_THREADS": "1"}
        environment["JOURNEYMAN_FAULTS_AWAY"] = "5" if quick else "60"
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/faults"], cwd=ROOT, env=environment)
        found: dict[str, dict[str, Any]] = json.loads(counts.read_text()) if counts.exists() else {}
    rows = [_row(name, each) for name, each in found.items()]
    rows.append(row("tests of the suite", "passed" if done.returncode == 0 else "FAILED", bar="all pass",
                    holds=done.returncode == 0))  # fmt: skip
    write_results("faults", rows, seed=0, quick=quick)


def _row(name: str, counted: dict[str, Any]) -> Row:
    """Every call that reached an upstream is stored, or counted as dropped where the disk was full."""
    states = ", ".join(f"{number} {state}" for state, number in sorted(counted["states"].items()))
    dropped = counted.get("dropped", 0)
    kept = f"{counted['sent']} sent, {counted['asked']} asked, {counted['stored']} stored ({states})"
    if dropped:
        kept += f", {dropped} dropped and counted"
    what = name.removeprefix("test_").replace("_", " ")
    holds = counted["stored"] + dropped >= counted["asked"]
    return row(what, kept, bar="nothing asked is missing", holds=holds)


if __name__ == "__main__":
    main()
