"""Which objective a config asks for."""

from pathlib import Path

from journeyman.errors import InvalidInput
from journeyman.records.run import (
    DistillConfig,
    DPOConfig,
    KTOConfig,
    ORPOConfig,
    RewardConfig,
    TrainingConfig,
)
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.distillation import OnPolicyDistillation
from journeyman.training.objective import Objective
from journeyman.training.preferences import DirectPreference, KahnemanTversky, OddsRatio
from journeyman.training.reward_model import PairwiseReward, ScoreRegression
from journeyman.training.sft import Supervised


def make_objective(config: TrainingConfig, tokenizer: ChatTokenizer, teacher: Path | None = None) -> Objective:
    """The objective of a run; `teacher` is the folder of the model to distill from."""
    if isinstance(config, DistillConfig):
        if teacher is None:
            raise InvalidInput("distillation needs a teacher's folder")
        return OnPolicyDistillation(config, tokenizer, teacher)
    if isinstance(config, RewardConfig):
        return (PairwiseReward if config.learn_from == "pairs" else ScoreRegression)(config, tokenizer)
    if isinstance(config, DPOConfig):
        return DirectPreference(config, tokenizer)
    if isinstance(config, KTOConfig):
        return KahnemanTversky(config, tokenizer)
    if isinstance(config, ORPOConfig):
        return OddsRatio(config, tokenizer)
    return Supervised(config, tokenizer)
