"""An engine that somebody else started: recognised, watched, left running."""

import pytest

from journeyman.config import Settings
from journeyman.engines.attached import AttachedEngine
from journeyman.engines.dialect import SERVING_ONLY
from journeyman.engines.fit import WEIGHTS
from journeyman.engines.held import HeldEngine
from journeyman.errors import InvalidInput, NotFound, UpstreamFailed
from journeyman.records import Sampling
from journeyman.records.message import user
from tests.engines.conftest import post, program, until
from tests.engines.test_fit import LORA, write_tensors

HI = [user("Hi")]
QUICK = 0.3


@pytest.fixture
async def somebodys(tmp_path):
    async with program(tmp_path / "engine.log", owner="vllm") as process:
        yield process


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", models=tmp_path / "models")


async def test_it_finds_out_what_is_served_there(somebodys, settings):
    for url in (somebodys.url, f"{somebodys.url}/v1", f"{somebodys.url}/v1/"):
        async with AttachedEngine(url, settings) as engine:
            assert (engine.name, engine.url, engine.epoch) == ("tiny", somebodys.url, 1)
            assert engine.dialect.health == "/health"
            assert not engine.dialect.checks_adapters
            assert engine.failure is None
    assert somebodys.failure is None, "letting go of it must not end it"


async def test_our_own_engine_is_recognised(tmp_path, settings):
    async with program(tmp_path / "log") as process, AttachedEngine(process.url, settings, "tiny") as engine:
        assert engine.dialect.checks_adapters


async def test_what_cannot_be_attached_to_is_an_error(somebodys, settings):
    with pytest.raises(NotFound, match=r"'huge'.*there is: tiny"):
        await AttachedEngine(somebodys.url, settings, "huge").start()
    with pytest.raises(UpstreamFailed, match="no engine can be reached at"):
        await AttachedEngine("http://127.0.0.1:9", settings).start()
    with pytest.raises(UpstreamFailed, match="no list of models"):
        await AttachedEngine(f"{somebodys.url}/v1/models", settings).start()


async def test_it_is_noticed_when_it_goes_and_when_it_is_back(tmp_path, settings):
    first = program(tmp_path / "log")
    await first.start()
    async with AttachedEngine(first.url, settings, check_every=QUICK) as attached, HeldEngine(attached) as engine:
        await engine.load("a@1", tmp_path / "a")
        await first.stop()
        await until(lambda: attached.failure)
        assert attached.retry_after == QUICK
        with pytest.raises(UpstreamFailed, match="does not answer") as caught:
            await engine.reply("tiny", HI)
        assert caught.value.status == 503
        async with program(tmp_path / "log") as second:
            attached.url = second.url
            await until(lambda: attached.failure is None)
            assert attached.epoch > 1
            assert (await engine.reply("a@1", HI)).message.content == f"{tmp_path / 'a'} of {second.pid}"


async def test_adapters_that_it_holds_already_are_taken_over(somebodys, settings, base, adapter):
    async with AttachedEngine(somebodys.url, settings) as attached:
        async with HeldEngine(attached) as engine:
            await engine.load("a@1", adapter("a"))
        async with HeldEngine(attached) as engine:
            await engine.load("a@1", adapter("a"))
            assert engine.holds("a@1")
        async with HeldEngine(attached) as engine:
            with pytest.raises(InvalidInput, match="already been loaded"):
                await engine.load("a@1", adapter("b"))


async def test_what_vllm_would_ignore_is_refused(somebodys, settings, base, adapter):
    async with AttachedEngine(somebodys.url, settings) as attached, HeldEngine(attached) as engine:
        with pytest.raises(InvalidInput, match="timeout: vLLM keeps no deadline"):
            await engine.reply("tiny", HI, (), Sampling.model_validate({"timeout": 3}))
        await engine.load("a@1", adapter("a", template="the base's"))
        with pytest.raises(InvalidInput, match="another chat template"):
            await engine.load("b@1", adapter("b", template="its own"))


async def test_without_the_base_model_at_hand_no_adapter_is_trusted(somebodys, settings, adapter):
    async with AttachedEngine(somebodys.url, settings) as attached, HeldEngine(attached) as engine:
        with pytest.raises(InvalidInput, match="cannot be seen from here"):
            await engine.load("a@1", adapter("a"))


@pytest.fixture
def base(settings):
    folder = settings.models / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("the base's")
    write_tensors(folder / "model.safetensors", {"layer.weight": (4, 3)})


@pytest.fixture
def adapter(tmp_path):
    def made(name, template=None):
        folder = tmp_path / f"adapter-{name}"
        folder.mkdir(exist_ok=True)
        write_tensors(folder / WEIGHTS, {f"base_model.model.layer.lora_{m}.weight": s for m, s in LORA.items()})
        if template:
            (folder / "chat_template.jinja").write_text(template)
        return folder

    return made


async def test_a_hung_engine_of_somebody_else_is_only_reported(somebodys, settings):
    async with AttachedEngine(somebodys.url, settings, check_every=QUICK) as attached:
        await post(f"{somebodys.url}/hang")
        await until(lambda: attached.failure)
    assert somebodys.failure is None


async def test_an_engine_of_ours_with_weights_of_8_bits_is_asked_as_such(tmp_path, settings, monkeypatch):
    monkeypatch.setenv("PROGRAM_PRECISION", "int8")
    async with program(tmp_path / "log") as process, AttachedEngine(process.url, settings) as engine:
        assert engine.dialect is SERVING_ONLY
        assert not engine.ends_with_us
