import json
import math
from pathlib import Path

import pytest
import torch

from journeyman.errors import InvalidInput
from journeyman.training import losses
from journeyman.training.head import CHUNK, token_logprobs
from journeyman.training.reductions import token_weights

FOLDER = Path(__file__).parent / "trl"
TRL = json.loads((FOLDER / "values.json").read_text())
LENGTHS = [6, 3, 1, 5]


def recorded_inputs():
    """The tensors that TRL was given, as its record's script draws them."""
    source = (FOLDER / "record.py").read_text()
    start, end = source.index("def inputs()"), source.index("class _Settings")
    space = {"torch": torch}
    exec(source[start:end], space)  # The script itself needs TRL.
    return space["inputs"]()


@pytest.fixture
def data():
    """Flat tensors over the sampled tokens of TRL's four sequences."""
    found = recorded_inputs()
    mask = found["mask"].bool()
    flat = {name: found[name][mask] for name in ("logprobs", "old", "sampler", "reference")}
    flat["sequences"] = torch.repeat_interleave(torch.arange(4), torch.tensor(LENGTHS))
    flat["advantages"] = found["advantages"][flat["sequences"]]
    flat["logprobs"] = flat["logprobs"].clone().requires_grad_()
    return flat


def reduced(terms, reduction, **options):
    return (terms * token_weights(LENGTHS, reduction, **options)[
        torch.repeat_interleave(torch.arange(4), torch.tensor(LENGTHS))
    ]).sum()  # fmt: skip


def gspo(data, low, high):
    of_sequence = losses.sequence_ratios(data["logprobs"], data["old"], data["sequences"], 4)
    return losses.clipped(of_sequence[data["sequences"]], data["advantages"], low, high)


CASES = {
    "grpo": ("sequence", {}, lambda d, r: losses.clipped(r, d["advantages"])),
    "dr_grpo": ("constant", {"length": 8.0}, lambda d, r: losses.clipped(r, d["advantages"])),
    "dapo": ("token", {}, lambda d, r: losses.clipped(r, d["advantages"], 0.2, 0.28)),
    "bnpo": ("token", {}, lambda d, r: losses.clipped(r, d["advantages"])),
    "cispo": ("token", {}, lambda d, r: losses.cispo(d["logprobs"], r, d["advantages"], 5.0)),
    "sapo": ("sequence", {}, lambda d, r: losses.sapo(r, d["advantages"])),
    "gspo": ("sequence", {}, lambda d, r: gspo(d, 3e-4, 4e-4)),
    "grpo_delta": ("sequence", {}, lambda d, r: losses.clipped(r, d["advantages"], ceiling=4.0)),
    "grpo_kl": (
        "sequence",
        {},
        lambda d, r: (
            losses.clipped(r, d["advantages"]) + 0.04 * losses.divergence(d["logprobs"], d["reference"], "k3", d["old"])
        ),
    ),
    "dapo_weighted": (
        "token",
        {},
        lambda d, r: (
            losses.clipped(r, d["advantages"], 0.2, 0.2) * losses.mismatch_weights(d["old"], d["sampler"], most=2.0)
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_policy_losses_and_gradients_are_trls(data, name):
    reduction, options, terms = CASES[name]
    loss = reduced(terms(data, losses.ratios(data["logprobs"], data["old"])), reduction, **options)
    loss.backward()
    assert loss.item() == pytest.approx(TRL["grpo"][name]["loss"], rel=1e-6)
    mask = recorded_inputs()["mask"].bool()
    theirs = torch.tensor(TRL["grpo"][name]["gradient"], dtype=torch.float64)
    torch.testing.assert_close(data["logprobs"].grad, theirs[mask], rtol=1e-6, atol=1e-9)
    assert not theirs[~mask].any()


def sums(name):
    found = recorded_inputs()
    return (found[name] * found["mask"]).sum(1)


def test_dpo_is_trls():
    policy, reference = sums("logprobs").requires_grad_(), sums("reference")
    loss = losses.dpo(policy[:2], policy[2:], reference[:2], reference[2:], beta=0.1).mean()
    loss.backward()
    assert loss.item() == pytest.approx(TRL["dpo"]["loss"], rel=1e-6)
    theirs = torch.tensor(TRL["dpo"]["gradient"], dtype=torch.float64)
    for number, slope in enumerate(policy.grad):
        torch.testing.assert_close(theirs[number], slope.expand(6), rtol=1e-6, atol=1e-9)


def test_kto_is_trls():
    policy, reference = sums("logprobs").requires_grad_(), sums("reference")
    baseline = losses.kto_baseline(sums("sampler"), sums("old"))
    desirable = torch.tensor([True, False, True, False])
    loss = losses.kto(policy, reference, desirable, baseline, beta=0.1, undesirable_weight=1.3).mean()
    loss.backward()
    assert loss.item() == pytest.approx(TRL["kto"]["loss"], rel=1e-6)
    theirs = torch.tensor(TRL["kto"]["gradient"], dtype=torch.float64)[:, 0]
    torch.testing.assert_close(policy.grad, theirs, rtol=1e-5, atol=1e-9)


def test_orpo_is_trls():
    means = sums("logprobs") / torch.tensor(LENGTHS)
    ours = losses.orpo(means[:2], means[2:], weight=0.1)
    assert ours.tolist() == pytest.approx(TRL["orpo"]["losses"], rel=1e-5)


def test_the_reward_models_loss_is_trls():
    rewards = recorded_inputs()["advantages"].clone().requires_grad_()
    margin = torch.tensor([0.5, 0.0])
    loss = losses.bradley_terry(rewards[:2], rewards[2:], margin=margin, centre=0.01).mean()
    loss.backward()
    assert loss.item() == pytest.approx(TRL["reward"]["loss"], rel=1e-6)
    assert rewards.grad.tolist() == pytest.approx(TRL["reward"]["gradient"], rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "options", "value", "slope"),
    [
        (0.5, 1, {}, -0.5, -1), (0.5, -1, {}, 0.8, 0), (1.5, 1, {}, -1.28, 0), (1.5, -1, {}, 1.5, 1),
        (5.0, 1, {}, -1.28, 0), (5.0, -1, {}, 5.0, 1), (5.0, -1, {"dual": 3.0}, 3.0, 0),
        (5.0, -1, {"ceiling": 4.0}, 4.0, 0),
    ],
)  # fmt: skip
def test_the_clip(ratio, advantage, options, value, slope):
    at = torch.tensor(ratio, dtype=torch.float64, requires_grad=True)
    loss = losses.clipped(at, torch.tensor(float(advantage), dtype=torch.float64), 0.2, 0.28, **options)
    loss.backward()
    assert loss.item() == pytest.approx(value)
    assert at.grad.item() == pytest.approx(slope)


def test_a_sequences_ratio_is_the_geometric_mean():
    gap = torch.tensor([0.1, -0.2, 0.4], dtype=torch.float64)
    found = losses.sequence_ratios(gap, torch.zeros(3), torch.zeros(3, dtype=torch.long), 1)
    assert found.item() == pytest.approx(1.105171, rel=1e-6)


def test_the_soft_gate():
    for ratio, value in ((1.0, 2.0), (2.0, 2.924234)):
        loss = losses.sapo(torch.tensor(ratio), torch.tensor(1.0))
        assert loss.item() == pytest.approx(-value, rel=1e-6)


def test_on_policy_all_objectives_have_reinforces_gradient(data):
    advantages, expected = data["advantages"], -data["advantages"]
    for terms in (
        lambda each: losses.reinforce(each, advantages),
        lambda each: losses.clipped(losses.ratios(each, each.detach()), advantages),
        lambda each: losses.cispo(each, losses.ratios(each, each.detach()), advantages),
        lambda each: losses.sapo(losses.ratios(each, each.detach()), advantages),
        lambda each: losses.dppo_tv(each, each.detach(), advantages),
    ):
        logprobs = data["logprobs"].detach().clone().requires_grad_()
        terms(logprobs).sum().backward()
        torch.testing.assert_close(logprobs.grad, expected)


def test_divergences():
    one = torch.tensor([-1.0], dtype=torch.float64)
    other = torch.tensor([-1.5], dtype=torch.float64)
    found = {kind: losses.divergence(one, other, kind, one).item() for kind in ("k1", "k2", "k3", "k3_weighted")}
    assert found == pytest.approx({"k1": 0.5, "k2": 0.125, "k3": 0.1065307, "k3_weighted": 0.1065307}, rel=1e-6)


@pytest.mark.parametrize(("kind", "forward"), [("k2", True), ("k3", False), ("k3_weighted", True)])
def test_which_divergence_each_estimator_goes_down(kind, forward):
    """Expected gradient over a categorical policy, against autograd of the divergence itself."""
    logits = torch.tensor([0.3, -0.8, 1.1, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-0.2, 0.5, 0.4, -1.0], dtype=torch.float64).log_softmax(0)
    policy = logits.log_softmax(0)
    (policy.detach().exp() * losses.divergence(policy, reference, kind, policy.detach())).sum().backward()
    found = logits.grad.clone()
    logits.grad = None
    policy = logits.log_softmax(0)
    exact = policy.exp() * (policy - reference) if forward else reference.exp() * (reference - policy)
    exact.sum().backward()
    torch.testing.assert_close(found, logits.grad, rtol=1e-12, atol=1e-14)


def test_weights_for_the_engines_mismatch():
    wanted = torch.tensor([0.3, 0.8, 1.0, 2.5, 7.0], dtype=torch.float64)
    old = wanted.log()
    assert losses.mismatch_weights(old, torch.zeros(5), most=2.0).tolist() == pytest.approx([0.3, 0.8, 1, 2, 2])
    masked = losses.mismatch_weights(old, torch.zeros(5), most=5.0, least=0.5)
    assert masked.tolist() == pytest.approx([0, 0.8, 1, 2.5, 5.0])
    assert not losses.mismatch_weights(old.requires_grad_(), torch.zeros(5)).requires_grad


def test_the_value_loss_is_clipped():
    def loss(target):
        one, half = torch.tensor([1.0]), torch.tensor([0.5])
        return losses.clipped_value_loss(one, half, torch.tensor([target]), 0.2).item()

    assert loss(0.0) == pytest.approx(0.5)
    assert loss(2.0) == pytest.approx(0.845)


def test_smoothed_dpo_is_the_mixture_of_both_labels():
    one, other = torch.tensor([-3.0]), torch.tensor([-5.0])
    zero = torch.zeros(1)
    loss = losses.dpo(one, other, zero, zero, beta=0.5, smoothing=0.1).item()
    assert loss == pytest.approx(0.9 * math.log(1 + math.exp(-1)) + 0.1 * math.log(1 + math.exp(1)), rel=1e-6)


def test_orpo_keeps_its_digits_next_to_certainty():
    chosen = torch.tensor([-1e-9], dtype=torch.float64)
    rejected = torch.tensor([-20.0], dtype=torch.float64)
    odds = math.log(1e9) - (-20 - math.log1p(-math.exp(-20)))
    assert losses.orpo(chosen, rejected, weight=1.0).item() == pytest.approx(math.exp(-odds), rel=1e-3)


def test_reverse_kl_is_zero_only_between_equals():
    student = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    teacher = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = losses.reverse_kl(student, teacher)
    p, q = student.softmax(-1), teacher.softmax(-1)
    torch.testing.assert_close(found, (p * (p / q).log()).sum(-1))
    torch.testing.assert_close(losses.reverse_kl(student, student + 3.0), torch.zeros(3, dtype=torch.float64))


def test_reductions():
    terms = torch.tensor([1.0] * 2 + [3.0] * 4)
    of = [0, 0, 1, 1, 1, 1]

    def loss(reduction, **options):
        return float((terms * token_weights([2, 4], reduction, **options)[of]).sum())

    assert loss("token") == pytest.approx(2.333333, rel=1e-6)
    assert loss("sequence") == pytest.approx(2.0)
    assert loss("sequence_sum") == pytest.approx(7.0)
    assert loss("constant", length=8.0) == pytest.approx(0.875)
    assert loss("sum") == pytest.approx(14.0)
    terms = torch.cat((terms, torch.tensor([2.0, 2.0])))
    of = [*of, 2, 2]
    weights = token_weights([2, 4, 2], "prompt", prompts=[0, 0, 1])
    assert float((terms * weights[of]).sum()) == pytest.approx(2.166667, rel=1e-6)
    one_rollout = token_weights([2, 4, 2], "rollout", rollouts=[5, 5, 9])
    torch.testing.assert_close(one_rollout, weights)


def test_a_sequence_without_sampled_tokens_counts_nothing_and_a_batch_of_them_is_refused():
    for reduction in ("token", "sequence", "sequence_sum", "sum"):
        assert token_weights([3, 0], reduction).tolist() == pytest.approx([*token_weights([3], reduction).tolist(), 0])
    with pytest.raises(InvalidInput, match="nothing to learn from"):
        token_weights([0, 0])
    with pytest.raises(InvalidInput, match="length"):
        token_weights([1], "constant")
    with pytest.raises(InvalidInput, match="prompt"):
        token_weights([1], "prompt")


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_logprobs_are_the_logarithms_of_the_softmax_with_its_gradient(temperature):
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(CHUNK + 37, 16, generator=generator, requires_grad=True)
    weight = torch.randn(300, 16, generator=generator)
    targets = torch.randint(0, 300, (CHUNK + 37,), generator=generator)
    slopes = torch.randn(CHUNK + 37, generator=generator)
    found = token_logprobs(hidden, weight, targets, temperature=temperature)
    (found * slopes).sum().backward()
    exact = hidden.detach().double().requires_grad_()
    expected = (exact @ weight.double().T / temperature).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (expected * slopes.double()).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_a_head_in_bfloat16_tells_logprobs_like_one_in_float32():
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(40, 32, generator=draw).bfloat16().requires_grad_()
    weight, targets = torch.randn(500, 32, generator=draw).bfloat16(), torch.randint(0, 500, (40,), generator=draw)
    exact = (hidden.detach().double() @ weight.double().T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    rounded = (hidden.detach() @ weight.T).float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    found = token_logprobs(hidden, weight, targets)
    assert (rounded - exact).abs().max() > 2e-2
    assert (found - exact).abs().max() < 1e-3
    found.sum().backward()
    wide = hidden.detach().float().requires_grad_()
    token_logprobs(wide, weight.float(), targets).sum().backward()
    torch.testing.assert_close(hidden.grad.float(), wide.grad, atol=0.05, rtol=0.02)
