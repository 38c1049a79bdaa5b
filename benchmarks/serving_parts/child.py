"""Runs one side of a comparison in this process: `python -m serving_parts.child MODULE`, its job as JSON on stdin.

Prints what `serving_parts.MODULE.side(job)` returns, as JSON; whatever else is printed goes to standard error.
"""

import importlib
import json
import os
import sys


def main() -> None:
    """Do the job that stands on standard input."""
    job = json.load(sys.stdin)
    # Engines print to standard output as they like.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answer = importlib.import_module(f"serving_parts.{sys.argv[1]}").side(job)
    json.dump(answer, results)
    results.close()


if __name__ == "__main__":
    main()
