"""Sampling: the right distribution, a stream of its own for each request, and the greatest logit when greedy."""

import pytest
import torch

from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler, sample

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, -30.0]])


def picked(logits: torch.Tensor, samplers: list[Sampler]) -> list[int]:
    return sample(logits, samplers, [0] * len(samplers)).tokens


def drawn(rule: SamplingRule, count: int = 4000, logits: torch.Tensor = LOGITS) -> torch.Tensor:
    """How often each id was drawn, as shares."""
    samplers = [Sampler(SamplingRule(rule.temperature, rule.top_p, f"{i}")) for i in range(count)]
    ids = picked(logits.expand(count, -1), samplers)
    return torch.bincount(torch.tensor(ids), minlength=logits.shape[1]) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_ids_are_drawn_as_often_as_their_probability_says(temperature):
    expected = torch.softmax(LOGITS[0] / temperature, dim=-1)
    torch.testing.assert_close(drawn(SamplingRule(temperature)), expected, atol=0.03, rtol=0)


def test_top_p_keeps_the_fewest_ids_that_reach_it():
    first, second = torch.softmax(LOGITS[0], dim=-1)[:2]
    shares = drawn(SamplingRule(top_p=float(first) + 0.01))
    torch.testing.assert_close(shares[:2], torch.stack((first, second)) / (first + second), atol=0.03, rtol=0)
    assert shares[2:].sum() == 0
    assert drawn(SamplingRule(top_p=float(first) - 0.01)).tolist() == [1, 0, 0, 0, 0]
    assert drawn(SamplingRule(top_p=1e-9)).tolist() == [1, 0, 0, 0, 0]


def test_top_p_finds_a_nucleus_of_any_size():
    flat = torch.zeros(1, 5000)
    shares = drawn(SamplingRule(top_p=0.5), logits=flat)
    assert 2000 < int((shares > 0).sum()) <= 2501


def test_temperature_zero_is_the_greatest_logit_also_beside_rows_that_are_drawn():
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(1))
    rules = [SamplingRule(0), SamplingRule(1.0, seed="a"), SamplingRule(0, seed="x"), SamplingRule(2.0, 0.5, "b")]
    ids = picked(logits[:4], [Sampler(rule) for rule in rules])
    assert [ids[0], ids[2]] == logits[[0, 2]].argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-3])
def test_a_temperature_near_zero_is_greedy(temperature):
    assert drawn(SamplingRule(temperature), 50)[0] == 1


def test_a_row_draws_the_same_in_any_company():
    logits = torch.randn(8, 1000, generator=torch.Generator().manual_seed(2))
    rules = [SamplingRule(1.0, 0.9 if row % 2 else 1.0, f"{row}") for row in range(8)]
    together = picked(logits, [Sampler(rule) for rule in rules])
    alone = [picked(logits[row : row + 1], [Sampler(rules[row])])[0] for row in range(8)]
    assert together == alone


def test_logprobs_are_of_temperature_one_whatever_the_rule():
    sampled = sample(LOGITS, [Sampler(SamplingRule(0.1, 0.2, "1"))], [5])
    expected = torch.log_softmax(LOGITS, dim=-1)[0]
    assert sampled.logprobs == [pytest.approx(float(expected[sampled.tokens[0]]))]
    assert [top.logprob for top in sampled.alternatives[0]] == pytest.approx(expected.tolist())


def test_nothing_to_sample():
    assert picked(torch.empty(0, 7), []) == []


def test_logits_that_are_no_numbers_give_some_id_of_the_vocabulary():
    ids = picked(torch.full((2, 7), float("nan")), [Sampler(SamplingRule(1.0)), Sampler(SamplingRule(1.0, 0.5))])
    assert all(0 <= id < 7 for id in ids)
