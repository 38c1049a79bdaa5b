"""Sampling: the right distribution, a stream of its own for each request, and the greatest logit when greedy."""

from dataclasses import replace

import pytest
import torch

from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler, sample

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, -30.0]])


def picked(logits: torch.Tensor, samplers: list[Sampler]) -> list[int]:
    return sample(logits, samplers, [0] * len(samplers)).tokens


def drawn(rule: SamplingRule, count: int = 4000, logits: torch.Tensor = LOGITS) -> torch.Tensor:
    """How often each id was drawn, as shares."""
    samplers = [Sampler(replace(rule, seed=f"{i}")) for i in range(count)]
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


MIXED = [
    SamplingRule(0),
    SamplingRule(1.0, seed="plain"),
    SamplingRule(0.7, seed="cool"),
    SamplingRule(1.0, 0.8, "nucleus"),
    SamplingRule(1.3, seed="all", top_k=50, min_p=0.01, top_p=0.9, repetition_penalty=1.2, frequency_penalty=0.3),
    SamplingRule(0, presence_penalty=2.0, logit_bias={7: 5.0}),
]


def test_a_seed_gives_the_same_reply_in_any_company_whatever_the_rules():
    steps = torch.randn(12, len(MIXED), 500, generator=torch.Generator().manual_seed(5)) * 3

    def replies(rows):
        samplers, said = {row: Sampler(MIXED[row], prompt=[row, 3]) for row in rows}, {row: [] for row in rows}
        for logits in steps:
            ids = picked(logits[rows], [samplers[row] for row in rows])
            for row, id in zip(rows, ids, strict=True):
                samplers[row].accept(id)
                said[row].append(id)
        return said

    together = replies(list(range(len(MIXED))))
    for row in range(len(MIXED)):
        assert replies([row])[row] == together[row]
    backwards = replies(list(range(len(MIXED)))[::-1])
    assert backwards == together


def test_a_bias_forces_and_forbids():
    assert drawn(SamplingRule(logit_bias={4: 100}), 50)[4] == 1
    assert drawn(SamplingRule(logit_bias={0: -100, 1: -100}), 200)[:2].sum() == 0
    assert picked(LOGITS, [Sampler(SamplingRule(0, logit_bias={3: 50}))]) == [3]


def test_penalties_drive_a_greedy_reply_on():
    sampler = Sampler(SamplingRule(0, frequency_penalty=1.5))
    said = []
    for _ in range(4):
        said += picked(LOGITS, [sampler])
        sampler.accept(said[-1])
    assert said == [0, 1, 0, 2]


def test_logprobs_are_of_temperature_one_whatever_the_rule():
    rules = [SamplingRule(0.1, 0.2, "1"), SamplingRule(2.0, logit_bias={3: 50}), SamplingRule(0.5), SamplingRule(0)]
    expected = torch.log_softmax(LOGITS, dim=-1)[0]
    together = sample(LOGITS.expand(4, -1), [Sampler(rule) for rule in rules], [0] * 4)
    assert together.logprobs == pytest.approx(expected[together.tokens].tolist())
    sampled = sample(LOGITS, [Sampler(rules[0])], [5])
    assert sampled.logprobs == [pytest.approx(float(expected[sampled.tokens[0]]))]
    assert [top.logprob for top in sampled.alternatives[0]] == pytest.approx(expected.tolist())


def test_nothing_to_sample():
    assert picked(torch.empty(0, 7), []) == []


def test_logits_that_are_no_numbers_give_some_id_of_the_vocabulary():
    ids = picked(torch.full((2, 7), float("nan")), [Sampler(SamplingRule(1.0)), Sampler(SamplingRule(1.0, 0.5))])
    assert all(0 <= id < 7 for id in ids)
