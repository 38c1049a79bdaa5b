"""Packing saves arithmetic and changes nothing: losses, gradients and logits are those of each row alone."""

import pytest
import torch

from journeyman.rendering.chat import read_template
from journeyman.rendering.masks import MaskedTokens
from journeyman.training.batches import pack_rows, shared_prefix
from journeyman.training.policy import Policy
from tests.tiny import write_model
from tests.training.conftest import make_config, plain_model

MANY = 10**6


def row(ids, learned):
    return MaskedTokens(tuple(ids), tuple(at in learned for at in range(len(ids))))


@pytest.fixture(scope="module")
def policy(tiny):
    return stirred(Policy(tiny, make_config()))


def stirred(policy):
    """With weights as after some training: a fresh adapter's B is zero, and so would be most gradients."""
    generator = torch.Generator().manual_seed(3)
    state = {name: torch.randn(value.shape, generator=generator) * 0.1 for name, value in policy.masters.items()}
    policy.restore(state)
    return policy


def loss_and_gradients(policy, packs):
    """Summed over packs."""
    total = 0.0
    for pack in packs:
        loss = -policy.token_logprobs(pack).sum()
        policy.backward(loss)
        total += loss.item()
    gradients = {name: master.grad.clone() for name, master in policy.masters.items()}
    for master in policy.masters.values():
        master.grad = None
    return total, gradients


ARCHITECTURES = {
    "llama": ("llama", {}),
    "qwen3": ("qwen3", {}),
    "gemma3": (
        "gemma3_text",
        {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 16},
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_packs_loss_and_gradients_are_the_sums_of_its_rows_alone(masked, tmp_path, name):
    architecture, shape = ARCHITECTURES[name]
    policy = stirred(Policy(write_model(tmp_path / "model", architecture, **shape), make_config()))
    rows = masked(7)
    together = pack_rows(rows, MANY)
    assert len(together) == 1
    assert together[0].layout.prefix > 10, "they begin alike"
    loss, gradients = loss_and_gradients(policy, together)
    expected, expected_gradients = loss_and_gradients(policy, [pack_rows([row], MANY)[0] for row in rows])
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients.items():
        assert gradient.norm() > 0, name
        assert (gradient - expected_gradients[name]).norm() / gradient.norm() < 1e-4, name


def test_sharing_a_prefix_changes_no_logprobs(policy, masked):
    rows = masked(4)
    shared = pack_rows(rows, MANY)[0]
    # A row that begins otherwise takes the prefix away from all.
    stranger = masked(1, seed=9, opening="Somebody else entirely.")[0]
    unshared = pack_rows([stranger, *rows], MANY)[0]
    assert shared.layout.prefix > 0
    assert unshared.layout.prefix < shared.layout.prefix / 2
    own = len(pack_rows([stranger], MANY)[0].targets)
    with torch.no_grad():
        torch.testing.assert_close(
            policy.token_logprobs(shared), policy.token_logprobs(unshared)[own:], atol=1e-5, rtol=1e-5
        )


def test_no_row_sees_another(policy, masked):
    rows = masked(5)
    pack = pack_rows(rows, MANY)[0]
    first, last = pack.layout.rows[2]
    disturbed = pack.ids.clone()
    disturbed[first:last] = (disturbed[first:last] + 17) % 300
    others = (pack.predictors < first) | (pack.predictors >= last)
    with torch.no_grad():
        before = policy.token_logprobs(pack)
        changed = type(pack)(disturbed, pack.positions, pack.layout, pack.predictors, pack.targets)
        after = policy.token_logprobs(changed)
    assert torch.equal(before[others], after[others])
    assert not torch.allclose(before[~others], after[~others])


def test_the_loss_is_transformers_own_on_the_same_labels(tiny, policy, masked, tmp_path):
    policy.save_adapter(tmp_path, read_template(tiny))
    theirs = plain_model(tiny, tmp_path)
    exact = plain_model(tiny, tmp_path, torch.float64)
    rows = masked(5, seed=4)
    for row in rows:
        labels = torch.tensor([[id if learn else -100 for id, learn in zip(row.ids, row.mask, strict=True)]])
        ids = torch.tensor([list(row.ids)])
        pack = pack_rows([row], MANY)[0]
        with torch.no_grad():
            ours = -policy.token_logprobs(pack).mean().item()
            assert ours == pytest.approx(theirs(input_ids=ids, labels=labels).loss.item(), rel=1e-5)
            assert ours == pytest.approx(exact(input_ids=ids, labels=labels).loss.item(), rel=1e-5)


def test_every_target_is_predicted_by_the_token_before_it(masked):
    rows = masked(6)
    pack = pack_rows(rows, MANY)[0]
    prefix = pack.ids[: pack.layout.prefix].tolist()
    predicted = iter(zip(pack.predictors.tolist(), pack.targets.tolist(), strict=True))
    for row, (first, last) in zip(rows, pack.layout.rows, strict=True):
        assert tuple(prefix + pack.ids[first:last].tolist()) == row.ids
        assert pack.positions[first:last].tolist() == list(range(len(prefix), len(row.ids)))
        for at in (at for at, learn in enumerate(row.mask) if learn):
            predictor, target = next(predicted)
            assert target == row.ids[at]
            assert pack.ids[predictor] == row.ids[at - 1]
            assert first <= predictor < last
    assert next(predicted, None) is None


def test_packs_keep_the_order_and_the_limit(masked):
    rows = masked(12)
    packs = pack_rows(rows, 150)
    assert len(packs) > 2
    together = [tuple(pack.ids[: pack.layout.prefix].tolist() + pack.ids[first:last].tolist())
                for pack in packs for first, last in pack.layout.rows]  # fmt: skip
    assert together == [row.ids for row in rows]
    assert all(len(pack.ids) <= 150 for pack in packs if len(pack.layout.rows) > 1)
    assert [len(pack.layout.rows) for pack in pack_rows(rows, 1)] == [1] * 12, "a longer row has a pack of its own"


@pytest.mark.parametrize(
    ("rows", "length"),
    [
        ([row([1, 2, 3, 4], {3})], 0),
        ([row([1, 2, 3, 4], {3}), row([1, 2, 3, 5], {3})], 2),
        ([row([1, 2, 3, 4], {1}), row([1, 2, 3, 4], {3})], 0),
        ([row([1, 2, 3, 4], {3}), row([1, 9, 3, 4], {3})], 1),
        ([row([1, 2], {0, 1}), row([1, 2], {1})], 0),
        ([row([7, 8, 9], {2})] * 3, 1),
    ],
)
def test_the_shared_prefix_ends_before_whatever_predicts_a_target(rows, length):
    assert shared_prefix(rows) == length
