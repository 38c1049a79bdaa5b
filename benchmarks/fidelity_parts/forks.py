"""What a fork of a large world costs, and whether 64 of them share anything."""

import json
import statistics
import time

from record import Row, row

from journeyman.worlds.state import Change, State, read

_BYTES = 4_500_000
_MOST_MS = 20.0
_FORKS = 64


def rows() -> list[Row]:
    """CPU milliseconds of one fork of a 4.5 MB state, and of a fork with its first change; medians of 64."""
    records = {
        f"R{number}": {"name": f"name {number}", "balance": number, "note": "x" * 60} for number in range(40_000)
    }
    state = State({"bank": {"accounts": records}})
    size = len(json.dumps(state.document))
    plain, written, forks = [], [], []
    for number in range(_FORKS):
        began = time.process_time()
        fork = state.fork()
        middle = time.process_time()
        fork.commit([Change("set", ("bank", "accounts", "R7", "balance"), -number)], "written", "fork")
        plain.append(1000 * (middle - began))
        written.append(1000 * (time.process_time() - began))
        forks.append(fork)
    apart = [read(fork.document, ("bank", "accounts", "R7", "balance")) for fork in forks] == [
        -n for n in range(_FORKS)
    ]
    apart = apart and read(state.document, ("bank", "accounts", "R7", "balance")) == 7
    cost = statistics.median(written)
    assert size >= _BYTES
    return [
        row("fork: size of the state", size, "bytes"),
        row("fork: alone", statistics.median(plain), "CPU ms"),
        row("bar: fork and its first change", cost, "CPU ms", bar="≤ 20 ms", holds=cost <= _MOST_MS),
        row("bar: 64 forks share nothing", "yes" if apart else "no", bar="yes", holds=apart),
    ]
