"""Drawing many rows at once by temperature alone: what most requests ask for."""

import torch


def draw_plain(
    logits: torch.Tensor, temperatures: torch.Tensor, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [rows] and their log-probabilities [rows] at `temperatures` [rows], where 0 takes the likeliest.

    `uniforms` [rows] lie in (0, 1]. Each row depends on nothing but its own numbers.
    """
    greatest, tokens = logits.max(dim=-1)
    # 0 at their greatest, so that no temperature is too small.
    shifted = logits - greatest[:, None]
    weights = shifted.exp()
    normalisers = weights.sum(-1).log_()
    drawn = temperatures > 0
    if drawn.any():
        if (temperatures[drawn] != 1).any():
            weights = shifted.div(temperatures.where(drawn, 1)[:, None]).exp_()
        tokens = tokens.where(~drawn, invert(weights.cumsum_(-1), uniforms))
    return tokens, shifted.gather(1, tokens[:, None])[:, 0] - normalisers


def invert(cumulative: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """One id per row from the cumulative weights [rows, vocabulary]: far faster than torch.multinomial here."""
    found = torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None])[:, 0]
    return found.clamp_(max=cumulative.shape[1] - 1)  # Beyond the end only where the logits are not numbers.
