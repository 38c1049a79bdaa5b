"""One policy update: a batch of attempts in, weights moved, and what happened on the way.

Of several processes each is given the whole batch and computes its share of the passes; what is known of a token is
known to all of them before anything moves, and all make the same step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from journeyman.errors import InvalidInput
from journeyman.records.algorithm import Algorithm
from journeyman.records.reinforcement import LogsConfig, RLConfig
from journeyman.training import losses
from journeyman.training.batches import Pack, pack_rows
from journeyman.training.distributed import World
from journeyman.training.policy import Policy
from journeyman.training.reductions import token_weights
from journeyman.training.reinforcement.batch import Attempted, Batch, was_cut
from journeyman.training.reinforcement.canary import disagreement, explain, limit_of
from journeyman.training.reinforcement.critic import PREFIX, ValueHead, token_advantages
from journeyman.training.reinforcement.observed import Observed
from journeyman.training.reinforcement.policy_loss import TokenTerms, is_clipped, token_losses
from journeyman.training.reinforcement.rows import AttemptRow

_BETAS = (0.9, 0.999)
_LOOKED_AT = 8
"""Rows that show whether engine and trainer agree, where not all are computed anyway."""


def make_optimizer(policy: Policy, config: RLConfig | LogsConfig) -> torch.optim.Optimizer:
    """AdamW over what is trained; the critic's head has a learning rate of its own."""
    masters, critic = policy.masters, config.algorithm.critic
    groups: list[dict[str, Any]] = [{"params": [each for name, each in masters.items() if not name.startswith(PREFIX)]}]
    if critic is not None:
        head = [each for name, each in masters.items() if name.startswith(PREFIX)]
        groups.append({"params": head, "lr": critic.learning_rate})
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=_BETAS, weight_decay=config.weight_decay)


@dataclass(slots=True)
class Known:
    """A row and what is known of its sampled tokens before the update, all [tokens]; None where it is not needed."""

    row: AttemptRow
    advantages: torch.Tensor
    sampler: torch.Tensor
    old: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    values: torch.Tensor | None = None
    returns: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an update came to: `tokens` passed through the network, forward and backward."""

    loss: float
    gradient_norm: float
    tokens: int
    sampled_tokens: int
    values: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Update:
    """Moves a policy by an algorithm. `head` is the critic, `reference` the weights that divergence is taken from."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    algorithm: Algorithm
    pack_tokens: int
    clip_norm: float
    head: ValueHead | None = None
    reference: dict[str, torch.Tensor] | None = None
    suspects: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    """Weights that an engine may wrongly sample under, by what they are called."""
    world: World = field(default_factory=World)
    """The processes that compute the update together."""

    def run(
        self,
        batch: Batch,
        step: int,
        *,
        on_policy: bool,
        sampled_under: dict[str, torch.Tensor] | None = None,
        only_critic: bool = False,
    ) -> Outcome:
        """Learn from the batch; afterwards the policy computes with the new weights.

        `on_policy` says that the attempts were sampled under the weights of now, `sampled_under` under which others:
        SamplerDisagrees, before anything moves, when they were not. InvalidInput when nothing can be learned.
        """
        known = self._known(batch)
        if not known:
            raise InvalidInput("no attempt of this step can be learned from; see the table of dropped attempts")
        observed = Observed()
        if sampled_under is not None:
            with self.policy.as_of(sampled_under):
                self._require_agreement(self._gap(known[:_LOOKED_AT]), known, step)
        if self._looks_before:
            self._look(known, observed)
            self._reward_tokens(batch, known)
        loss = norm = 0.0
        tokens = 0
        for number, share in enumerate(self._shares(batch, known, step)):
            part, computed, teaches = self._learn(share, batch, observed, only_critic=only_critic)
            if on_policy and number == 0:
                self._require_agreement(observed.gap(self.world), share, step)
            tokens += computed
            if teaches:
                norm = max(norm, self._step(part))
                loss += part / min(self.algorithm.updates, batch.groups)
            else:
                # A step without a gradient would still move by what the optimiser remembers.
                self.optimizer.zero_grad(set_to_none=True)
        sampled = sum(each.row.learned for each in known)
        return Outcome(loss, norm, tokens, sampled, observed.everywhere(self.world).values())

    @property
    def _looks_before(self) -> bool:
        """Whether a first pass without gradient is needed: what is compared with must not move meanwhile."""
        algorithm = self.algorithm
        return bool(
            algorithm.updates > 1
            or algorithm.critic is not None
            or algorithm.kl_weight
            or algorithm.mismatch_most is not None
        )

    def _known(self, batch: Batch) -> list[Known]:
        found = []
        for attempt in batch.attempts:
            for row in attempt.rows:
                sampler = torch.tensor(row.logprobs)
                found.append(Known(row, torch.full((row.learned,), attempt.advantage), sampler))
        return found

    @torch.no_grad()
    def _look(self, known: Sequence[Known], observed: Observed) -> None:
        """What the policy, the critic and the reference say of every sampled token, before anything moves."""
        with self.policy.evaluating():
            for pack, share in self._own(known):
                hidden = self.policy.hidden(pack, pack.predictors)
                logprobs, entropies = self.policy.token_statistics(pack, hidden)
                lengths = [each.row.learned for each in share]
                values = None if self.head is None else torch.split(self.head(hidden), lengths)
                for number, (each, old) in enumerate(zip(share, torch.split(logprobs, lengths), strict=True)):
                    each.old = old
                    each.values = None if values is None else values[number]
                observed.see(torch.cat([each.sampler for each in share]).to(logprobs.device), logprobs, entropies)
            if self.algorithm.kl_weight:
                assert self.reference is not None
                with self.policy.as_of(self.reference):
                    for pack, share in self._own(known):
                        found = torch.split(self.policy.logprobs(pack), [each.row.learned for each in share])
                        for each, reference in zip(share, found, strict=True):
                            each.reference = reference
        self._tell_all(known)

    def _tell_all(self, known: Sequence[Known]) -> None:
        """Let every process know what each found of its own rows."""
        if self.world.size == 1:
            return
        wanted = {"old": True, "values": self.head is not None, "reference": bool(self.algorithm.kl_weight)}
        for name in (name for name, is_known in wanted.items() if is_known):
            for each in known:
                if getattr(each, name) is None:
                    setattr(each, name, torch.zeros(each.row.learned, device=self.policy.device))
            self.world.add_up(getattr(each, name) for each in known)

    def _reward_tokens(self, batch: Batch, known: Sequence[Known]) -> None:
        """Advantages of single tokens, where a critic or a divergence in the reward makes them differ."""
        algorithm = self.algorithm
        costs = None
        if algorithm.kl_weight and algorithm.kl_term == "reward":
            costs = [
                torch.cat([algorithm.kl_weight * (_given(each.old) - _given(each.reference)) for each in rows])
                for rows in _by_attempt(known).values()
            ]
        if algorithm.critic is None:
            if costs is not None:
                self._charge(known, costs)
            return
        attempts = _by_attempt(known)
        values = [torch.cat([_given(each.values) for each in rows]) for rows in attempts.values()]
        rewards = [float(batch.attempts[number].reward or 0.0) for number in attempts]
        cut = [was_cut(batch.attempts[number].trajectory) for number in attempts]
        found, returns = token_advantages(algorithm.critic, rewards, values, costs, cut)
        for rows, each, owed in zip(attempts.values(), found, returns, strict=True):
            lengths = [row.row.learned for row in rows]
            for row, advantage, value in zip(rows, torch.split(each, lengths), torch.split(owed, lengths), strict=True):
                row.advantages, row.returns = advantage, value

    def _charge(self, known: Sequence[Known], costs: Sequence[torch.Tensor]) -> None:
        """Take an attempt's divergence off its advantage, less what the batch diverges on average."""
        sums = [float(cost.sum()) for cost in costs]
        mean = sum(sums) / len(sums)
        for rows, cost in zip(_by_attempt(known).values(), sums, strict=True):
            for each in rows:
                each.advantages = each.advantages - (cost - mean)

    def _shares(self, batch: Batch, known: Sequence[Known], seed: int) -> Iterator[list[Known]]:
        """The batch in as many parts as there are updates; a group is never torn apart."""
        count = min(self.algorithm.updates, batch.groups)
        order = torch.randperm(batch.groups, generator=torch.Generator().manual_seed(seed)).tolist()
        for part in range(count):
            groups = set(order[part::count])
            share = [each for each in known if batch.attempts[each.row.attempt].group in groups]
            if share:
                yield share

    def _learn(
        self, share: Sequence[Known], batch: Batch, observed: Observed, *, only_critic: bool
    ) -> tuple[float, int, bool]:
        """Gradients of a share in the masters; its loss, how many tokens were computed, whether any of it teaches."""
        attempts = [batch.attempts[each.row.attempt] for each in share]
        weights = self._weights(share, attempts)
        loud = [(each, weight) for each, weight in zip(share, weights, strict=True) if self._teaches(each)]
        by_row = {id(each): weight for each, weight in loud}
        loss, tokens = 0.0, 0
        # Attempts without an advantage add nothing to the gradient; one of them shows that engine and trainer agree.
        for pack, members in self._own([each for each, _ in loud] or share[:1]):
            part = self._part(pack, members, [by_row.get(id(each), 0.0) for each in members], observed, only_critic)
            self.policy.backward(part)
            loss += float(part.detach())
            tokens += len(pack.ids)
        if self.world.size > 1:
            self.policy.add_up_gradients(self.world)
            loss, computed = self.world.total(loss, tokens)
            tokens = int(computed)
        return loss, tokens, bool(loud)

    def _part(
        self, pack: Pack, members: Sequence[Known], weights: Sequence[float], observed: Observed, only_critic: bool
    ) -> torch.Tensor:
        hidden = self.policy.hidden(pack, pack.predictors)
        compute = self.policy.learned_statistics if self.algorithm.entropy_weight else self.policy.token_statistics
        logprobs, entropies = compute(pack, hidden)
        lengths = torch.tensor([each.row.learned for each in members])
        sampler = torch.cat([each.sampler for each in members]).to(logprobs.device)
        if members[0].old is None:
            old = logprobs.detach()
            observed.see(sampler, old, entropies.detach())
        else:
            old = torch.cat([_given(each.old) for each in members])
        if self.algorithm.old == "engine":
            old = sampler
        is_compared = members[0].reference is not None
        reference = torch.cat([_given(each.reference) for each in members]) if is_compared else None
        terms = TokenTerms(
            logprobs,
            old,
            sampler,
            torch.cat([each.advantages for each in members]).to(logprobs.device),
            entropies,
            reference,
            torch.repeat_interleave(torch.arange(len(members)), lengths).to(logprobs.device),
            len(members),
        )
        observed.see_update(losses.ratios(logprobs.detach(), old), is_clipped(self.algorithm, terms))
        each_token = torch.tensor(weights, dtype=torch.float32).repeat_interleave(lengths).to(logprobs.device)
        loss = logprobs.sum() * 0 if only_critic else (each_token * token_losses(self.algorithm, terms)).sum()
        if self.head is None:
            return loss
        assert self.algorithm.critic is not None
        known_values = torch.cat([_given(each.values) for each in members])
        returns = torch.cat([_given(each.returns) for each in members])
        value_loss = losses.clipped_value_loss(
            self.head(hidden), known_values, returns, self.algorithm.critic.value_clip
        )
        observed.see_critic(known_values, returns)
        return loss + (each_token * value_loss).sum()

    def _gap(self, known: Sequence[Known]) -> float:
        """Mean absolute difference of engine and trainer over some rows."""
        found = [
            (self.policy.logprobs(pack) - torch.cat([each.sampler for each in share]).to(self.policy.device)).abs()
            for pack, share in self._packs(known)
        ]
        return float(torch.cat(found).mean())

    def _require_agreement(self, gap: float, share: Sequence[Known], step: int) -> None:
        limit = limit_of(self.policy)
        if gap <= limit:
            return
        self.optimizer.zero_grad(set_to_none=True)
        passes = [
            (pack, torch.cat([each.sampler for each in members])) for pack, members in self._packs(share[:_LOOKED_AT])
        ]
        raise disagreement(step, gap, limit, explain(self.policy, passes, self.suspects, gap))

    def _weights(self, share: Sequence[Known], attempts: Sequence[Attempted]) -> list[float]:
        found = token_weights(
            [each.row.learned for each in share],
            self.algorithm.reduction,
            prompts=[each.group for each in attempts],
            rollouts=[each.row.attempt for each in share],
            length=self.algorithm.constant_length,
        )
        return [float(weight) for weight in found]

    def _teaches(self, each: Known) -> bool:
        algorithm = self.algorithm
        regularised = algorithm.entropy_weight or (algorithm.kl_weight and algorithm.kl_term != "reward")
        return bool(algorithm.critic is not None or regularised or each.advantages.any())

    def _own(self, known: Sequence[Known]) -> Sequence[tuple[Pack, list[Known]]]:
        """This process's share of the passes, which are made small enough that every process has one."""
        packs, size = list(self._packs(known)), self.world.size
        if len(packs) < size:
            packs = list(self._packs(known, -(-sum(len(pack.ids) for pack, _ in packs) // size)))
        return self.world.share(packs)

    def _packs(self, known: Sequence[Known], most: int | None = None) -> Iterator[tuple[Pack, list[Known]]]:
        done = 0
        for pack in pack_rows([each.row for each in known], most or self.pack_tokens):
            count = len(pack.layout.ends)
            yield pack, list(known[done : done + count])
            done += count

    def _step(self, loss: float) -> float:
        norm = torch.nn.utils.clip_grad_norm_(self.policy.masters.values(), self.clip_norm)
        if not bool(torch.isfinite(norm)) or loss != loss:
            self.optimizer.zero_grad(set_to_none=True)
            raise InvalidInput(
                f"the loss is {loss} and the gradient's norm {float(norm)}; nothing was changed in this step. "
                "Lower --learning-rate; the last checkpoint is unharmed"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.policy.publish()
        return float(norm)


def _by_attempt(known: Sequence[Known]) -> dict[int, list[Known]]:
    found: dict[int, list[Known]] = {}
    for each in known:
        found.setdefault(each.row.attempt, []).append(each)
    return found


def _given(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None, "the pass before the update has filled it"
    return value
