"""How sure we are: intervals, tests, sequences that may be peeked at, rankings, agreement. Proven by simulation."""

from journeyman.statistics.agreement import cohens_kappa, krippendorffs_alpha, squared
from journeyman.statistics.debiased import prediction_powered_mean, prediction_powered_rate
from journeyman.statistics.intervals import (
    Z95,
    clustered_mean,
    compare,
    difference_of_rates,
    paired_difference,
    paired_mean,
    proportion,
    quantile,
    ratio_of_clustered_means,
)
from journeyman.statistics.planning import cases_needed, detectable_difference, detectable_mean_difference
from journeyman.statistics.ranking import bradley_terry, kendall_tau
from journeyman.statistics.repeated import pass_at_k, pass_power_k, rule_of_three
from journeyman.statistics.sequences import (
    AsymptoticSequence,
    BettingSequence,
    PairedSequence,
    compare_anytime,
    excludes_zero,
)
from journeyman.statistics.shares import mean_share
from journeyman.statistics.significance import benjamini_hochberg, mcnemar

__all__ = [
    "Z95",
    "AsymptoticSequence",
    "BettingSequence",
    "PairedSequence",
    "benjamini_hochberg",
    "bradley_terry",
    "cases_needed",
    "clustered_mean",
    "cohens_kappa",
    "compare",
    "compare_anytime",
    "detectable_difference",
    "detectable_mean_difference",
    "difference_of_rates",
    "excludes_zero",
    "kendall_tau",
    "krippendorffs_alpha",
    "mcnemar",
    "mean_share",
    "paired_difference",
    "paired_mean",
    "pass_at_k",
    "pass_power_k",
    "prediction_powered_mean",
    "prediction_powered_rate",
    "proportion",
    "quantile",
    "ratio_of_clustered_means",
    "rule_of_three",
    "squared",
]  # fmt: skip
