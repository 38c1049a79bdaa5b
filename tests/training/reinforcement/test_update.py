"""An update moves the weights by the gradient that the printed equation has, computed here once more by other means."""

import math

import pytest
import torch

from journeyman.errors import InvalidInput
from journeyman.records.algorithm import ALGORITHMS, Algorithm, Critic
from journeyman.rendering.chat import read_template
from journeyman.training.reinforcement.batch import make_batch
from journeyman.training.reinforcement.canary import SamplerDisagrees
from journeyman.training.reinforcement.critic import ValueHead
from journeyman.training.reinforcement.policy_loss import equation
from journeyman.training.reinforcement.update import Update
from tests.training.conftest import plain_model
from tests.training.reinforcement.conftest import attempted, make_groups, scored

REWARDS = [[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5], [0.0, 0.25, 1.0, None]]


def update_of(policy, algorithm, *, head=None, reference=None, pack_tokens=256):
    """An update whose optimiser does nothing: gradients stay to be looked at."""

    class Still(torch.optim.SGD):
        def step(self, closure=None):
            self.seen = {id(value): value.grad.clone() for group in self.param_groups for value in group["params"]
                         if value.grad is not None}  # fmt: skip

    optimizer = Still(policy.masters.values(), lr=0.0)
    return Update(policy, optimizer, algorithm, pack_tokens, 1e9, head, reference), optimizer


def gradients(policy, optimizer):
    return {name: optimizer.seen[id(value)] for name, value in policy.masters.items() if id(value) in optimizer.seen}


def exact_gradients(tiny, tmp_path, policy, loss_of):
    """Gradients of `loss_of(logprobs of a row's sampled tokens)` by transformers and PEFT, in float64."""
    policy.save_adapter(tmp_path / "adapter", read_template(tiny))
    exact = plain_model(tiny, tmp_path / "adapter", torch.float64)
    for name, value in exact.named_parameters():
        value.requires_grad_("lora_" in name)
        if "lora_" in name:
            value.data.copy_(policy.masters[name])

    def logprobs(row):
        ids = torch.tensor([row.ids])
        found = exact(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        return found[torch.tensor(row.mask[1:])]

    loss = loss_of(logprobs)
    loss.backward()
    return float(loss.detach()), {
        name: value.grad for name, value in exact.named_parameters() if value.grad is not None
    }


def assert_alike(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    total = math.sqrt(sum(float((value**2).sum()) for value in expected.values()))
    assert total > 0
    for name, value in expected.items():
        assert float((found[name] - value).norm()) / total < tolerance, name


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp"])
def test_gradients_are_those_of_float64_attempt_by_attempt(tiny, tmp_path, policy, name):
    algorithm = ALGORITHMS[name]
    groups = make_groups(policy)
    batch = make_batch(algorithm, groups, scored(groups, REWARDS), 6)
    update, optimizer = update_of(policy, algorithm)
    outcome = update.run(batch, 1, on_policy=True)

    rows = [(row, each) for each in batch.attempts for row in each.rows]
    tokens, attempts = sum(row.learned for row, _ in rows), len(rows)

    def weight(row):
        if algorithm.reduction == "token":
            return 1 / tokens
        if algorithm.reduction == "sequence":
            return 1 / (row.learned * attempts)
        return 1 / (attempts * (algorithm.constant_length or 1.0))

    def loss_of(logprobs):
        total = torch.zeros((), dtype=torch.float64)
        for row, each in rows:
            now = logprobs(row)
            ratio = (now - now.detach()).exp()
            if name == "gspo":
                ratio = (now - now.detach()).mean().exp().expand_as(now)
            by_token = -each.advantage * (now if name in ("cispo", "rloo") else ratio)
            total = total + weight(row) * by_token.sum()
        return total

    loss, expected = exact_gradients(tiny, tmp_path, policy, loss_of)
    assert outcome.loss == pytest.approx(loss, rel=1e-4, abs=1e-6)
    assert_alike(gradients(policy, optimizer), expected)
    assert outcome.values["sampler gap"] < 1e-5
    assert (outcome.values["ratio p1"], outcome.values["ratio p99"]) == (1.0, 1.0)


def test_off_policy_terms_are_those_of_float64(tiny, tmp_path, policy):
    algorithm = Algorithm(
        loss="ppo", reduction="token", updates=1, kl_weight=0.3, kl_term="k3_weighted", kl_reference="base",
        entropy_weight=0.0, mismatch_most=1.05, mismatch_least=0.97, clip_high=0.28,
    )  # fmt: skip
    groups = make_groups(policy)
    generator = torch.Generator().manual_seed(5)
    noisy = [
        group.model_copy(update={"trajectories": tuple(
            each.model_copy(update={"tokens": tuple(
                call.model_copy(update={"logprobs": tuple(
                    min(value + float(torch.randn((), generator=generator)) * 0.05, -1e-6) for value in call.logprobs
                )}) for call in each.tokens
            )}) for each in group.trajectories
        )}) for group in groups
    ]  # fmt: skip
    batch = make_batch(algorithm, noisy, scored(noisy, REWARDS), 6)
    base = policy.base_state()
    with policy.as_of(base):
        update, _ = update_of(policy, algorithm)
        reference = {id(row): values for row, values in _logprobs(policy, batch)}
    update, optimizer = update_of(policy, algorithm, reference=base)
    update.run(batch, 1, on_policy=False)

    rows = [(row, each) for each in batch.attempts for row in each.rows]
    tokens = sum(row.learned for row, _ in rows)

    def loss_of(logprobs):
        total = torch.zeros((), dtype=torch.float64)
        for row, each in rows:
            now, sampler = logprobs(row), torch.tensor(row.logprobs, dtype=torch.float64)
            old = now.detach()
            w = (old - sampler).exp()
            w = torch.where(w < 0.97, torch.zeros_like(w), w.clamp(max=1.05))
            ratio = (now - old).exp()
            gap = reference[id(row)].double() - now
            kl = ratio * (gap.exp() - gap - 1)
            total = total + (-w * each.advantage * ratio + 0.3 * kl).sum() / tokens
        return total

    _, expected = exact_gradients(tiny, tmp_path, policy, loss_of)
    assert_alike(gradients(policy, optimizer), expected)


def _logprobs(policy, batch):
    from journeyman.training.batches import pack_rows

    for each in batch.attempts:
        for row in each.rows:
            yield row, policy.logprobs(pack_rows([row], 10**6)[0])


def test_the_entropy_bonus_has_the_gradient_of_float64(tiny, tmp_path, policy):
    algorithm = Algorithm(loss="reinforce", reduction="token", entropy_weight=0.7)
    groups = make_groups(policy, scenarios=1)
    batch = make_batch(algorithm, groups, scored(groups, REWARDS[:1]), 6)
    update, optimizer = update_of(policy, algorithm)
    update.run(batch, 1, on_policy=True)
    policy.save_adapter(tmp_path / "adapter", read_template(tiny))
    exact = plain_model(tiny, tmp_path / "adapter", torch.float64)
    for name, value in exact.named_parameters():
        value.requires_grad_("lora_" in name)
        if "lora_" in name:
            value.data.copy_(policy.masters[name])
    rows = [(row, each) for each in batch.attempts for row in each.rows]
    tokens, total = sum(row.learned for row, _ in rows), torch.zeros((), dtype=torch.float64)
    for row, each in rows:
        ids = torch.tensor([row.ids])
        every = exact(ids).logits[0, :-1].log_softmax(-1)[torch.tensor(row.mask[1:])]
        chosen = every.gather(1, ids[0, 1:][torch.tensor(row.mask[1:])][:, None])[:, 0]
        entropy = -(every.exp() * every).sum(-1)
        total = total + (-each.advantage * chosen - 0.7 * entropy).sum() / tokens
    total.backward()
    assert_alike(gradients(policy, optimizer), {n: v.grad for n, v in exact.named_parameters() if v.grad is not None})


def test_packs_and_order_change_no_gradient(policy):
    algorithm = ALGORITHMS["dapo"]
    groups = make_groups(policy)
    found = []
    for pack_tokens, order in ((64, groups), (10_000, groups), (200, groups[::-1])):
        rewards = REWARDS if order is groups else REWARDS[::-1]
        batch = make_batch(algorithm, order, scored(order, rewards), 6)
        update, optimizer = update_of(policy, algorithm, pack_tokens=pack_tokens)
        update.run(batch, 1, on_policy=True)
        found.append(gradients(policy, optimizer))
    assert_alike(found[1], found[0])
    assert_alike(found[2], found[0])


def test_shared_prompts_and_silent_groups_are_not_computed_again(policy):
    algorithm = ALGORITHMS["grpo"]
    groups = make_groups(policy)
    batch = make_batch(algorithm, groups, scored(groups, REWARDS), 6)
    assert (batch.silent_groups, batch.groups) == (1, 3)
    update, _ = update_of(policy, algorithm, pack_tokens=10_000)
    outcome = update.run(batch, 1, on_policy=True)
    alone = sum(len(row.ids) for each in batch.attempts for row in each.rows)
    assert outcome.tokens < alone / 2


def test_an_engine_with_other_weights_is_found_out_before_anything_moves(policy):
    groups = make_groups(policy)
    stale = policy.state()
    generator = torch.Generator().manual_seed(9)
    policy.restore(
        {name: value + torch.randn(value.shape, generator=generator) * 0.05 for name, value in stale.items()}
    )
    batch = make_batch(ALGORITHMS["grpo"], groups, scored(groups, REWARDS), 6)
    update, optimizer = update_of(policy, ALGORITHMS["grpo"])
    update.suspects = {"the weights of the step before": stale, "the base model": policy.base_state()}
    with pytest.raises(
        SamplerDisagrees, match="stale weights: the engine sampled under the weights of the step before"
    ):
        update.run(batch, 4, on_policy=True)
    assert not hasattr(optimizer, "seen")
    assert all(value.grad is None for value in policy.masters.values())


def test_an_engine_at_another_temperature_is_found_out(policy):
    groups = make_groups(policy)
    from journeyman.training.batches import pack_rows
    from journeyman.training.reinforcement.rows import rows_of

    hot = [
        group.model_copy(update={"trajectories": tuple(
            each.model_copy(update={"tokens": tuple(
                call.model_copy(update={"logprobs": tuple(policy.logprobs_at(pack_rows(
                    rows_of(each.model_copy(update={"tokens": (call,), "latencies": (0.1,)}), 0), 10**6)[0], 0.7
                ).clamp(max=-1e-7).tolist())}) for call in each.tokens
            )}) for each in group.trajectories
        )}) for group in groups
    ]  # fmt: skip
    batch = make_batch(ALGORITHMS["grpo"], hot, scored(hot, REWARDS), 6)
    update, _ = update_of(policy, ALGORITHMS["grpo"])
    with pytest.raises(SamplerDisagrees, match=r"temperature: the engine sampled at 0\.7"):
        update.run(batch, 1, on_policy=True)


def test_a_critic_learns_what_attempts_earn(policy):
    algorithm = Algorithm(
        estimator="none", loss="ppo", reduction="token", critic=Critic(learning_rate=0.05, value_clip=None)
    )
    head = ValueHead(policy)
    critic = [value for name, value in policy.masters.items() if name.startswith("value_head.")]
    update = Update(policy, torch.optim.AdamW(critic, lr=0.05), algorithm, 512, 1e9, head)
    groups = make_groups(policy)
    batch = make_batch(algorithm, groups, scored(groups, [[1.0] * 4, [0.0] * 4, [1.0, 0.0, 1.0, 0.0]]), 6)
    explained = [
        update.run(batch, step, on_policy=True, only_critic=True).values["explained variance"] for step in range(40)
    ]
    assert explained[0] == pytest.approx(0.0, abs=1e-6)
    assert explained[-1] > 0.3


def test_an_attempt_of_several_rows_counts_once(policy):
    """Its rows share one advantage, and under `rollout` they weigh together what another attempt's single row does."""
    (group,) = make_groups(policy, scenarios=1, attempts=2)
    first, second = group.trajectories
    broken = attempted(policy, "s0", "broken", [(tuple(range(3, 30)), (31, 32)), (tuple(range(40, 70)), (33,))])
    whole = group.model_copy(update={"trajectories": (first, broken, second)})
    algorithm = Algorithm(estimator="dr_grpo", loss="reinforce", reduction="rollout")
    batch = make_batch(algorithm, [whole], scored([whole], [[1.0, 0.0, 0.0]]), 6)
    assert [len(each.rows) for each in batch.attempts] == [1, 2, 1]
    assert batch.attempts[1].advantage == pytest.approx(-1 / 3)
    update, _ = update_of(policy, algorithm)
    known = update._known(batch)
    weights = update._weights(known, [batch.attempts[each.row.attempt] for each in known])
    assert weights[1] * 2 + weights[2] * 1 == pytest.approx(1 / 3)


def test_nothing_to_learn_from_is_an_error(policy):
    groups = make_groups(policy, scenarios=1)
    failed = groups[0].model_copy(
        update={
            "trajectories": tuple(
                each.model_copy(update={"error": "UpstreamFailed: gone"}) for each in groups[0].trajectories
            )
        }
    )
    batch = make_batch(ALGORITHMS["grpo"], [failed], [[None] * 4], 6)
    assert batch.dropped == {"failed: UpstreamFailed": 4}
    update, _ = update_of(policy, ALGORITHMS["grpo"])
    with pytest.raises(InvalidInput, match="no attempt of this step"):
        update.run(batch, 1, on_policy=True)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_preset_says_what_it_computes(name):
    written = equation(ALGORITHMS[name])
    assert written.startswith("advantage  A = ")
    assert "{" not in written
