"""Which weights are trained: all of them, or an adapter on the layers that were chosen, fresh or gone on from."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from journeyman.errors import InvalidInput
from journeyman.rendering.chat import ChatTokenizer, read_template
from journeyman.training.batches import pack_rows
from journeyman.training.head import CHUNK
from journeyman.training.loop import Trainer
from journeyman.training.policy import Policy
from journeyman.training.sizes import count_parameters
from journeyman.training.trainable_head import trainable_token_logprobs
from tests.tiny import write_model
from tests.training.conftest import make_config as made
from tests.training.conftest import make_rows, plain_model

ROWS = [*make_rows(6), *make_rows(3, seed=1, split="validation")]


def make_config(**fields):
    """Full fine-tuning's config has no adapter's fields."""
    config = made().model_dump() | {"full": True, "rank": 16, "alpha": 32.0, "learning_rate": 1e-3} | fields
    return type(made()).model_validate(config)


@pytest.mark.parametrize("tied", [True, False])
def test_full_fine_tuning_computes_the_gradient_of_every_weight(tmp_path, masked, tied):
    folder = write_model(tmp_path / "model", tie_word_embeddings=tied)
    policy, exact = Policy(folder, make_config()), plain_model(folder, dtype=torch.float64)
    assert policy.masters.keys() == dict(exact.named_parameters()).keys()
    rows = masked(4)
    for pack in pack_rows(rows, 150):
        policy.backward(-policy.token_logprobs(pack).sum())
    for row in rows:
        ids = torch.tensor([list(row.ids)])
        logprobs = exact(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        (-logprobs[torch.tensor(row.mask[1:])].sum()).backward()
    total = sum(float((value.grad**2).sum()) for value in exact.parameters()) ** 0.5
    for name, value in exact.named_parameters():
        assert (policy.masters[name].grad.double() - value.grad).norm() < 1e-5 * total, name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_whole_model_learns_and_is_read_by_others(tiny, tmp_path, precision):
    learner = Trainer(make_config(epochs=6, precision=precision), ROWS, tiny, tmp_path / "run")
    losses = []
    learner.train(lambda report: losses.append(report.loss))
    assert losses[-1] < losses[0] - 0.3
    learner.policy.save_model(tmp_path / "model", read_template(tiny))
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).state_dict()
    for name, master in learner.policy.masters.items():
        torch.testing.assert_close(read[name], master, rtol=1e-2, atol=1e-3)
    assert ChatTokenizer(tmp_path / "model").template.version == read_template(tiny).version


@pytest.mark.parametrize(
    ("targets", "kinds"),
    [("attention", {"q_proj", "k_proj", "v_proj", "o_proj"}), ("mlp", {"gate_proj", "up_proj", "down_proj"})],
)
def test_targets_choose_the_layers(tiny, targets, kinds):
    config = made(targets=targets)
    policy = Policy(tiny, config)
    assert {name.split(".")[-4] for name in policy.masters} == kinds
    sizes = count_parameters(tiny, config)
    assert sizes.trained == sum(value.numel() for value in policy.masters.values())
    assert sizes.all == sum(value.numel() for value in policy.network.parameters())
    assert sizes.layers == 2 * len(kinds)


def test_rank_stabilised_adapters_scale_by_the_root_of_the_rank(tiny):
    policy = Policy(tiny, made(rank=4, alpha=8.0, rank_stabilised=True))
    scales = {module.scaling["default"] for module in policy.network.modules() if "lora_A" in dir(module)}
    assert scales == {4.0}


def test_going_on_from_an_adapter_begins_with_what_it_computes(tiny, loras, masked):
    policy = Policy(tiny, made(rank=2, alpha=4.0), loras["red"])
    exact = plain_model(tiny, loras["red"])
    row = masked(1)[0]
    pack = pack_rows([row], 10**6)[0]
    with torch.no_grad():
        expected = exact(torch.tensor([list(row.ids)])).logits[0, pack.predictors].log_softmax(-1)
    found = policy.logprobs(pack)
    torch.testing.assert_close(found, expected.gather(1, pack.targets[:, None])[:, 0], rtol=1e-4, atol=1e-4)
    assert len(policy.masters) == 28
    policy.backward(-policy.token_logprobs(pack).sum())
    assert all(master.grad.norm() > 0 for master in policy.masters.values())


def test_a_config_of_another_shape_than_its_adapter_is_refused(tiny, loras, tmp_path):
    with pytest.raises(InvalidInput, match=r"has rank 2, alpha 4\.0: leave these options out"):
        Trainer(made(rank=8), ROWS, tiny, tmp_path / "run", start=loras["red"])


def test_a_trained_heads_logprobs_and_gradients_are_those_of_whole_logits():
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(CHUNK + 37, 16, generator=generator, requires_grad=True)
    weight = torch.randn(300, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 300, (CHUNK + 37,), generator=generator)
    found = trainable_token_logprobs(hidden, weight, targets)
    found.sum().backward()
    exact_hidden, exact_weight = (value.detach().double().requires_grad_() for value in (hidden, weight))
    expected = (exact_hidden @ exact_weight.T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    expected.sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden.grad.double(), exact_hidden.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weight.grad.double(), exact_weight.grad, rtol=1e-4, atol=1e-4)
