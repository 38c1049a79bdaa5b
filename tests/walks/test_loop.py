"""The loop from end to end with a tiny random model: every program and every command is the real one."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from openai import AsyncOpenAI

from journeyman.capture.catching_up import missing_in_store
from journeyman.config import Settings
from journeyman.demos.agent import StockClientEngine
from journeyman.demos.bank.environment import BankSuite
from journeyman.demos.stack import StepFailed, run_command, running
from journeyman.environments.rollout import roll_out_many
from journeyman.records import Adapter, Dataset, EvalReport, Exchange, Filter, Promotion, Trajectory
from journeyman.store.sql import open_store
from tests.tiny import write_model

pytestmark = pytest.mark.slow
INCUMBENT = "incumbent/scripted-expert"
CUSTOMERS = 12


class Installation:
    """A home folder, and a gateway with a tiny model and the scripted expert behind it."""

    def __init__(self, home: Path, url: str, environment: dict[str, str]) -> None:
        self.home, self.base_url, self.environment = home, f"{url}/v1", environment

    def run(self, *arguments: str) -> None:
        run_command(list(arguments), self.environment)

    def newest(self, kind: type) -> object:
        with closing(open_store(Settings(home=self.home))) as store:
            return store.find(kind, limit=1)[0]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("walk")
    model = write_model(folder / "tiny-base", max_position_embeddings=8192)
    expert = ["journeyman.demos.bank.expert_server", "--port", "0"]
    with running(expert, {}, folder / "expert.log") as expert_url:
        environment = {
            "JOURNEYMAN_HOME": str(folder / "home"),
            "JOURNEYMAN_PROVIDERS__INCUMBENT__BASE_URL": f"{expert_url}/v1",
        }
        gateway = ["journeyman", "up", "--model", str(model), "--port", "0"]
        with running(gateway, environment, folder / "up.log") as url:
            yield Installation(folder / "home", url, environment | {"TINY": str(model)})


async def serve(installation: Installation) -> list[Trajectory]:
    suite = BankSuite()
    async with AsyncOpenAI(base_url=installation.base_url, api_key="unused") as client:
        served = await roll_out_many(
            suite,
            suite.scenarios("train", CUSTOMERS, 0),
            StockClientEngine(client),
            INCUMBENT,
            tags={"stage": "production"},
        )
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        for trajectory in served:
            outcome = {"session": trajectory.session, "name": "success", "value": trajectory.score("success")}
            async with http.post(f"{installation.base_url}/feedback", json=outcome):
                pass
    return served


def test_from_a_captured_call_to_an_answer_of_the_adapter(installation: Installation) -> None:
    served = asyncio.run(serve(installation))
    assert all(trajectory.score("success") == 1 for trajectory in served)

    assert missing_in_store(Settings(home=installation.home).spool) is None
    with closing(open_store(Settings(home=installation.home))) as store:
        captured = store.find(Exchange, Filter.parse("tags.stage = production"))
    assert len(captured) == sum(trajectory.turns for trajectory in served), "every call is one record"
    assert {exchange.state for exchange in captured} == {"complete"}
    assert {exchange.session for exchange in captured} == {trajectory.session for trajectory in served}

    installation.run("dataset", "build", "bank", "--where", "tags.stage = production and feedback.success = 1")
    dataset = installation.newest(Dataset)
    assert isinstance(dataset, Dataset)
    assert dataset.train_rows + dataset.validation_rows == CUSTOMERS, "one row for each conversation"

    installation.run(
        "train", "sft", "bank", "--base", installation.environment["TINY"], "--name", "pupil", "--rank", "2",
        "--max-length", "8192", "--pack-tokens", "8192", "--batch-rows", "4", "--learning-rate", "1e-2",
    )  # fmt: skip
    adapter = installation.newest(Adapter)
    assert isinstance(adapter, Adapter)
    assert adapter.name == "pupil"

    installation.run(
        "eval", "--environment", "bank", "--models", f"tiny-base,pupil,{INCUMBENT}", "--count", "3",
        "--max-tokens", "4", "--base-url", installation.base_url,
    )  # fmt: skip
    report = installation.newest(EvalReport)
    assert isinstance(report, EvalReport)
    assert [model.success.estimate for model in report.models] == [0, 0, 1]

    with pytest.raises(StepFailed, match="exit code 3"):
        installation.run("promote", "support", "pupil")
    installation.run("promote", "support", "pupil", "--force", "a random model never wins, and the walk goes on")
    promotion = installation.newest(Promotion)
    assert isinstance(promotion, Promotion)
    assert promotion.target == adapter.id

    answered = asyncio.run(ask(installation, "support"))
    with closing(open_store(Settings(home=installation.home))) as store:
        exchange = store.get(Exchange, answered)
    assert exchange is not None
    assert (exchange.model, exchange.adapter, exchange.state) == ("support", adapter.id, "complete")
    tokens = exchange.choices[0].tokens
    assert tokens is not None
    assert len(tokens.reply) == len(tokens.logprobs) == exchange.usage.completion_tokens == 5


async def ask(installation: Installation, model: str) -> str:
    """The id of the exchange that one more call became, once it is stored."""
    async with AsyncOpenAI(base_url=installation.base_url, api_key="unused") as client:
        answer = await client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=5, temperature=0
        )
    exchange = answer.headers["x-journeyman-exchange"]
    for _ in range(100):
        with closing(open_store(Settings(home=installation.home))) as store:
            found = store.get(Exchange, exchange)
        if found is not None and found.state not in ("started", "streaming"):
            return exchange
        await asyncio.sleep(0.1)
    raise AssertionError(f"waited 10 s for exchange {exchange} to be stored")
