"""What an update sees of the sampled tokens: the numbers that tell a healthy run from one that ruins itself."""

from dataclasses import dataclass, field, fields

import torch

from journeyman.training.distributed import World


@dataclass(slots=True)
class Observed:
    """Collected pass by pass; every list holds tensors [tokens] of single passes."""

    gaps: list[torch.Tensor] = field(default_factory=list)
    """ℓ − ℓ_μ: the trainer's log-probability less the engine's, before anything moved."""
    entropies: list[torch.Tensor] = field(default_factory=list)
    ratios: list[torch.Tensor] = field(default_factory=list)
    clipped: list[torch.Tensor] = field(default_factory=list)
    errors: list[torch.Tensor] = field(default_factory=list)
    """Returns less the critic's values."""
    returns: list[torch.Tensor] = field(default_factory=list)

    def see(self, sampler: torch.Tensor, logprobs: torch.Tensor, entropies: torch.Tensor) -> None:
        """Tokens before anything moved."""
        self.gaps.append((logprobs - sampler).detach())
        self.entropies.append(entropies.detach())

    def see_update(self, ratios: torch.Tensor, clipped: torch.Tensor) -> None:
        """Tokens as they are learned from."""
        self.ratios.append(ratios)
        self.clipped.append(clipped)

    def see_critic(self, values: torch.Tensor, returns: torch.Tensor) -> None:
        """What the critic said, and what came of it."""
        self.errors.append((returns - values).detach())
        self.returns.append(returns.detach())

    def gap(self, world: World) -> float:
        """Mean absolute difference of engine and trainer, in nats, over the tokens of all processes."""
        gaps = _joined(self.gaps).abs()
        total, count = world.total(float(gaps.sum(dtype=torch.float64)), len(gaps))
        return total / count

    def everywhere(self, world: World) -> "Observed":
        """What all processes saw."""
        if world.size == 1:
            return self
        seen = {each.name: world.join(_joined(getattr(self, each.name))) for each in fields(self)}
        return Observed(**{name: [values] if len(values) else [] for name, values in seen.items()})

    def values(self) -> dict[str, float]:
        """For a run's curves. KL is that of the sampler from the policy, by the k3 estimate."""
        gaps = torch.cat(self.gaps).double()
        ratios = torch.cat(self.ratios)
        low, middle, high = torch.quantile(
            ratios[:1_000_000], torch.tensor([0.01, 0.5, 0.99], dtype=ratios.dtype)
        ).tolist()
        found = {
            "sampler gap": float(gaps.abs().mean()),
            "largest sampler gap": float(gaps.abs().max()),
            "sampler KL": float((gaps.exp() - gaps - 1).mean()),
            "entropy": float(torch.cat(self.entropies).mean()),
            "ratio p1": low,
            "ratio p50": middle,
            "ratio p99": high,
            "clipped": float(torch.cat(self.clipped).float().mean()),
            "effective samples": _effective(gaps),
        }
        if self.errors:
            errors, returns = torch.cat(self.errors), torch.cat(self.returns)
            spread = float(returns.var(correction=0))
            found["explained variance"] = 1 - float(errors.var(correction=0)) / spread if spread > 0 else 0.0
        return found


def _joined(values: list[torch.Tensor]) -> torch.Tensor:
    """All of them [tokens], as float32; a process that computed none has none."""
    return torch.cat([each.float().cpu() for each in values]) if values else torch.zeros(0)


def _effective(gaps: torch.Tensor) -> float:
    """(Σw)² / (n·Σw²) of the importance weights between engine and trainer: 1 when they agree."""
    weights = gaps.clamp(-20, 20).exp()
    return float(weights.sum() ** 2 / (len(weights) * (weights**2).sum()))
