"""Measures models on the same cases and says how sure we are."""

from journeyman.evals.cases import CaseSuite, load_cases
from journeyman.evals.journal import Journal
from journeyman.evals.matrix import evaluate
from journeyman.evals.report import save, save_versus, to_markdown, versus_to_markdown
from journeyman.evals.versus import versus
from journeyman.rewards.judge import Judge

__all__ = [
    "CaseSuite", "Journal", "Judge", "evaluate", "load_cases", "save", "save_versus", "to_markdown", "versus",
    "versus_to_markdown",
]  # fmt: skip
