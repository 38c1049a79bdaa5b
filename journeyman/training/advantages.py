"""How much better an attempt was than could be expected: rewards in, one advantage for each attempt (or token) out.

Advantages are constants to the losses. All functions are pure and compute in float64. An attempt that could not be
scored has the reward None: it takes no part in any mean and gets the advantage 0. A group whose rewards are all equal
teaches nothing and gets exactly 0, whatever rounding left of its spread.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from journeyman.errors import InvalidInput
from journeyman.records.algorithm import Estimator

EQUAL = 1e-6
"""Rewards whose standard deviation is below this are the same."""

EQUATIONS: dict[Estimator, str] = {
    "grpo": "A = (R − mean of group) / (std of group, ddof {ddof}, + {epsilon:g})",
    "dr_grpo": "A = R − mean of group",
    "rloo": "A = R − mean of the others in the group",
    "batch_std": "A = (R − mean of group) / (std of all R − mean of group, + {epsilon:g})",
    "reinforce_pp": "A = (R − mean of batch) / (std of batch + {epsilon:g})",
    "reinforce_pp_baseline": "A = ((R − mean of group) − its batch mean) / (its batch std + {epsilon:g})",
    "maxrl": "A = (R − mean of group) / (mean of group + {epsilon:g})",
    "opo": "A = R − Σ T·R / Σ T over the group, T the sampled tokens of an attempt",
    "none": "A = R",
}  # fmt: skip

Rewards = Sequence[float | None]


class Advantages(NamedTuple):
    """One advantage for each attempt, in order, and how many groups carry no signal."""

    values: list[float]
    silent_groups: int


def advantages(
    rewards: Rewards,
    groups: Sequence[int],
    estimator: Estimator = "grpo",
    *,
    lengths: Sequence[int] | None = None,
    ddof: int = 0,
    epsilon: float = 1e-6,
) -> Advantages:
    """The advantage of each attempt; `groups` names the group of each, `lengths` (for `opo`) its sampled tokens.

    GRPO is arXiv 2402.03300, Dr. GRPO 2503.20783, RLOO 2402.14740, Lite-PPO (`batch_std`) 2508.08221, REINFORCE++
    2501.03262, MaxRL 2602.02710, OPO 2505.23585. InvalidInput for rewards that are no numbers, and for a group of one
    where the estimator compares within groups.
    """
    _check(rewards, groups)
    if estimator == "opo" and lengths is None:
        raise InvalidInput("opo weighs rewards by the attempts' lengths; give `lengths`")
    found = [0.0] * len(rewards)
    silent = 0
    centred: list[int] = []
    quiet: list[int] = []
    for group in dict.fromkeys(groups):
        members = [at for at, of in enumerate(groups) if of == group and rewards[at] is not None]
        if not members:
            silent += 1
            continue
        if len(members) == 1 and estimator not in ("none", "reinforce_pp") and groups.count(group) == 1:
            raise InvalidInput(
                f"group {group} has one attempt, and {estimator} compares attempts with each other: make more attempts "
                "for each scenario, or choose reinforce_pp, none, or PPO with a critic"
            )
        values = _tensor([rewards[at] for at in members])
        if estimator in ("none", "reinforce_pp"):
            silent += int(estimator == "none" and not bool(values.abs().max() > 0))
        elif float(values.std(correction=0)) < EQUAL:
            silent += 1
            # It teaches nothing, but belongs to the batch whose spread the others are divided by.
            centred += members
            quiet += members
            continue
        if estimator == "maxrl" and float(values.min()) < 0:
            raise InvalidInput(
                "maxrl divides by a group's mean, which negative rewards turn round; choose another estimator"
            )
        for at, value in zip(members, _in_group(values, estimator, members, lengths, ddof, epsilon), strict=True):
            found[at] = value
        centred += members
    if estimator in ("batch_std", "reinforce_pp", "reinforce_pp_baseline") and centred:
        _whiten(found, centred, centre=estimator != "batch_std", epsilon=epsilon)
        for at in quiet:
            found[at] = 0.0
    return Advantages(found, silent)


def _in_group(
    values: torch.Tensor,
    estimator: Estimator,
    members: Sequence[int],
    lengths: Sequence[int] | None,
    ddof: int,
    epsilon: float,
) -> list[float]:
    mean, count = values.mean(), len(values)
    if estimator in ("none", "reinforce_pp"):
        found = values
    elif estimator == "grpo":
        found = (values - mean) / (values.std(correction=min(ddof, count - 1)) + epsilon)
    elif estimator == "rloo":
        found = (values - mean) * count / max(count - 1, 1)
    elif estimator == "maxrl":
        found = (values - mean) / (mean + epsilon)
    elif estimator == "opo":
        assert lengths is not None
        weights = _tensor([lengths[at] for at in members])
        found = values - (weights * values).sum() / weights.sum()
    else:
        found = values - mean
    return [float(value) for value in found]


def _whiten(found: list[float], members: Sequence[int], *, centre: bool, epsilon: float) -> None:
    """Divide by the batch's spread, in place; all-equal values become 0 when they are centred."""
    values = _tensor([found[at] for at in members])
    mean, spread = (values.mean() if centre else 0.0), values.std(correction=0)
    scaled = (values - mean) / (spread + epsilon) if float(spread) >= EQUAL else torch.zeros_like(values)
    for at, value in zip(members, scaled, strict=True):
        found[at] = float(value)


def scale_to_unit(values: Sequence[float]) -> list[float]:
    """Advantages divided by their mean size over the batch, so that the step's size does not depend on the rewards'."""
    size = sum(abs(value) for value in values) / max(len(values), 1)
    return list(values) if size == 0 else [value / size for value in values]


def generalised_advantages(
    rewards: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    *,
    discount: float = 1.0,
    smoothing: float = 0.95,
    after: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """GAE (arXiv 1506.02438) over one attempt's tokens: advantages and returns, both [tokens], 0 where not sampled.

    `rewards`, `values` and `mask` are [tokens]; a token that the policy did not sample (a tool's output) is stepped
    over: the value and the advantage of what follows are carried past it unchanged. `after` is the value of the state
    behind the last token: 0 when the episode ended there, the critic's value when it was cut off.
    """
    found, returns = torch.zeros_like(values), torch.zeros_like(values)
    next_value, next_advantage = torch.as_tensor(after, dtype=values.dtype), torch.zeros((), dtype=values.dtype)
    owed = torch.zeros((), dtype=values.dtype)
    for at in range(len(values) - 1, -1, -1):
        if not mask[at]:
            # A reward given for what a tool answered belongs to the sampled token before it.
            owed = owed + rewards[at]
            continue
        change = rewards[at] + owed + discount * next_value - values[at]
        next_advantage = change + discount * smoothing * next_advantage
        found[at], returns[at] = next_advantage, next_advantage + values[at]
        next_value, owed = values[at], torch.zeros((), dtype=values.dtype)
    return found, returns


def whitened(values: torch.Tensor, mask: torch.Tensor, epsilon: float = 1e-8) -> torch.Tensor:
    """Values [tokens] with mean 0 and variance 1 over the masked tokens; 0 elsewhere."""
    chosen = values[mask]
    if len(chosen) < 2:
        return torch.zeros_like(values)
    scaled = (values - chosen.mean()) / (chosen.std(correction=0) + epsilon)
    return torch.where(mask, scaled, torch.zeros_like(values))


def _check(rewards: Rewards, groups: Sequence[int]) -> None:
    if len(rewards) != len(groups):
        raise InvalidInput(f"{len(rewards)} rewards for {len(groups)} attempts; a reward function gives one for each")
    for at, reward in enumerate(rewards):
        if reward is None:
            continue
        if isinstance(reward, str) or not math.isfinite(reward):
            raise InvalidInput(
                f"attempt {at} has the reward {reward!r}; a reward is a finite number, or None where the attempt "
                "cannot be scored. Nothing was trained on"
            )


def _tensor(values: Sequence[float | int | None]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
