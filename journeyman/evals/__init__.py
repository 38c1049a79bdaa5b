"""Measures models on the same cases and says how sure we are."""

from journeyman.evals.matrix import evaluate
from journeyman.evals.report import save, to_markdown

__all__ = ["evaluate", "save", "to_markdown"]
