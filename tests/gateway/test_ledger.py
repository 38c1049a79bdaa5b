"""Every served token is booked once: whoever counted it, whatever became of the client, the engine or the store."""

import asyncio
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given
from hypothesis import settings as check
from hypothesis import strategies as st

from journeyman.config import PriceRule
from journeyman.engines.dialect import LOCAL, Dialect
from journeyman.engines.local.counters import Counters
from journeyman.errors import Refused, UpstreamFailed
from journeyman.gateway import ledger as ledgers
from journeyman.gateway.call import Call, Outcome, fingerprint
from journeyman.gateway.ledger import Ledger
from journeyman.gateway.reconcile import Difference, read_totals, reconcile
from journeyman.gateway.served import Served, ServedEntry, Sums, Totals
from journeyman.prices import PriceList
from journeyman.records import Promotion, Usage, UsageEntry
from journeyman.registry.resolve import Target
from journeyman.store.memory import MemoryStore
from journeyman.store.usage import add_up_usage

HI = [{"role": "user", "content": "Hi"}]
ANNA = hashlib.sha256(b"client-key").hexdigest()[:12]
"""The token that the tests' client sends."""


@dataclass
class CountingEngine:
    """Real counters behind the routes that a real engine has for them; its replies are made up."""

    name: str = "tiny"
    url: str = ""
    failure: str | None = None
    retry_after: float | None = None
    ends_with_us: bool = True
    epoch: int = 1
    dialect: Dialect = LOCAL
    counters: Counters = field(default_factory=Counters)
    hold: asyncio.Event | None = None
    listed: bool = True

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name, choices = request.headers["x-request-id"], body.get("n", 1)
        assert "authorization" not in request.headers
        if self.hold is not None:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"choices": [{"index": 0, "delta": {"content": "Hel"}}]}\n\n')
            try:
                await self.hold.wait()
            finally:
                self.serve(name, 12, 4, 1, "cancelled")
            return response
        if self.listed:
            for choice in range(choices):
                self.serve(name, 0 if choice else 12, 0 if choice else 4, 3 + choice, "stop")
        said = {"role": "assistant", "content": "Hello"}
        used = {"prompt_tokens": 12, "completion_tokens": sum(3 + choice for choice in range(choices)),
                "prompt_tokens_details": {"cached_tokens": 4}}  # fmt: skip
        made = [{"index": index, "message": said, "finish_reason": "stop"} for index in range(choices)]
        return web.json_response({"model": "tiny", "choices": made, "usage": used})

    def serve(self, request: str, prompt: int, cached: int, completion: int, ended: str = "stop") -> None:
        self.counters.serve(request, None, prompt, cached, completion, ended)

    async def served(self, request: web.Request) -> web.Response:
        found = self.counters.served_after(int(request.query["after"]), int(request.query["limit"]))
        return web.json_response({**found, "totals": totals_of(self.counters).model_dump()})


def totals_of(counters: Counters) -> Totals:
    sums = {name: Sums(**asdict(total)) for name, total in counters.totals().items()}
    return Totals(base=sums.pop(None, Sums()), adapters=sums)


@pytest.fixture
async def engine() -> AsyncIterator[CountingEngine]:
    counting = CountingEngine()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", counting.chat)
    app.router.add_get("/v1/served", counting.served)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    counting.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield counting
    await runner.cleanup()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that the engine does not list are given up at once, and the engine is read when the test says so."""
    monkeypatch.setattr(ledgers, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(ledgers, "READ_EVERY_SECONDS", 3600.0)


@pytest.fixture
def no_patience(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything waited for when the ledger is closed."""
    monkeypatch.setattr(ledgers, "_LAST_PAUSES", (0.0, 0.0))


def booked(store: Any) -> list[UsageEntry]:
    """Oldest first."""
    return list(store.find(UsageEntry))[::-1]


async def until_booked(store: Any, ledger: Ledger | None = None) -> None:
    for _ in range(500):
        if ledger is not None:
            await ledger.catch_up()
        if booked(store):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 5 s for an entry of the ledger")


async def ask(gateway: Any, model: str = "tiny", **more: Any) -> Any:
    async with gateway.client() as client:
        return await client.chat.completions.create(model=model, messages=HI, **more)


async def test_a_call_is_booked_with_who_asked_under_which_name_and_what_it_cost(gateway, engine, store, settings):
    store.put(Promotion(alias="support", target="tiny"))
    await ask(gateway, "support")
    await gateway.gateway.ledger.catch_up()
    [entry] = booked(store)
    exchange = await gateway.exchange()
    assert (entry.request, entry.key, entry.alias, entry.model) == (exchange.id, ANNA, "support", "tiny")
    assert entry.usage == exchange.usage == Usage(prompt_tokens=12, cached_prompt_tokens=4, completion_tokens=3)
    assert (entry.source, entry.ended, entry.upstream) == ("engine", "stop", "engine")
    assert entry.picodollars is None, "a model without a price is not free"


async def test_a_price_of_the_installation_is_used_for_the_ledger_and_the_exchange(store, engine, serving, settings):
    settings.prices["tiny"] = PriceRule(input="1", cached="0.1", output="2.5")
    async with serving(store, engine) as gateway:
        await ask(gateway)
        exchange = await gateway.exchange()
    [entry] = booked(store)
    assert entry.picodollars == 8 * 1_000_000 + 4 * 100_000 + 3 * 2_500_000
    assert exchange.cost_usd == entry.picodollars / 1e12


async def test_the_choices_of_a_call_are_booked_each_and_counted_as_one_call(gateway, store):
    await ask(gateway, n=3)
    await gateway.gateway.ledger.catch_up()
    entries = booked(store)
    assert [entry.usage.completion_tokens for entry in entries] == [3, 4, 5]
    [sums] = add_up_usage(entries, ("key",)).values()
    assert (sums.calls, sums.tokens) == (1, (await gateway.exchange()).usage)
    assert gateway.gateway.ledger.report()["pending"] == 0


async def test_what_a_client_that_hung_up_was_served_is_booked_to_it(gateway, engine, store):
    engine.hold = asyncio.Event()
    async with gateway.client() as client:
        stream = await client.chat.completions.create(model="tiny", messages=HI, stream=True)
        await anext(stream)
        await stream.close()
    exchange = await gateway.exchange()
    assert exchange.state == "aborted_client"
    await until_booked(store, gateway.gateway.ledger)
    [entry] = booked(store)
    assert (entry.request, entry.key, entry.ended) == (exchange.id, ANNA, "cancelled")
    assert (entry.usage.prompt_tokens, entry.usage.completion_tokens) == (12, 1)


async def test_calls_past_the_gateway_are_booked_to_an_unknown_caller(gateway, engine, store):
    engine.serve("direct-1", 5, 0, 2)
    engine.serve("", 6, 0, 1)
    await ask(gateway)
    await gateway.gateway.ledger.catch_up()
    assert [(entry.key, entry.alias) for entry in booked(store)] == [("unknown", None)] * 2 + [(ANNA, "tiny")]
    assert gateway.gateway.ledger.report()["unknown"] == 2


async def test_the_ledger_equals_the_engine_to_the_token_and_says_so(gateway, engine, store):
    engine.serve("direct", 5, 1, 2)
    await asyncio.gather(*(ask(gateway, n=1 + number % 3) for number in range(12)))
    epoch, totals = await read_totals(gateway.url)
    result = reconcile(store, epoch, totals)
    assert result.differences == ()
    assert result.tokens == 7 + 12 * 12 + 4 * (3 + 7 + 12)
    engine.serve("later", 100, 0, 100)
    await gateway.gateway.ledger.catch_up()
    assert reconcile(store, epoch, totals).differences == (), "only what the sums hold is compared"


async def test_a_difference_is_named(gateway, engine, store):
    await ask(gateway)
    epoch, totals = await read_totals(gateway.url)
    totals.base.completion += 2
    totals.adapters["red"] = Sums(requests=0, prompt=1)
    differences = reconcile(store, epoch, totals).differences
    assert differences == (
        Difference(adapter=None, what="completion tokens", engine=5, ledger=3),
        Difference(adapter="red", what="prompt tokens", engine=1, ledger=0),
    )


async def test_a_gateway_that_stops_has_booked_the_calls_that_have_just_ended(engine, serving, store):
    async with serving(store, engine) as gateway:
        await asyncio.gather(*(ask(gateway) for _ in range(20)))
    assert len(booked(store)) == 20
    assert {entry.key for entry in booked(store)} == {ANNA}


async def test_a_second_gateway_goes_on_where_the_first_one_stopped(engine, serving, store):
    async with serving(store, engine) as first:
        await ask(first)
    engine.serve("meanwhile", 5, 0, 2)
    async with serving(store, engine) as second:
        await ask(second)
        await second.gateway.ledger.catch_up()
        assert reconcile(store, *await read_totals(second.url)).differences == ()
        assert second.gateway.ledger.report()["unknown"] == 1
    assert [entry.number for entry in booked(store)] == [1, 2, 3]


async def test_more_than_a_page_is_read_at_once(engine, serving, store):
    for number in range(2500):
        engine.serve(f"direct-{number}", 1, 0, 1)
    async with serving(store, engine) as gateway:
        await gateway.gateway.ledger.catch_up()
        assert gateway.gateway.ledger.report()["entries"] == 2500
    assert store.count(UsageEntry) == {"": 2500}


async def test_entries_that_the_engine_dropped_are_a_gap_and_a_difference(engine, serving, store, caplog):
    for number in range(5):
        engine.serve(f"direct-{number}", 10, 0, 1)
    engine.counters._served.popleft()
    engine.counters._served.popleft()
    async with serving(store, engine) as gateway:
        result = reconcile(store, *await read_totals(gateway.url))
        assert gateway.gateway.ledger.report()["missed"] == 2
    assert {(each.what, each.engine - each.ledger) for each in result.differences} == {
        ("choices", 2), ("prompt tokens", 20), ("completion tokens", 2),
    }  # fmt: skip
    [gap] = [entry for entry in booked(store) if entry.source == "gap"]
    assert "2 entries from number 1 on were dropped" in gap.note
    assert "usage reconcile" in caplog.text


@pytest.mark.usefixtures("patience")
async def test_what_an_engine_took_with_it_is_booked_from_the_answers(engine, serving, store, caplog):
    async with serving(store, engine) as gateway:
        await gateway.gateway.ledger.catch_up()
        await ask(gateway)
        engine.counters = Counters()
        await ask(gateway)
        await gateway.gateway.ledger.catch_up()
        report = gateway.gateway.ledger.report()
    assert (report["restarts"], report["unmatched"], report["pending"]) == (1, 0, 0)
    entries = booked(store)
    assert Counter(entry.source for entry in entries) == {"gap": 1, "engine": 1, "answer": 1}
    assert {entry.usage.total_tokens for entry in entries if entry.source != "gap"} == {15}
    assert "started anew" in caplog.text


@pytest.mark.usefixtures("patience")
async def test_an_answer_that_the_engine_never_lists_is_counted_as_such(engine, serving, store, caplog):
    engine.listed = False
    async with serving(store, engine) as gateway:
        await gateway.gateway.ledger.catch_up()
        await ask(gateway)
        await gateway.gateway.ledger.catch_up()
        assert gateway.gateway.ledger.report()["unmatched"] == 1
    assert booked(store) == []
    assert "has not listed it" in caplog.text


async def test_a_store_that_comes_back_gets_every_entry_once(engine, serving):
    class Stubborn(MemoryStore):
        refusing = True

        def put(self, *records):
            if self.refusing and any(isinstance(record, UsageEntry) for record in records):
                raise OSError("no space left on device")
            super().put(*records)

    store = Stubborn()
    async with serving(store, engine) as gateway:
        await ask(gateway)
        for _ in range(3):
            with pytest.raises(OSError, match="no space"):
                await gateway.gateway.ledger.catch_up()
        assert gateway.gateway.ledger.report()["pending"] == 1
        store.refusing = False
        await ask(gateway)
        assert reconcile(store, *await read_totals(gateway.url)).differences == ()
    assert len(booked(store)) == 2


async def test_health_tells_how_the_bookkeeping_goes(gateway, engine, http, monkeypatch):
    await ask(gateway)
    await gateway.gateway.ledger.catch_up()
    _, health = await http("GET", f"{gateway.url}/healthz")
    assert health["ledger"] == {
        "entries": 1, "unknown": 0, "missed": 0, "restarts": 0, "unmatched": 0, "pending": 0,
        "counted_by": "the engine", "last_error": None,
    }  # fmt: skip


async def test_the_ledger_reads_by_itself(engine, serving, store, monkeypatch):
    monkeypatch.setattr(ledgers, "READ_EVERY_SECONDS", 0.01)
    async with serving(store, engine) as gateway:
        await ask(gateway)
        await until_booked(store)


async def test_a_provider_is_believed_what_its_answers_tell(gateway, upstream, store):
    await ask(gateway, "acme/gpt-4.1")
    upstream.answer = upstream.streamed(upstream.hello)
    async with gateway.client() as client:
        stream = await client.chat.completions.create(model="open/gpt-4.1", messages=HI, stream=True)
        async for _ in stream:
            continue
    await gateway.exchanges(2)
    await gateway.gateway.ledger.catch_up()
    first, second = booked(store)
    assert (first.upstream, first.alias, first.source) == ("acme", "acme/gpt-4.1", "answer")
    assert first.usage == second.usage == Usage(prompt_tokens=12, cached_prompt_tokens=4, completion_tokens=3)
    assert first.picodollars == 8 * 2_000_000 + 4 * 500_000 + 3 * 8_000_000
    assert (first.epoch, first.number, first.key) == (None, None, ANNA)


async def test_a_provider_that_did_not_come_to_its_usage_is_booked_as_untold_and_a_refusal_not_at_all(
    gateway, upstream, store
):
    upstream.answer = upstream.streamed(upstream.hello[:3], cut=True)
    async with aiohttp.ClientSession() as client:
        asked = {"model": "acme/gpt-4.1", "messages": HI, "stream": True}
        answer = await client.post(f"{gateway.url}/v1/chat/completions", json=asked)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    upstream.answer = upstream.whole({"error": {"message": "no"}}, status=400)
    with pytest.raises(openai.BadRequestError):
        await ask(gateway, "acme/gpt-4.1")
    await gateway.exchanges(2)
    await gateway.gateway.ledger.catch_up()
    [entry] = booked(store)
    assert (entry.source, entry.picodollars, entry.usage) == ("untold", None, Usage())
    [sums] = add_up_usage([entry], ("key",)).values()
    assert (sums.calls, sums.untold, sums.unpriced) == (1, 1, 0)


async def test_an_engine_without_a_list_is_believed_its_answers(serving, upstream, store):
    async with serving(store, CountingEngine(url=upstream.url)) as gateway:
        await ask(gateway)
        await gateway.gateway.ledger.catch_up()
        assert gateway.gateway.ledger.report()["counted_by"] == "answers"
        with pytest.raises(Refused, match="nothing to reconcile"):
            await read_totals(gateway.url)
    [entry] = booked(store)
    assert (entry.source, entry.upstream, entry.usage.total_tokens) == ("answer", "engine", 15)


async def test_no_gateway_no_reconciliation():
    with pytest.raises(UpstreamFailed, match="journeyman up"):
        await read_totals("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "anonymous"),
        ("Bearer ", "anonymous"),
        ("Basic dXNlcg==", "anonymous"),
        ("Bearer client-key", ANNA),
        ("bearer  client-key ", ANNA),
    ],
)
def test_a_key_is_known_by_its_fingerprint_only(header, expected):
    assert fingerprint(header) == expected


entries = st.builds(
    ServedEntry,
    number=st.just(0),
    request=st.sampled_from(["a", "b", "c", ""]),
    adapter=st.sampled_from([None, "red", "green"]),
    prompt=st.integers(0, 1000),
    cached=st.integers(0, 1000),
    completion=st.integers(0, 1000),
    ended=st.sampled_from(["stop", "length", "cancelled", "failed"]),
)


class Reader:
    """Reads counters of this process."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters

    async def after(self, url, number, limit=7, totals=False):
        return Served.model_validate(self.counters.served_after(number, limit))


@check(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(entries, max_size=20), max_size=5), twice=st.booleans())
def test_however_it_is_read_sums_of_the_ledger_are_the_engines(batches, twice):
    async def read() -> None:
        counters, store = Counters(), MemoryStore()
        rules = {"tiny": PriceRule(input="0.02", output="0.06"), "red": PriceRule(input="0.5", output="0.000001")}
        ledger = Ledger(store, PriceList(rules), CountingEngine())
        ledger._reader = Reader(counters)
        for batch in batches:
            for each in batch:
                counters.serve(
                    each.request, each.adapter, each.prompt, min(each.cached, each.prompt), each.completion, each.ended
                )
            if twice:
                ledger = Ledger(store, PriceList(rules), CountingEngine())
                ledger._reader = Reader(counters)
            await ledger.catch_up()
        if any(batches):
            assert reconcile(store, counters.epoch, totals_of(counters)).differences == ()
        kept = store.find(UsageEntry, limit=10_000)
        for by in (("key",), ("adapter", "model"), ("day", "alias")):
            sums = add_up_usage(kept, by).values()
            assert sum(each.picodollars for each in sums) == sum(entry.picodollars or 0 for entry in kept)
            assert sum(each.completion_tokens for each in sums) == sum(
                total.completion for total in counters.totals().values()
            )

    asyncio.run(read())


class World:
    """A gateway's ledger and an engine to which everything may happen; and what each request was truly served."""

    def __init__(self, ends_with_us: bool) -> None:
        self.store, self.engine = MemoryStore(), CountingEngine(ends_with_us=ends_with_us)
        self.names = itertools.count()
        self.told = True
        self.lost = False
        self.truth: Counter[str] = Counter()
        self.new_ledger()

    def new_ledger(self) -> None:
        self.calls: dict[str, Call] = {}
        self.ledger = Ledger(self.store, PriceList(), self.engine)
        self.ledger._reader = self

    async def after(self, url: str, number: int, limit: int = 3, *, totals: bool = False) -> Served | None:
        if not self.told:
            return None
        return Served.model_validate(self.engine.counters.served_after(number, limit))

    async def close(self) -> None:
        """As a reader has it."""

    async def begin(self, choices: int) -> None:
        target = Target(kind="base", model="tiny", base="tiny")
        call = Call("tiny", target, choices=choices, id=f"call-{next(self.names)}")
        self.calls[call.id] = call
        self.ledger.begin(call)

    async def end(self, place: int, *, listed: bool = True, again: bool = False) -> None:
        """The engine serves a call, and the gateway sees its answer; `again`: the engine is another one by then."""
        if not self.calls or self.engine.failure:
            return
        call = self.calls.pop(sorted(self.calls)[place % len(self.calls)])
        count = call.choices
        for choice in range(count):
            self.engine.serve(call.id, 0 if choice else 12, 0, 3)
        self.truth[call.id] = 12 + 3 * count
        if again:
            self.engine.counters, self.lost = Counters(), True
        said = {"role": "assistant", "content": "Hi"}
        made = [{"index": index, "message": said, "finish_reason": "stop"} for index in range(count)]
        answer = {"choices": made, "usage": {"prompt_tokens": 12, "completion_tokens": 3 * count}}
        self.ledger.end(call, Outcome("complete", 200, json.dumps(answer).encode()))

    async def end_in_a_crash(self, place: int) -> None:
        await self.end(place, again=True)

    async def refuse(self, place: int) -> None:
        self.told = False

    async def tell(self, place: int) -> None:
        self.told = True

    async def fail(self, place: int) -> None:
        self.engine.failure = "does not answer"

    async def answer_again(self, place: int) -> None:
        self.engine.failure = None

    async def read(self, place: int) -> None:
        await self.ledger._try_to_catch_up()

    async def restart_gateway(self, place: int) -> None:
        """It stops in good order; an engine that is started by it ends, too."""
        self.ledger._task = asyncio.create_task(asyncio.sleep(0))
        await self.ledger.close()
        if self.engine.ends_with_us:
            self.lost = self.lost or not self.told or bool(self.engine.failure)
            self.engine.counters, self.engine.failure = Counters(), None
        self.new_ledger()

    def booked(self) -> Counter[str]:
        sums: Counter[str] = Counter()
        for entry in self.store.find(UsageEntry, limit=10_000):
            if entry.source != "gap":
                sums[entry.request] += entry.usage.total_tokens
        return sums


WHAT = ("begin", "begin", "end", "end", "end_in_a_crash", "refuse", "tell", "fail", "answer_again", "read",
        "restart_gateway")  # fmt: skip
happenings = st.tuples(st.sampled_from(WHAT), st.integers(1, 3))


@pytest.mark.parametrize("ends_with_us", [True, False])
@check(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=st.lists(happenings, max_size=25))
def test_whatever_happens_in_whatever_order_tokens_of_a_request_are_booked_once(happened, ends_with_us, no_patience):
    async def live() -> None:
        world = World(ends_with_us)
        for what, number in happened:
            await getattr(world, what)(number)
            assert all(tokens <= world.truth[name] for name, tokens in world.booked().items()), (what, world.booked())
        world.told, world.engine.failure = True, None
        await world.ledger.catch_up()
        await world.ledger.catch_up()
        assert all(tokens <= world.truth[name] for name, tokens in world.booked().items()), world.booked()
        if not world.lost:
            assert world.booked() == world.truth

    asyncio.run(live())


async def test_an_engine_that_refuses_its_counters_for_a_moment_still_counts():
    world = World(ends_with_us=False)
    await world.read(0)
    await world.begin(1)
    await world.end(0)
    world.told = False
    with pytest.raises(UpstreamFailed, match="told before"):
        await world.ledger.catch_up()
    assert world.booked() == {}
    world.told = True
    await world.ledger.catch_up()
    assert [(entry.source, entry.key) for entry in booked(world.store)] == [("engine", "anonymous")]


async def test_what_an_attached_engine_served_just_before_it_fell_silent_is_left_for_the_next_gateway(no_patience):
    world = World(ends_with_us=False)
    await world.read(0)
    await world.begin(1)
    await world.end(0)
    await world.fail(0)
    await world.restart_gateway(0)
    assert booked(world.store) == []
    await world.answer_again(0)
    await world.ledger.catch_up()
    assert [entry.source for entry in booked(world.store)] == ["engine"]


async def test_a_call_that_was_booked_from_its_answer_is_not_booked_again_and_reconciling_names_it():
    world = World(ends_with_us=False)
    world.told = False
    await world.begin(2)
    await world.end(0)
    await world.ledger.catch_up()
    world.told = True
    await world.ledger.catch_up()
    assert [entry.source for entry in booked(world.store)] == ["answer", "gap", "gap"]
    assert world.booked() == world.truth
    counters = world.engine.counters
    result = reconcile(world.store, counters.epoch, totals_of(counters))
    assert (result.differences, result.answered) == ((), ("call-0",))
