"""The whole loop on the example bank: capture, dataset, fine-tune, measure, promote, serve.

Every step is a command that a user can type; the demo prints it, then runs it. Only serving the customers is the
demo's own work: that is the agent.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from openai import AsyncOpenAI
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from journeyman.config import Settings
from journeyman.demos.agent import StockClientEngine
from journeyman.demos.bank.environment import BankSuite
from journeyman.demos.bank.expert_server import MODEL as EXPERT
from journeyman.demos.customers import SERVED_WELL, serve_customers
from journeyman.demos.stack import run_command, running
from journeyman.demos.summary import conversation_lines, summary_table
from journeyman.environments.rollout import roll_out
from journeyman.errors import InvalidInput
from journeyman.prices import AS_OF
from journeyman.records import EvalReport, Sampling
from journeyman.store.sql import open_store

BASE = "smollm2-135m"
ADAPTER = "bank-adapter"
ALIAS = "bank-support"
REPLY_TOKENS = 48
"""Longest reply: the expert's longest is 38 tokens."""
VALIDATION = 0.05
TRAINING = ("--batch-rows", "4", "--learning-rate", "2e-3", "--validate-every", "30")


@dataclass
class Demo:
    """What the demo is asked to do, and what it found. `customers` are served and learned from, `cases` measured."""

    home: Path
    console: Console
    customers: int = 264
    cases: int = 100
    seed: int = 0
    teacher: str | None = None
    teacher_url: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    report: EvalReport | None = None

    def __post_init__(self) -> None:
        self._environment = {"JOURNEYMAN_HOME": str(self.home)}

    def run(self) -> None:
        """Walk the loop from end to end. What was made stays in `home`; every server is stopped."""
        if (self.teacher is None) != (self.teacher_url is None):
            raise InvalidInput("--teacher and --base-url belong together: a model's name, and where it answers")
        self.home.mkdir(parents=True, exist_ok=True)
        with self._step("pull", f"A real base model: {BASE}"):
            self._command("models", "pull", BASE)
        with ExitStack() as servers:
            with self._step("start", "The gateway, the local engine behind it, and the incumbent"):
                base_url = self._start(servers)
            self._loop(base_url)
        self._conclude()

    @property
    def incumbent(self) -> str:
        """The incumbent as clients of the gateway name it."""
        return f"incumbent/{self.teacher or EXPERT}"

    def _loop(self, base_url: str) -> None:
        who = self.teacher or "the scripted expert"
        with self._step("capture", f"{self.customers} customers are served by {who}"):
            if self.teacher is None:
                self.console.print("  It is a program behind the OpenAI API, no language model: no account is needed.")
            asyncio.run(self._serve_customers(base_url))
        with self._step("dataset", "What was captured becomes a dataset"):
            self._command("dataset", "build", "bank", "--where", SERVED_WELL, "--validation", str(VALIDATION))
        with self._step("train", f"A LoRA adapter for {BASE} learns from it"):
            self._command("train", "sft", "bank", "--base", BASE, "--name", ADAPTER, *TRAINING)
        with self._step("eval", f"{self.cases} conversations that nobody has seen, for each model"):
            models = f"{BASE},{ADAPTER},{self.incumbent}"
            self._command(
                "eval", "--environment", "bank", "--models", models, "--count", str(self.cases),
                "--seed", str(self.seed + 1), "--max-tokens", str(REPLY_TOKENS), "--concurrency", "16",
                "--base-url", base_url,
            )  # fmt: skip
        with self._step("promote", f"The alias {ALIAS} goes through the gate"):
            self.console.print("  The alias is new: the gate asks for a clear gain over the adapter's base model.")
            self._command("promote", ALIAS, ADAPTER)
        with self._step("serve", f"One more customer, answered by {ALIAS}"):
            asyncio.run(self._one_conversation(base_url))

    async def _serve_customers(self, base_url: str) -> None:
        columns = (TextColumn("  served"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task("served", total=self.customers)
            served = await serve_customers(
                base_url, self.incumbent, self.customers, self.seed, lambda _: bar.advance(task)
            )
        solved = sum(trajectory.score("success") == 1 for trajectory in served)
        failed = sum(trajectory.error is not None for trajectory in served)
        self.console.print(
            f"  solved {solved} of {len(served)}, {failed} ended in an error; outcomes went in as feedback"
        )

    async def _one_conversation(self, base_url: str) -> None:
        suite = BankSuite()
        scenario = suite.scenarios("held-out", 1, self.seed + 2)[0]
        async with AsyncOpenAI(base_url=base_url, api_key="none-needed") as client:
            trajectory = await roll_out(
                suite.environment(scenario), scenario, StockClientEngine(client), ALIAS,
                Sampling(temperature=0.0, max_tokens=REPLY_TOKENS), tags={"stage": "demo"},
            )  # fmt: skip
        for line in conversation_lines(trajectory):
            self.console.print(line, highlight=False)

    def _conclude(self) -> None:
        with closing(open_store(Settings(home=self.home))) as store:
            self.report = store.find(EvalReport, limit=1)[0]
        self.console.rule("What it came to")
        self.console.print(summary_table(self.report))
        total = sum(self.seconds.values())
        shares = ", ".join(f"{name} {spent:.0f}" for name, spent in self.seconds.items())
        self.console.print(f"Prices as of {AS_OF}. Took {total:.0f} s ({shares}). Everything is kept in {self.home}")

    def _start(self, servers: ExitStack) -> str:
        """Start what the loop talks to; returns the gateway's base URL."""
        logs = self.home / "logs"
        incumbent = self.teacher_url
        if incumbent is None:
            expert = ["journeyman.demos.bank.expert_server", "--port", "0"]
            incumbent = servers.enter_context(running(expert, {}, logs / "expert.log")) + "/v1"
        self._environment["JOURNEYMAN_PROVIDERS__INCUMBENT__BASE_URL"] = incumbent
        if self.teacher is not None and "OPENAI_API_KEY" in os.environ:
            self._environment["JOURNEYMAN_PROVIDERS__INCUMBENT__API_KEY"] = os.environ["OPENAI_API_KEY"]
        gateway = ["journeyman", "up", "--model", BASE, "--port", "0"]
        self._show(gateway)
        return servers.enter_context(running(gateway, self._environment, logs / "up.log")) + "/v1"

    def _command(self, *arguments: str) -> None:
        self._show(["journeyman", *arguments])
        run_command(list(arguments), self._environment)

    def _show(self, words: Sequence[str]) -> None:
        written = " ".join(f'"{word}"' if " " in word else word for word in words)
        self.console.print(f"  $ {written}", style="dim", highlight=False)

    @contextmanager
    def _step(self, name: str, title: str) -> Iterator[None]:
        self.console.rule(f"{len(self.seconds) + 1}. {title}", align="left")
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started
