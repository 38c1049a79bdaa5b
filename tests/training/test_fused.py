"""The backward pass written by hand gives the gradients of transformers and PEFT in float64."""

import math

import pytest
import torch

from journeyman.rendering.chat import read_template
from journeyman.training.batches import pack_rows
from journeyman.training.fused import attention
from journeyman.training.policy import Policy
from tests.tiny import write_model
from tests.training.conftest import make_config, plain_model

FAMILIES = {
    "llama": ("llama", {}, {}),
    "attention alone": ("llama", {}, {"targets": "attention"}),
    "feed-forward alone": ("llama", {}, {"targets": "mlp"}),
    "a window": ("mistral", {"sliding_window": 8}, {}),
    "biases": ("qwen2", {}, {}),
    "norms of heads": ("qwen3", {}, {"rank_stabilised": True}),
}


def stirred(policy):
    generator = torch.Generator().manual_seed(3)
    masters = policy.masters.items()
    policy.restore({name: torch.randn(value.shape, generator=generator) * 0.1 for name, value in masters})
    return policy


@pytest.mark.parametrize("name", FAMILIES)
def test_losses_and_gradients_are_those_of_float64(masked, tmp_path, monkeypatch, name):
    monkeypatch.setattr(attention, "BLOCK", 5)
    architecture, shape, settings = FAMILIES[name]
    folder = write_model(tmp_path / "model", architecture, **shape)
    policy = stirred(Policy(folder, make_config(**settings)))
    assert policy._fused is not None
    rows = masked(4)
    (pack,) = pack_rows(rows, 10**6)
    assert pack.layout.segments[0].last > attention.BLOCK
    assert len(pack.layout.segments) > len(rows)
    found = -policy.token_logprobs(pack).sum()
    policy.backward(found)

    policy.save_adapter(tmp_path / "adapter", read_template(folder))
    exact = plain_model(folder, tmp_path / "adapter", torch.float64)
    expected = torch.zeros((), dtype=torch.float64)
    for parameter, value in exact.named_parameters():
        value.requires_grad_("lora_" in parameter)
        if "lora_" in parameter:
            value.data.copy_(policy.masters[parameter])
    for row in rows:
        ids = torch.tensor([list(row.ids)])
        logprobs = exact(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        expected = expected - logprobs[torch.tensor(row.mask[1:])].sum()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    theirs = {parameter: value.grad for parameter, value in exact.named_parameters() if value.grad is not None}
    assert theirs.keys() == policy.masters.keys()
    total = math.sqrt(sum(float((value**2).sum()) for value in theirs.values()))
    for parameter, master in policy.masters.items():
        assert (master.grad.double() - theirs[parameter]).norm() <= 1e-5 * total, parameter


def test_what_it_does_not_know_is_left_to_transformers(tmp_path, tiny):
    other = Policy(write_model(tmp_path / "model", "gemma3_text"), make_config())
    assert other._fused is None
    assert Policy(tiny, make_config(dropout=0.1))._fused is None
    assert Policy(tiny, make_config(full=True, rank=16, alpha=32.0))._fused is None
