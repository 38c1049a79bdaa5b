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
    if not found:
        sys.exit("the suite did not run; nothing was written. What pytest says stands above")
    rows = [_row(fault, counted) for fault, counted in found.items()]
    rows.append(row("tests of the suite", "passed" if done.returncode == 0 else "FAILED", bar="all pass",
                    holds=done.returncode == 0))  # fmt: skip
    write_results("faults", rows, seed=0, extra={"counted": found}, quick=quick)


def _row(fault: str, counted: dict[str, Any]) -> Row:
    """Every call that an upstream was asked is in the store once, in its right state, or counted as dropped.

    What the right states are, the fault's own test says: it must have passed. A gateway that was killed may have
    written that a call begins and not have asked yet; only there more is stored than was asked.
    """
    if counted["outcome"] == "skipped":
        return row(fault, str(counted.get("why", "not tested")))
    if "sent" not in counted:
        return row(fault, f"the test {counted['outcome']}", bar="stored = asked", holds=False)
    states = ", ".join(f"{number} {state}" for state, number in sorted(counted["states"].items()))
    dropped, asked = counted["dropped"], counted["asked"]
    kept = f"{counted['sent']} sent, {asked} asked, {counted['stored']} stored ({states})"
    if dropped:
        kept += f", {dropped} dropped and counted"
    if "seconds" in counted:
        kept += f", {counted['answered_meanwhile']} answered within the {counted['seconds']:g} s that it was away"
    if late := counted.get("end_not_written", 0):
        kept += f", of {counted['answered']} answered {late} without their end"
    unasked = counted["sent"] - asked if "killed_within" in counted else 0
    exact = asked <= counted["stored"] + dropped <= asked + unasked
    return row(
        fault, kept, bar="stored + dropped = asked, right states", holds=exact and counted["outcome"] == "passed"
    )


if __name__ == "__main__":
    main()
