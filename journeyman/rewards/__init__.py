"""Scores attempts at the same scenario."""

from journeyman.rewards.combine import lowest, product, weighted_sum
from journeyman.rewards.reward import Reward, each, rescore, score_by_part, score_group
from journeyman.rewards.rules import few_repeats, finished, matches, overlong, own_score, says_json
from journeyman.rewards.scripted import ScriptedReward

__all__ = [
    "Reward", "ScriptedReward", "each", "few_repeats", "finished", "lowest", "matches", "overlong", "own_score",
    "product", "rescore", "says_json", "score_by_part", "score_group", "weighted_sum",
]  # fmt: skip
