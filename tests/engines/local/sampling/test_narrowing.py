"""Every rule against transformers' processors, which are written by others for the same definitions."""

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from journeyman.engines.local.sampling.narrowing import narrow
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler

VOCABULARY = 3000
RULES = [
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": VOCABULARY + 5},
    {"top_p": 0.9},
    {"top_p": 0.1},
    {"top_p": 0.9999},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 50, "top_p": 0.8, "min_p": 0.01},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7, "top_p": 0.5},
    {"temperature": 0.3, "top_k": 10, "top_p": 0.95, "repetition_penalty": 1.1, "min_p": 0.02},
    {"temperature": 1.9, "top_p": 0.95},
]


def probabilities(logits, sampler):
    """By which `draw_ruled` draws."""
    scores = logits.clone()
    sampler.adjust(scores)
    weights = narrow((scores - scores.max()) / sampler.rule.temperature, sampler.rule)
    return weights / weights.sum()


def theirs(rule):
    """transformers' processors in vLLM's order."""
    processors = LogitsProcessorList()
    if rule.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(rule.repetition_penalty))
    if rule.temperature != 1:
        processors.append(TemperatureLogitsWarper(rule.temperature))
    if rule.min_p:
        processors.append(MinPLogitsWarper(rule.min_p))
    if rule.top_k:
        processors.append(TopKLogitsWarper(rule.top_k))
    if rule.top_p < 1:
        processors.append(TopPLogitsWarper(rule.top_p))
    return processors


@pytest.mark.parametrize("fields", RULES, ids=str)
@pytest.mark.parametrize("width", [0.01, 1.0, 8.0], ids=["flat", "usual", "steep"])
def test_what_may_be_drawn_and_how_often_is_what_transformers_says(fields, width):
    rule = SamplingRule(**fields)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(VOCABULARY, generator=generator) * width
        prompt = torch.randint(VOCABULARY, (30,), generator=generator).tolist()
        reply = torch.randint(VOCABULARY, (20,), generator=generator).tolist()
        sampler = Sampler(rule, prompt)
        for token in reply:
            sampler.accept(token)
        expected = theirs(rule)(torch.tensor([[*prompt, *reply]]), logits[None].clone())[0].softmax(-1)
        found = probabilities(logits, sampler)
        # Where a share is reached to within rounding, one token more or less is as right.
        assert int(((found > 0) != (expected > 0)).sum()) <= 1
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-3)


def test_penalties_are_openais():
    logits = torch.tensor([1.0, 2.0, 3.0, -1.0])
    sampler = Sampler(SamplingRule(frequency_penalty=0.5, presence_penalty=0.25), prompt=[3, 3])
    for token in (1, 2, 2):
        sampler.accept(token)
    scores = logits.clone()
    sampler.adjust(scores)
    assert scores.tolist() == [1.0, 2.0 - 0.75, 3.0 - 1.25, -1.0], "the prompt is not punished"


def test_a_bias_is_added_before_the_penalties():
    sampler = Sampler(SamplingRule(logit_bias={0: -100, 2: 4.0}, repetition_penalty=2.0), prompt=[2])
    scores = torch.tensor([1.0, 1.0, -2.0])
    sampler.adjust(scores)
    assert scores.tolist() == [-99.0, 1.0, 1.0]


def test_nothing_was_said_yet():
    sampler = Sampler(SamplingRule(repetition_penalty=2.0, frequency_penalty=1.0))
    scores = torch.tensor([1.0, -1.0])
    sampler.adjust(scores)
    assert scores.tolist() == [1.0, -1.0]


def test_tokens_that_tie_with_the_last_of_top_k_stay():
    weights = narrow(torch.tensor([0.0, -1.0, -1.0, -2.0]), SamplingRule(top_k=2))
    assert (weights > 0).tolist() == [True, True, True, False]
