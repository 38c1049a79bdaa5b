"""What is measured: our gateway with its ingester, and the proxies that it is compared with, over one upstream."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving_parts.windows import Window

from gateway_parts.load import MODEL, cpu_seconds
from gateway_parts.plan import Plan
from gateway_parts.processes import BENCHMARKS, PYTHON, child_of, line_of, output_of, pin, running
from journeyman.config import Settings
from journeyman.records import Exchange
from journeyman.store.sql import open_store

PACE_SECONDS = 0.005
"""Between two events of the upstream that sends them one by one."""
PACED = "paced/m"
_READY_SECONDS = 180.0
_SETTLE_SECONDS = 600.0
_LITELLM = "from litellm import run_server; run_server()"


@dataclass
class Side:
    """A server that answers the load. `pid` is 0 where nobody's CPU is read; `sent` counts its calls."""

    name: str
    port: int
    pid: int = 0
    key: str = "sk-load"
    sent: int = 0

    def load(self, plan: Plan, *, model: str = MODEL, **options: float) -> dict[str, Any]:
        """Run the load (`gateway_parts.load`) with these options: what it found, with the window it took.

        RuntimeError when a call is not answered with 200.
        """
        told = [f"--{name}={value}" for name, value in options.items() if not isinstance(value, bool)]
        flags = [f"--{name}" for name, value in options.items() if value is True]
        command = [PYTHON, "-m", "gateway_parts.load", f"--port={self.port}", f"--pid={self.pid}"]
        window = Window()
        said = output_of([*command, f"--model={model}", f"--key={self.key}", *told, *flags], plan.other_cores)
        found: dict[str, Any] = json.loads(said)
        self.sent += found["calls"]
        if found["errors"]:
            raise RuntimeError(f"{self.name} answered {found['errors']} of {found['calls']} calls with an error")
        return found | window.close()


@dataclass
class Ours(Side):
    """Our gateway. `ingester` is the process that brings what it captures into the store of `home`."""

    home: Path = Path()
    ingester: int = 0

    def settle(self) -> None:
        """Wait until the ingester has stored every call that was sent; RuntimeError when it does not get there."""
        until = time.monotonic() + _SETTLE_SECONDS
        while True:
            report = self._report()
            if report["ingester"].get("stored", 0) >= self.sent - report["spool"]["dropped_calls"]:
                return
            if time.monotonic() > until:
                raise RuntimeError(f"of {self.sent} calls not all are stored after {_SETTLE_SECONDS:g} s: {report}")
            time.sleep(0.2)

    @contextmanager
    def ingester_paused(self) -> Iterator[None]:
        """Nothing is ingested meanwhile: what is captured waits in the spool."""
        os.kill(self.ingester, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.ingester, signal.SIGCONT)

    def ingester_cpu(self) -> float:
        """CPU seconds of the ingester so far."""
        return cpu_seconds(self.ingester)

    def lost(self) -> int:
        """Calls that were sent and are not in the store, counted there."""
        self.settle()
        with closing(open_store(Settings(home=self.home))) as store:
            stored: int = store.count(Exchange)[""]
        return self.sent - stored

    def _report(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=30) as answer:
            report: dict[str, Any] = json.load(answer)
        return report


@contextmanager
def upstreams(plan: Plan) -> Iterator[tuple[Side, Side]]:
    """One that answers at once, and one that sends its events one by one."""
    command = [PYTHON, "-m", "gateway_parts.mock"]
    log = plan.scratch / "mock.log"
    with (
        running(command, plan.other_cores, log) as fast,
        running([*command, "--pace", str(PACE_SECONDS)], plan.other_cores, log) as paced,
    ):
        yield Side("direct", int(line_of(fast))), Side("direct, paced", int(line_of(paced)))


@contextmanager
def our_gateway(
    plan: Plan, fast: Side, paced: Side | None = None, *, keys: bool = False, one_core: bool = False
) -> Iterator[Ours]:
    """`journeyman up` in a home of its own; with `keys` callers need one, which has limits of every kind.

    With `one_core` the ingester runs on the server's core.
    """
    home = Path(tempfile.mkdtemp(prefix="home-", dir=plan.scratch))
    providers = {"mock": fast, "paced": paced or fast}
    told = {
        name: {"base_url": f"http://127.0.0.1:{side.port}/v1", "api_key": "sk-p"} for name, side in providers.items()
    }
    more = {"JOURNEYMAN_HOME": str(home), "JOURNEYMAN_PROVIDERS": json.dumps(told)}
    command = [PYTHON, "-m", "journeyman"]
    key = _new_key([*command, "keys", "add", "load"], plan, more) if keys else "sk-load"
    log = plan.scratch / "gateway.log"
    with running([*command, "up", "--model", "none", "--port", "0"], plan.server_cores, log, more) as process:
        port = int(line_of(process, "listens on").split("listens on ")[1].split()[0].rpartition(":")[2])
        while (ingester := child_of(process.pid, "journeyman.capture")) is None:
            time.sleep(0.1)
        if not one_core:
            pin(ingester, plan.other_cores)
        side = Ours("journeyman", port, process.pid, key, home=home, ingester=ingester)
        side.load(plan, connections=8, seconds=plan.of(1, 0.3))
        side.settle()
        yield side


def _provider(upstream: Side) -> dict[str, str]:
    return {"base_url": f"http://127.0.0.1:{upstream.port}/v1", "api_key": "sk-p"}


def _new_key(command: list[str], plan: Plan, more: dict[str, str]) -> str:
    limits = ["--requests-per-minute", "100000000", "--tokens-per-minute", "1000000000"]
    limits += [
        "--monthly-tokens",
        "1000000000000",
        "--monthly-usd",
        "1000000",
        "--alias",
        "mock/*",
        "--alias",
        "paced/*",
    ]
    said = output_of([*command, *limits], plan.other_cores, more)
    return next(word for word in said.split() if word.startswith("jm-"))


@contextmanager
def bare_proxy(plan: Plan, upstream: Side) -> Iterator[Side]:
    """Uvicorn and our transport, and nothing else."""
    command = [PYTHON, "-m", "gateway_parts.bare", f"http://127.0.0.1:{upstream.port}/v1"]
    with running(command, plan.server_cores, plan.scratch / "bare.log") as process:
        side = Side("bare", int(line_of(process)), process.pid)
        side.load(plan, connections=8, seconds=plan.of(1, 0.3))
        yield side


@contextmanager
def naive_proxy(plan: Plan, upstream: Side) -> Iterator[Side]:
    """FastAPI and httpx, under the interpreter that JOURNEYMAN_FASTAPI_PYTHON names."""
    script = str(BENCHMARKS / "gateway_parts" / "naive.py")
    command = [os.environ["JOURNEYMAN_FASTAPI_PYTHON"], script, f"http://127.0.0.1:{upstream.port}/v1"]
    with running(command, plan.server_cores, plan.scratch / "fastapi.log", _FOREIGN) as process:
        side = Side("FastAPI + httpx", int(line_of(process)), process.pid)
        side.load(plan, connections=8, seconds=plan.of(1, 0.3))
        yield side


@contextmanager
def litellm_proxy(plan: Plan, upstream: Side) -> Iterator[Side]:
    """LiteLLM's proxy with one worker and nothing that logs, under the interpreter of JOURNEYMAN_LITELLM_PYTHON."""
    parameters = {"model": "openai/m", "api_base": f"http://127.0.0.1:{upstream.port}/v1", "api_key": "sk-p"}
    config = plan.scratch / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [os.environ["JOURNEYMAN_LITELLM_PYTHON"], "-c", _LITELLM, "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    more = _FOREIGN | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with running(command, plan.server_cores, plan.scratch / "litellm.log", more, talks=False) as process:
        _wait_for(f"http://127.0.0.1:{port}/health/liveliness", process)
        side = Side("LiteLLM", port, process.pid)
        side.load(plan, connections=8, seconds=plan.of(3, 1))
        yield side


_FOREIGN = {"PYTHONPATH": ""}
"""Nothing of ours in the processes of others."""


def _wait_for(url: str, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:  # nobody listens yet
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer")
