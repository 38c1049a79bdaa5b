"""What in-process capture adds to a call: the stock client and ours in turn, in one process, one provider.

Both ask the same small server, which runs in a process of its own. Each pair is one call of either, in random order;
what is reported is how much longer ours took, by the difference of the two distributions' percentiles and by the time
that our hooks took for themselves, measured around them.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.record import Row, row, write_results

ROOT = Path(__file__).parent.parent
SAID: Any = [{"role": "user", "content": "What is the answer? " * 100}]
BAR_SECONDS = 150e-6
WARM = 50
SEED = 0


def measure(quick: bool = False) -> list[Row]:
    """The rows of `gateway.json` about in-process capture."""
    pairs = 300 if quick else 2000
    with tempfile.TemporaryDirectory() as home, _provider() as url:
        os.environ["JOURNEYMAN_HOME"] = home
        import openai

        import journeyman

        with openai.OpenAI(base_url=url, api_key="k") as stock, journeyman.OpenAI(base_url=url, api_key="k") as ours:
            rows = [*_rows("whole answer", _whole(stock), _whole(ours), pairs)]
            rows += _rows("stream of 8 events", _stream(stock), _stream(ours), pairs)
        return rows + _back_to_back(pairs)


def _back_to_back(pairs: int) -> list[Row]:
    """The hooks of a whole answer without the call between them: what of the figures above is not a cold processor."""
    import httpx

    from journeyman.client import httpx_calls, scope

    body = json.dumps({"model": "plain", "messages": SAID}).encode()
    request = httpx.Request("POST", "http://provider.example/v1/chat/completions", content=body)
    response = httpx.Response(200, json={"choices": [{"message": {"role": "assistant", "content": "42. " * 150}}]})
    busy = []
    for _ in range(WARM + pairs):
        began = time.thread_time()
        call = httpx_calls._begin(scope.CAPTURING, request)
        assert call is not None, "the spool took no call"
        httpx_calls._answered(call, response, False)
        httpx_calls._follow(call, response, False)
        busy.append(time.thread_time() - began)
    name = "in-process capture, hooks of a whole answer alone, one call after the other: CPU"
    return [row(f"{name}, p{percent}", _us(_percentile(busy[WARM:], percent)), "µs") for percent in (50, 99)]


def _whole(client: Any) -> Callable[[], None]:
    def call() -> None:
        client.chat.completions.create(model="plain", messages=SAID)

    return call


def _stream(client: Any) -> Callable[[], None]:
    def call() -> None:
        for _ in client.chat.completions.create(model="plain", messages=SAID, stream=True):
            continue

    return call


def _rows(what: str, stock: Callable[[], None], ours: Callable[[], None], pairs: int) -> list[Row]:
    order, own = random.Random(SEED), _Own()
    for _ in range(WARM):
        stock()
        ours()
    times: dict[Callable[[], None], list[float]] = {stock: [], ours: []}
    added: list[float] = []
    busy: list[float] = []
    with own.measured():
        for _ in range(pairs):
            for call in order.sample([stock, ours], 2):
                own.seconds = own.busy = 0.0
                began = time.perf_counter()
                call()
                times[call].append(time.perf_counter() - began)
                if call is ours:
                    added.append(own.seconds)
                    busy.append(own.busy)
    difference = sorted(us - them for us, them in zip(times[ours], times[stock], strict=True))
    spent = _percentile(added, 99)
    holds = spent <= BAR_SECONDS
    name = f"in-process capture, {what}"
    return [
        row(f"{name}: added to a call, p50", _us(_percentile(added, 50)), "µs"),
        row(f"{name}: added to a call, p99", _us(spent), "µs", bar="≤ 150", holds=holds),
        row(f"{name}: CPU added to a call, p50", _us(_percentile(busy, 50)), "µs"),
        row(f"{name}: CPU added to a call, p99", _us(_percentile(busy, 99)), "µs"),
        row(f"{name}: median difference of pairs", _us(statistics.median(difference)), "µs"),
        row(f"{name}: p99 less the stock client's", _us(_between(times[ours], times[stock], 99)), "µs"),
        row(f"{name}: the stock client, p50", _us(_percentile(times[stock], 50)), "µs"),
        row(f"{name}: the stock client, p99", _us(_percentile(times[stock], 99)), "µs"),
    ]


class _Own:
    """The time that passes in what we do of our own in a call; the library's own work is not in it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.busy = 0.0
        """Of `seconds`, those on the processor: what a machine that others use too does not change."""

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """With clocks around every hook of ours; they add some microseconds of their own, which count as ours."""
        from journeyman.client import calls, drop_in, httpx_calls

        places: list[tuple[Any, str]] = [
            (calls.Call, "part"), (calls.Call, "_finish"), (drop_in, "_hook"), (drop_in, "_captured"),
            (httpx_calls, "_begin"), (httpx_calls, "_answered"), (httpx_calls, "_follow"),
        ]  # fmt: skip
        before = [(owner, name, getattr(owner, name)) for owner, name in places]
        depth = 0

        def clocked(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal depth
                depth += 1
                # The processor's clock is a call of the system, the other is not: so that one stands outside.
                on_processor = time.thread_time()
                began = time.perf_counter()
                try:
                    return original(*arguments, **named)
                finally:
                    took = time.perf_counter() - began
                    depth -= 1
                    if not depth:
                        self.seconds += took
                        self.busy += time.thread_time() - on_processor

            return call

        for owner, name, original in before:
            setattr(owner, name, clocked(original))
        try:
            yield
        finally:
            for owner, name, original in before:
                setattr(owner, name, original)


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def _between(ours: list[float], stock: list[float], percent: int) -> float:
    return _percentile(ours, percent) - _percentile(stock, percent)


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)


@contextlib.contextmanager
def _provider() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.client.upstream"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()


def main() -> None:
    """Measure, and write `inprocess.json` for a look; `gateway.json` takes the rows from `measure`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    quick = parser.parse_args().quick
    write_results("inprocess", measure(quick), SEED, quick=quick)


if __name__ == "__main__":
    main()
