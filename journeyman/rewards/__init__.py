"""Scores attempts at the same scenario."""

from journeyman.rewards.asking import Asker
from journeyman.rewards.combine import lowest, product, weighted_sum
from journeyman.rewards.judge import Judge
from journeyman.rewards.metering import Ceiling
from journeyman.rewards.reward import Reward, each, rescore, score_by_part, score_group
from journeyman.rewards.rubric import Criterion, Rubric
from journeyman.rewards.ruler import Ruler
from journeyman.rewards.rules import few_repeats, finished, matches, overlong, own_score, says_json
from journeyman.rewards.scripted import ScriptedReward
from journeyman.rewards.verdict_book import VerdictBook

__all__ = [
    "Asker", "Ceiling", "Criterion", "Judge", "Reward", "Rubric", "Ruler", "ScriptedReward", "VerdictBook", "each",
    "few_repeats", "finished", "lowest", "matches", "overlong", "own_score", "product", "rescore", "says_json",
    "score_by_part", "score_group", "weighted_sum",
]  # fmt: skip
