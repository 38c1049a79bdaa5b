"""Whether fine-tuning pays: break-even volume, months to pay back, chances, what decides it, and what to do instead."""

from journeyman.evals.payback.advice import Payback, assess
from journeyman.evals.payback.alternatives import Alternative, Efforts
from journeyman.evals.payback.chances import Chances, Influence, simulate, tornado
from journeyman.evals.payback.model import Plan, break_even_calls, payback_months, tolerable_gap
from journeyman.evals.payback.page import to_json, to_markdown
from journeyman.evals.payback.ranges import Range, fixed, lognormal, measured, read_range, triangular
from journeyman.evals.payback.traffic import Traffic, measure_traffic

__all__ = [
    "Alternative", "Chances", "Efforts", "Influence", "Payback", "Plan", "Range", "Traffic", "assess",
    "break_even_calls", "fixed", "lognormal", "measure_traffic", "measured", "payback_months", "read_range", "simulate",
    "to_json", "to_markdown", "tolerable_gap", "tornado", "triangular",
]  # fmt: skip
