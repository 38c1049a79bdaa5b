"""Our engine's server in a process of its own, started as anybody starts it."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving_parts.plan import Plan
from serving_parts.sides import child_environment

NAME = "base"


class HTTPEngine:
    """The server while it runs: its address, its process id, and when it was started."""

    def __init__(self, plan: Plan, *options: str) -> None:
        self._log = (plan.scratch / "engine.log").open("w+")
        command = [
            sys.executable, "-m", "journeyman.engines.local", "--model", str(plan.model), "--name", NAME,
            "--threads", str(plan.threads), "--precision", "auto", "--exit-with-stdin", *options,
        ]  # fmt: skip
        self.begun = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=child_environment(),
        )  # fmt: skip
        self.pid = self._process.pid
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("ready "):
            self.stop()
            raise RuntimeError(f"the engine did not start; its output:\n{Path(self._log.name).read_text()[-2000:]}")
        self.url = line.split()[1]

    def __enter__(self) -> "HTTPEngine":
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process at once."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(60)
        self._log.close()

    def post(self, path: str, **body: Any) -> Any:
        """The parsed answer to a POST."""
        with urllib.request.urlopen(self._request(path, body), timeout=600) as answer:
            return json.load(answer)

    def get(self, path: str) -> Any:
        """The parsed answer to a GET."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=600) as answer:
            return json.load(answer)

    def stream(self, path: str, **body: Any) -> Iterator[Any]:
        """The parsed events of a stream."""
        with urllib.request.urlopen(self._request(path, body | {"stream": True}), timeout=600) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    yield json.loads(line[6:])

    def _request(self, path: str, body: dict[str, Any]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        return urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
