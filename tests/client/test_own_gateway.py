"""A program that captures itself and asks our own gateway of the same home: one record a call, with its labels."""

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests

import journeyman
from journeyman.capture.embedded import ingester_for
from journeyman.capture.identity import identity_of
from journeyman.config import Settings
from journeyman.records import Exchange
from journeyman.store.memory import MemoryStore
from tests.client.spooled import spooled
from tests.clients.provider import TEXT, running
from tests.clients.serving import Serving, serving

ASK = {"model": "acme/small", "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}


@pytest.fixture
def served(home: Path) -> Iterator[Serving]:
    with running() as provider, serving(home, provider) as found:
        yield found


def kept(served: Serving, count: int) -> list[Exchange]:
    served.gateway.settle(10)
    ingested = list(served.store.find(Exchange, limit=100))[::-1]
    assert [each.state for each in ingested] == ["complete"] * count
    assert {each.source for each in ingested} == {"gateway"}
    return ingested


@pytest.mark.parametrize("stream", [False, True])
def test_the_drop_in_client(served: Serving, home: Path, stream: bool):
    client = journeyman.OpenAI(base_url=served.v1, api_key="k", max_retries=0)
    with client, journeyman.capture(session="s", person="p", tags={"a": "1, 2"}) as captured:
        said = client.chat.completions.create(stream=stream, **ASK)
        text = "".join(e.choices[0].delta.content or "" for e in said) if stream else said.choices[0].message.content
    assert text == TEXT
    [exchange] = kept(served, 1)
    assert (exchange.session, exchange.person, exchange.tags) == ("s", "p", {"a": "1, 2"})
    assert captured.last == exchange.id, "feedback finds it"
    assert not any(name.startswith("x-journeyman-") for name in served.provider.calls[-1].headers)


async def test_every_library(served: Serving, home: Path):
    url = f"{served.v1}/chat/completions"
    with journeyman.capture(session="s") as captured:
        httpx.post(url, json=ASK)  # noqa: ASYNC210 - the gateway runs in a thread of its own
        requests.post(url, json=ASK, timeout=10)  # noqa: ASYNC210
        async with aiohttp.ClientSession() as session, session.post(url, json=ASK) as answer:
            await answer.read()
        async with httpx.AsyncClient() as client:
            await client.post(url, json=ASK)
    exchanges = kept(served, 4)
    assert [each.id for each in exchanges] == list(captured.calls)
    assert {each.session for each in exchanges} == {"s"}


def test_a_session_that_fits_no_header_keeps_its_own_record(served: Serving, home: Path):
    with journeyman.capture(session="Köln ☂"):
        httpx.post(f"{served.v1}/chat/completions", json=ASK)
    served.gateway.settle(10)
    assert {each.session for each in served.store.find(Exchange)} == {"Köln ☂", None}


def test_another_home_keeps_its_own_record(served: Serving, home: Path, tmp_path: Path):
    with journeyman.capture(home=tmp_path / "another", session="s"):
        httpx.post(f"{served.v1}/chat/completions", json=ASK)
    [exchange] = kept(served, 1)
    assert exchange.session is None, "no label is told to a gateway that is not known to be ours"
    [own] = spooled(tmp_path / "another")
    assert (own.state, own.start["session"]) == ("complete", "s")


def test_an_answer_that_only_claims_to_be_kept_is_kept(served: Serving, home: Path):
    def claims(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={}, headers={"x-journeyman-exchange": "1", "x-journeyman-spool": "another"})

    with journeyman.capture(), httpx.Client(transport=httpx.MockTransport(claims)) as client:
        client.post("http://provider/v1/chat/completions", json=ASK)
    own = [call for call in spooled(home) if call.start["source"] == "client"]
    assert [call.state for call in own] == ["complete"]


def test_what_was_shown_while_the_call_lasted_goes(served: Serving, home: Path, tmp_path: Path, monkeypatch):
    """An ingester shows a call that lasts; its writer withdraws it later."""
    monkeypatch.setattr("journeyman.capture.ingest._LASTING_SECONDS", 0.0)
    folder = tmp_path / "h"
    store = MemoryStore()
    ingesting = ingester_for(Settings(home=folder), store)

    def claims(request: httpx.Request) -> httpx.Response:
        ingesting.run_once()
        [shown] = store.find(Exchange)
        assert shown.state == "started"
        return httpx.Response(
            200, json={}, headers={"x-journeyman-exchange": "1", "x-journeyman-spool": identity_of(folder / "spool")}
        )

    assert identity_of(folder / "spool", make=True)
    with journeyman.capture(home=folder), httpx.Client(transport=httpx.MockTransport(claims)) as client:
        client.post("http://provider/v1/chat/completions", json=ASK)
    ingesting.run_once()
    assert not store.find(Exchange)
    ingesting.close()
