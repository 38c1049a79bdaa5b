"""The standard normal distribution."""

from statistics import NormalDist

_STANDARD = NormalDist()


def normal_quantile(share: float) -> float:
    """The value below which that share of the distribution lies."""
    return _STANDARD.inv_cdf(share)


def normal_tail(value: float) -> float:
    """The share of the distribution above a value."""
    return 1 - _STANDARD.cdf(value)
