"""The standard normal distribution, and Student's, which is wider for few observations."""

import math
from statistics import NormalDist

_STANDARD = NormalDist()


def normal_quantile(share: float) -> float:
    """The value below which that share of the distribution lies."""
    return _STANDARD.inv_cdf(share)


def normal_tail(value: float) -> float:
    """The share of the distribution above a value."""
    return 1 - _STANDARD.cdf(value)


def normal_share(value: float) -> float:
    """The share of the distribution below a value."""
    return _STANDARD.cdf(value)


def students_quantile(share: float, freedom: int) -> float:
    """The value below which that share of Student's distribution lies, with so many degrees of freedom.

    G. W. Hill (1970), "Algorithm 396: Student's t-quantiles", Communications of the ACM 13:619–620; six digits.
    """
    both = 2 * min(share, 1 - share)
    size = _students_size(both, freedom)
    return size if share >= 0.5 else -size


def _students_size(both: float, n: int) -> float:
    """The size that is exceeded, on both sides together, with that probability."""
    if n == 1:
        return 1 / math.tan(both * math.pi / 2)
    if n == 2:
        return math.sqrt(2 / (both * (2 - both)) - 2)
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * both) ** (2 / n)
    if y > 0.05 + a:
        x = normal_quantile(both / 2)
        y = x**2
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (
            n + 2
        ) + 1 / y
    return math.sqrt(n * y)
