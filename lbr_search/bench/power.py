"""What could a suite have shown? The smallest difference that a paired test finds in most cases."""

from __future__ import annotations

import math
import statistics

POWER = 0.8
"""Chance of showing a true difference as large as the smallest shown."""


def smallest_difference(
    deviation: float, n_queries: int, *, n_moved: int, alpha: float
) -> float | None:
    """Smallest true mean difference that a two-sided paired test shows with a power of 80 %.

    (t(1 - alpha / 2) + t(.8)) * SD / sqrt(N), Student's t with N - 1 degrees of freedom.

    Args:
        deviation: standard deviation over queries of the differences at hand.
        n_queries: N.
        n_moved: queries whose difference is not 0.
        alpha: level of the test; divided by the number of tests where p is corrected.

    Returns:
        In the unit of the metric. None where no outcome at all could be shown: where n queries
        move, the randomisation test has no p-value below 2 / 2^n. So two arms that differ in a
        few queries have a small deviation, and yet nothing that a test could show.

    >>> round(smallest_difference(0.22, 300, n_moved=120, alpha=0.05), 3)
    0.036
    >>> smallest_difference(0.01, 300, n_moved=5, alpha=0.05) is None
    True
    """
    if n_queries < 2 or 2.0 ** (1 - n_moved) >= alpha:
        return None
    freedom = n_queries - 1
    factor = t_quantile(1 - alpha / 2, freedom) + t_quantile(POWER, freedom)
    return factor * deviation / math.sqrt(n_queries)


def t_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t, by its expansion in 1 / degrees of freedom.

    Source: Abramowitz and Stegun 1964, 26.7.5. Within 1 % from 8 degrees of freedom on, for the p
    used here.

    >>> round(t_quantile(0.975, 299), 3)
    1.968
    """
    z = statistics.NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + math.fsum(term / freedom**order for order, term in enumerate(terms, start=1))
