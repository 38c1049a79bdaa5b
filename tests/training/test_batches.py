"""Packing saves arithmetic and changes nothing: losses, gradients and logits are those of each row alone."""

import pytest
import torch

from journeyman.rendering.chat import read_template
from journeyman.rendering.masks import MaskedTokens
from journeyman.training import batches
from journeyman.training.batches import pack_rows
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
    assert len(together[0].ids) < sum(len(row.ids) for row in rows), "they begin alike"
    loss, gradients = loss_and_gradients(policy, together)
    expected, expected_gradients = loss_and_gradients(policy, [pack_rows([row], MANY)[0] for row in rows])
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients.items():
        assert gradient.norm() > 0, name
        assert (gradient - expected_gradients[name]).norm() / gradient.norm() < 1e-4, name


def tree_of_attempts():
    """Two scenarios behind one system prompt, four attempts at each; two of them part only after a sampled turn."""
    generator = torch.Generator().manual_seed(11)

    def tokens(count):
        return torch.randint(3, 300, (count,), generator=generator).tolist()

    opening, found = tokens(30), []
    for _ in range(2):
        asked, first_turn, result = tokens(25), tokens(18), tokens(20)
        learned = set(range(55, 73))
        for number in range(4):
            if number < 2:
                ids = opening + asked + first_turn + result + tokens(9 + number)
                found.append(row(ids, learned | set(range(93, len(ids)))))
            else:
                ids = opening + asked + tokens(21 - number)
                found.append(row(ids, range(55, len(ids))))
    return found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_tree_of_attempts_has_the_gradients_of_the_attempts_alone(tmp_path, name):
    architecture, shape = ARCHITECTURES[name]
    policy = stirred(Policy(write_model(tmp_path / "model", architecture, **shape), make_config()))
    rows = tree_of_attempts()
    (pack,) = pack_rows(rows, MANY)
    assert len(pack.layout.segments) == 13, "the opening, two questions, a first turn of each, its two ends, two others"
    assert max(len(pack.layout.path(number)) for number in range(13)) == 4
    assert len(pack.ids) == 30 + sum(25 + 38 + 9 + 10 + 19 + 18 for _ in range(2))
    loss, gradients = loss_and_gradients(policy, [pack])
    expected, expected_gradients = loss_and_gradients(policy, [pack_rows([row], MANY)[0] for row in rows])
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients.items():
        assert (gradient - expected_gradients[name]).norm() / gradient.norm() < 1e-5, name


def test_sharing_changes_no_logprobs(policy, masked, monkeypatch):
    rows = masked(4)
    shared = pack_rows(rows, MANY)[0]
    monkeypatch.setattr(batches, "LEAST_SHARED", MANY)
    unshared = pack_rows(rows, MANY)[0]
    assert len(unshared.ids) == sum(len(row.ids) for row in rows) > len(shared.ids)
    with torch.no_grad():
        torch.testing.assert_close(policy.token_logprobs(shared), policy.token_logprobs(unshared), atol=1e-5, rtol=1e-5)


def test_no_row_sees_another(policy, masked):
    rows = masked(5)
    pack = pack_rows(rows, MANY)[0]
    own = next(each for number, each in enumerate(pack.layout.segments) if each.last - 1 == pack.layout.ends[2])
    disturbed = pack.ids.clone()
    disturbed[own.first : own.last] = (disturbed[own.first : own.last] + 17) % 300
    others = (pack.predictors < own.first) | (pack.predictors >= own.last)
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


def unpacked(pack):
    """Each row's ids, read back along the path of its last token, and the predictor of each position."""
    for end in pack.layout.ends:
        number = next(at for at, each in enumerate(pack.layout.segments) if each.first <= end < each.last)
        path = pack.layout.path(number)
        places = [at for each in path for at in range(each.first, each.last) if each is not path[-1] or at <= end]
        assert pack.positions[places].tolist() == list(range(len(places)))
        yield pack.ids[places].tolist(), places


def test_every_target_is_predicted_by_the_token_before_it(masked):
    for rows in (masked(6), tree_of_attempts()):
        pack = pack_rows(rows, MANY)[0]
        predicted = iter(zip(pack.predictors.tolist(), pack.targets.tolist(), strict=True))
        for row, (ids, places) in zip(rows, unpacked(pack), strict=True):
            assert tuple(ids) == row.ids
            for at in (at for at, learn in enumerate(row.mask) if learn):
                assert next(predicted) == (places[at - 1], row.ids[at])
        assert next(predicted, None) is None


def test_packs_keep_the_order_and_the_limit(masked):
    rows = masked(12)
    packs = pack_rows(rows, 150)
    assert len(packs) > 2
    assert [tuple(ids) for pack in packs for ids, _ in unpacked(pack)] == [row.ids for row in rows]
    assert all(len(pack.ids) <= 150 for pack in packs if len(pack.layout.ends) > 1)
    assert [len(pack.layout.ends) for pack in pack_rows(rows, 1)] == [1] * 12, "a longer row has a pack of its own"


def ids_of(*rows):
    return [row(ids, {len(ids) - 1}) for ids in rows]


@pytest.mark.parametrize(
    ("rows", "tokens", "segments"),
    [
        (ids_of([1, 2, 3, 4]), 4, 1),
        (ids_of([1, 2, 3, 4], [1, 2, 3, 5]), 5, 3),
        (ids_of([1, 2, 3, 4], [1, 9, 3, 4]), 8, 2),
        (ids_of([1, 2, 3, 4], [1, 2, 3, 4]), 4, 1),
        (ids_of([1, 2, 3, 4], [1, 2]), 4, 1),
        (ids_of([1, 2], [1, 2, 3, 4]), 4, 2),
        (ids_of([1, 2, 3, 4], [1, 2], [1, 2, 3, 5]), 5, 3),
        (ids_of([1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 9], [7, 8], [1, 2, 3, 4, 5]), 9, 7),
    ],
)
def test_what_rows_begin_alike_with_is_computed_once(monkeypatch, rows, tokens, segments):
    monkeypatch.setattr(batches, "LEAST_SHARED", 2)
    (pack,) = pack_rows(rows, MANY)
    assert [tuple(ids) for ids, _ in unpacked(pack)] == [row.ids for row in rows]
    assert (len(pack.ids), len(pack.layout.segments)) == (tokens, segments)


def test_a_few_common_tokens_are_not_worth_a_segment():
    rows = ids_of([1, 2, 3, 4], [1, 2, 3, 5])
    (pack,) = pack_rows(rows, MANY)
    assert (len(pack.ids), len(pack.layout.segments)) == (8, 2)
