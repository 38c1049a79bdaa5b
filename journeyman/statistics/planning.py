"""How much must be measured before a difference can show: for planning, and to refuse rankings below it."""

import math

from journeyman.errors import InvalidInput
from journeyman.statistics.normal import normal_quantile


def detectable_difference(cases: int, discordance: float, *, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest difference of two success rates that `cases` paired cases show with that power.

    `discordance` is the share of cases on which the two disagree. From the variance of a paired difference
    (R. J. Connor 1987, Biometrics 43:207–211), solved for the difference.
    """
    if cases < 1 or not 0 <= discordance <= 1:
        raise InvalidInput(f"needs at least one case and a share of disagreement in [0, 1], not {cases}, {discordance}")
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cases_needed(middle, discordance, power=power, level=level) > cases else (
            low, middle,
        )  # fmt: skip
    return high


def cases_needed(difference: float, discordance: float, *, power: float = 0.8, level: float = 0.05) -> float:
    """How many paired cases show that difference with that power; infinite for none."""
    if difference <= 0:
        return math.inf
    discordance = max(discordance, difference)
    alpha, beta = normal_quantile(1 - level / 2), normal_quantile(power)
    spread = math.sqrt(max(discordance - difference**2, 0.0))
    return ((alpha * math.sqrt(discordance) + beta * spread) / difference) ** 2


def detectable_mean_difference(cases: int, deviation: float, *, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest mean of paired differences, whose standard deviation is known, that so many cases show."""
    if cases < 1 or deviation < 0:
        raise InvalidInput(f"needs at least one case and a standard deviation ≥ 0, not {cases} and {deviation}")
    return (normal_quantile(1 - level / 2) + normal_quantile(power)) * deviation / math.sqrt(cases)
