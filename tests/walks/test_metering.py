"""Metering from end to end: a real gateway, a real engine, clients of every kind; the ledger equals the engine."""

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from journeyman.config import Settings
from journeyman.demos.stack import running
from journeyman.records import Exchange, Promotion, UsageEntry
from journeyman.registry.adapters import register_adapter
from journeyman.store.sql import open_store
from tests.tiny import write_lora, write_model

pytestmark = pytest.mark.slow
HI = [{"role": "user", "content": "Tell me about the account, please, and then about the weather of the day."}]
TEXTS_READ = 3


class Installation:
    """A home folder with an adapter behind an alias, and a gateway with a tiny model."""

    def __init__(self, home: Path, url: str, environment: dict[str, str]) -> None:
        self.home, self.url, self.environment = home, url, environment

    def client(self, key: str) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "journeyman", "usage", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)

    def find(self, kind: type[Any]) -> list[Any]:
        with closing(open_store(Settings(home=self.home))) as store:
            return list(store.find(kind))


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("metering")
    home = folder / "home"
    home.mkdir()
    (home / "journeyman.toml").write_text("[prices.tiny-base]\ninput = 0.02\ncached = 0.005\noutput = 0.06\n")
    model = write_model(folder / "tiny-base", max_position_embeddings=4096)
    write_lora(folder / "red", model, seed=1)
    with closing(open_store(Settings(home=home))) as store:
        adapter = register_adapter(
            store, folder / "red", home=home, name="red", base="tiny-base", rank=4, template="none"
        )
        store.put(Promotion(alias="support", target=adapter.id))
    environment = {"JOURNEYMAN_HOME": str(home)}
    gateway = ["journeyman", "up", "--model", str(model), "--port", "0"]
    with running(gateway, environment, folder / "up.log") as url:
        yield Installation(home, url, {**os.environ, **environment, "COLUMNS": "150"})


async def every_kind_of_call(there: Installation) -> None:
    """Whole and streamed, alone and together, several choices, a client that hangs up, and calls that are refused."""
    async with there.client("anna") as anna, there.client("bert") as bert:
        await anna.chat.completions.create(model="tiny-base", messages=HI, max_tokens=9, temperature=0)
        await anna.chat.completions.create(model="support", messages=HI, max_tokens=7, n=3, seed=1)
        stream = await bert.chat.completions.create(model="support", messages=HI, max_tokens=8, stream=True)
        async for _ in stream:
            continue
        await asyncio.gather(
            *(bert.chat.completions.create(model="red", messages=HI, max_tokens=5 + each) for each in range(6))
        )
        hung_up = await bert.chat.completions.create(
            model="support", messages=HI, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
        )
        # A chunk may open the answer without any of its text; one with text is of a token at least.
        said = 0
        while said < TEXTS_READ:
            said += bool((await anext(hung_up)).choices[0].delta.content)
        await hung_up.close()
        with pytest.raises(openai.BadRequestError):
            await anna.chat.completions.create(model="tiny-base", messages=HI, max_tokens=10**6)
        with pytest.raises(openai.NotFoundError):
            await anna.chat.completions.create(model="nobody", messages=HI)


async def until_all_is_booked(there: Installation) -> None:
    """The engine ends what nobody wants any more at its next step, and the ledger reads about every second."""
    for _ in range(600):
        async with aiohttp.ClientSession() as http, http.get(f"{there.url}/healthz") as answer:
            ledger = (await answer.json())["ledger"]
        if not ledger["pending"] and len(there.find(UsageEntry)) >= 12:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"waited 60 s for the ledger; it says {ledger}")


def test_the_ledger_equals_the_engine_whatever_became_of_the_calls(installation: Installation) -> None:
    asyncio.run(every_kind_of_call(installation))
    reconciled = installation.run("reconcile", "--url", installation.url)
    assert reconciled.returncode == 0, reconciled.stdout + reconciled.stderr
    assert reconciled.stdout.startswith("Equal: ")
    asyncio.run(until_all_is_booked(installation))
    entries: list[UsageEntry] = installation.find(UsageEntry)
    assert len(entries) == 1 + 3 + 1 + 6 + 1
    assert {entry.source for entry in entries} == {"engine"}
    assert len({entry.key for entry in entries}) == 2
    exchanges = {exchange.id: exchange for exchange in installation.find(Exchange)}
    assert {entry.request for entry in entries} <= exchanges.keys()
    for exchange in exchanges.values():
        mine = [entry for entry in entries if entry.request == exchange.id]
        assert {entry.alias for entry in mine} <= {exchange.model}
        if exchange.state == "complete":
            assert sum(entry.usage.prompt_tokens for entry in mine) == exchange.usage.prompt_tokens
            assert sum(entry.usage.completion_tokens for entry in mine) == exchange.usage.completion_tokens
            assert sum(entry.usage.cached_prompt_tokens for entry in mine) == exchange.usage.cached_prompt_tokens
    [cut] = [exchange for exchange in exchanges.values() if exchange.state == "aborted_client"]
    [entry] = [entry for entry in entries if entry.request == cut.id]
    assert entry.ended == "cancelled"
    assert entry.usage.prompt_tokens > 0
    assert TEXTS_READ <= entry.usage.completion_tokens < 2000
    again = installation.run("reconcile", "--url", installation.url)
    assert again.returncode == 0, again.stdout + again.stderr


def test_usage_and_the_statement_hold_what_the_ledger_holds(installation: Installation) -> None:
    entries: list[UsageEntry] = installation.find(UsageEntry)
    tokens = sum(entry.usage.total_tokens for entry in entries)
    cost = sum(entry.picodollars or 0 for entry in entries)
    rows = [json.loads(line) for line in installation.run("--by", "key,alias,adapter", "--json").stdout.splitlines()]
    assert sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows) == tokens
    assert {row["alias"] for row in rows} == {"tiny-base", "support", "red"}
    assert all(row["unpriced_calls"] == 0 for row in rows)
    written = installation.run("statement", "--month", f"{datetime.now(UTC):%Y-%m}").stdout
    *lines, total = csv.DictReader(io.StringIO(written))
    micro = [round(float(line["cost_usd"]) * 10**6) for line in (*lines, total)]
    assert sum(micro[:-1]) == micro[-1] == round(cost / 10**6)
    assert sum(int(line["calls"]) for line in lines) == int(total["calls"]) == len({entry.request for entry in entries})
