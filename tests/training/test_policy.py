"""The policy: LoRA on every linear layer, saved as PEFT reads it, with float32 masters."""

import json
import socket

import pytest
import torch
from peft import PeftModel

from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.network.step import Step
from journeyman.rendering.chat import ChatTokenizer, read_template
from journeyman.training.batches import pack_rows
from journeyman.training.policy import Policy
from tests.tiny import write_model
from tests.training.conftest import make_config, plain_model


def stirred(policy, std=0.1):
    generator = torch.Generator().manual_seed(5)
    policy.restore(
        {name: torch.randn(value.shape, generator=generator) * std for name, value in policy.masters.items()}
    )
    return policy


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3_text"])
def test_every_linear_layer_but_the_head_has_an_adapter(tmp_path, architecture):
    policy = Policy(write_model(tmp_path / "model", architecture), make_config(rank=4))
    kinds = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.split(".")[-4] for name in policy.masters} == kinds
    assert len(policy.masters) == 2 * len(kinds) * 2
    assert all(4 in value.shape for value in policy.masters.values())


def test_only_the_adapter_learns(tiny, masked):
    policy = Policy(tiny, make_config())
    trainable = [name for name, value in policy.network.named_parameters() if value.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("llama", {}),
        ("qwen3", {}),
        ("mistral", {"sliding_window": 8}),
        ("gemma3_text", {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_with_a_fresh_adapter_it_computes_what_transformers_computes(tmp_path, masked, architecture, shape):
    folder = write_model(tmp_path / "model", architecture, **shape)
    policy = Policy(folder, make_config())
    row = masked(1)[0]
    pack = pack_rows([row], 10**6)[0]
    with torch.no_grad():
        expected = plain_model(folder)(torch.tensor([list(row.ids)])).logits[0, pack.predictors].log_softmax(-1)
        expected = expected.gather(1, pack.targets[:, None])[:, 0]
        torch.testing.assert_close(policy.token_logprobs(pack), expected, atol=1e-5, rtol=1e-5)


def test_a_saved_adapter_loads_in_peft_and_gives_the_same_logprobs(tiny, masked, tmp_path):
    policy = stirred(Policy(tiny, make_config()))
    template = read_template(tiny)
    policy.save_adapter(tmp_path / "adapter", template)
    theirs = PeftModel.from_pretrained(plain_model(tiny), tmp_path / "adapter").eval()
    for row in masked(3):
        pack = pack_rows([row], 10**6)[0]
        with torch.no_grad():
            expected = theirs(torch.tensor([list(row.ids)])).logits[0, pack.predictors].log_softmax(-1)
            expected = expected.gather(1, pack.targets[:, None])[:, 0]
            torch.testing.assert_close(policy.token_logprobs(pack), expected, atol=1e-4, rtol=1e-4)
    assert ChatTokenizer(tiny).for_adapter(tmp_path / "adapter").template.version == template.version


def test_saving_names_no_path_of_this_machine_asks_no_hub_and_is_the_same_every_time(tiny, tmp_path, monkeypatch):
    def no_network(*args, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    for name in ("one", "two"):
        stirred(Policy(tiny, make_config())).save_adapter(tmp_path / name, read_template(tiny))
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files.keys() == {"adapter_config.json", "adapter_model.safetensors", "base.json", "chat_template.jinja"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert all(str(tiny.parent).encode() not in content for content in files.values())
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == tiny.name


def test_trainer_and_engine_give_the_same_logprobs(tiny, masked, tmp_path):
    policy = stirred(Policy(tiny, make_config()))
    policy.save_adapter(tmp_path / "adapter", read_template(tiny))
    engine = LocalModel(tiny, precision="float32")
    engine.load_adapter("a", tmp_path / "adapter")
    for row in masked(4):
        pack = pack_rows([row], 10**6)[0]
        weights, lease = engine.adapters.hold("a"), engine.cache.take(len(row.ids), b"a")
        step = Step()
        step.add(row.ids, 0, lease.pages, weights)
        logits = engine.forward(step, pack.predictors.tolist())
        engine.cache.release(lease)
        served = torch.log_softmax(logits, dim=-1).gather(1, pack.targets[:, None])[:, 0]
        assert (policy.logprobs(pack) - served).abs().mean() < 1e-4


def test_logprobs_are_without_dropout(tiny, masked):
    policy = stirred(Policy(tiny, make_config(dropout=0.5)))
    pack = pack_rows(masked(2), 10**6)[0]
    assert torch.equal(policy.logprobs(pack), policy.logprobs(pack))
    assert not torch.equal(policy.token_logprobs(pack), policy.token_logprobs(pack)), "while learning there is some"


def test_in_bfloat16_the_masters_are_float32(tiny, masked):
    policy = Policy(tiny, make_config(precision="bfloat16"))
    computing = dict(policy.network.named_parameters())
    assert {value.dtype for value in computing.values()} == {torch.bfloat16}
    assert {value.dtype for value in policy.masters.values()} == {torch.float32}
    packs = pack_rows(masked(4), 100)
    assert len(packs) > 1
    expected = {name: torch.zeros_like(value) for name, value in policy.masters.items()}
    for pack in packs:
        before = {
            name: master.grad.clone() if master.grad is not None else 0 for name, master in policy.masters.items()
        }
        policy.backward(-policy.token_logprobs(pack).sum())
        for name, master in policy.masters.items():
            expected[name] += master.grad - before[name]
    assert all(master.grad.dtype is torch.float32 for master in policy.masters.values())
    # A change that bfloat16 would round away adds up in the masters.
    name, master = next((name, value) for name, value in policy.masters.items() if value.any())
    start = master.clone()
    for _ in range(100):
        with torch.no_grad():
            master.mul_(1.0001)
    policy.publish()
    torch.testing.assert_close(master, start * 1.0001**100, rtol=1e-4, atol=0)
    assert torch.equal(computing[name], master.bfloat16())


def test_state_is_a_copy_that_can_be_put_back(tiny, masked):
    policy = stirred(Policy(tiny, make_config()))
    pack = pack_rows(masked(2), 10**6)[0]
    before, state = policy.logprobs(pack), policy.state()
    stirred(policy, std=0.3)
    assert not torch.allclose(policy.logprobs(pack), before)
    policy.restore(state)
    assert torch.equal(policy.logprobs(pack), before)
