"""Is a difference between two systems on the same queries more than chance?"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lbr_search.errors import ShapeError

ALPHA = 0.05
"""A difference is called shown below this p-value."""
POWER = 0.8
"""Chance of showing a true difference as large as `Comparison.smallest_shown`."""
EXACT_LIMIT = 16
"""Non-zero differences up to which every sign pattern (2^16) is tried."""
RESAMPLES = 20_000
_BLOCK = 4_000_000
"""Numbers drawn at a time, to bound memory."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """System minus baseline, over paired queries, in the unit of the metric."""

    difference: float
    p_value: float
    """Two-sided, paired randomisation test."""
    interval: tuple[float, float]
    """Paired bootstrap, 95 %."""
    smallest_shown: float
    """Difference that this number of queries shows in 80 % of cases at p < .05."""
    wins: int
    ties: int
    losses: int

    @property
    def is_shown(self) -> bool:
        """The difference is more than chance at p < .05."""
        return self.p_value < ALPHA


def compare(
    system: Mapping[str, float],
    baseline: Mapping[str, float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two systems by their values for the same queries.

    Args:
        system: query_id -> value.
        baseline: query_id -> value; the same queries.
        resamples: sign flips and bootstrap samples, 1 or more.
        seed: of both; the same seed gives the same numbers.

    Raises:
        ShapeError: there are no queries, or the two do not have the same ones.
    """
    if not system or system.keys() != baseline.keys():
        raise ShapeError(
            f"the systems have {len(system)} and {len(baseline)} queries, "
            f"{len(system.keys() & baseline.keys())} of them in common.",
            "compare runs of the same queries",
        )
    # sorted: the order of a file must not move a p-value
    names = sorted(system)
    differences = np.array([system[name] - baseline[name] for name in names])
    return Comparison(
        difference=float(differences.mean()),
        p_value=randomisation_test(differences, resamples=resamples, seed=seed),
        interval=bootstrap_interval(differences, resamples=resamples, seed=seed),
        smallest_shown=smallest_difference(differences),
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
    )


def randomisation_test(
    differences: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """Two-sided p-value of the mean of paired differences, by flipping their signs.

    Source: Fisher's randomisation test, as Smucker, Allan and Carterette (CIKM 2007) recommend for
    retrieval. Exact up to `EXACT_LIMIT` non-zero differences; otherwise the observed pattern counts
    among the resamples (Phipson and Smyth 2010), so p is never 0.

    Args:
        differences: (N,).
        resamples: random sign patterns.
        seed: of the patterns.

    >>> randomisation_test(np.array([0.1, 0.2, 0.3]))
    0.25
    """
    moved = np.abs(differences[differences != 0])
    if not len(moved):
        return 1.0
    # sums that differ by rounding alone are equal
    observed = abs(differences.sum()) - 1e-9 * moved.sum()
    if len(moved) <= EXACT_LIMIT:
        patterns = np.array(list(itertools.product((-1.0, 1.0), repeat=len(moved))))
        return float((np.abs(patterns @ moved) >= observed).mean())
    generator = np.random.default_rng(seed)
    n_extreme, remaining = 0, resamples
    while remaining:
        block = min(remaining, max(1, _BLOCK // len(moved)))
        flips = generator.integers(0, 2, size=(block, len(moved)), dtype=np.int8)
        sums = flips @ (2 * moved) - moved.sum()
        n_extreme += int((np.abs(sums) >= observed).sum())
        remaining -= block
    return (n_extreme + 1) / (resamples + 1)


def bootstrap_interval(
    differences: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean of paired differences: percentiles of resampled queries.

    Args:
        differences: (N,).
        resamples: samples with replacement.
        seed: of the samples.
    """
    generator = np.random.default_rng(seed)
    means = []
    remaining = resamples
    while remaining:
        block = min(remaining, max(1, _BLOCK // len(differences)))
        rows = generator.integers(0, len(differences), size=(block, len(differences)))
        means.append(differences[rows].mean(axis=1))
        remaining -= block
    low, high = np.quantile(np.concatenate(means), [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def smallest_difference(differences: NDArray[np.float64]) -> float:
    """Smallest mean difference shown with 80 % power at p < .05, two-sided.

    (z(1 - .05 / 2) + z(.8)) * SD / sqrt(N) = 2.80 SD / sqrt(N), SD of the differences at hand.
    A single query shows nothing: infinity.

    Args:
        differences: (N,).

    >>> round(smallest_difference(np.array([-0.22, 0.22] * 150)), 3)
    0.036
    """
    if len(differences) < 2:
        return float("inf")
    normal = statistics.NormalDist()
    factor = normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)
    return float(factor * differences.std(ddof=1) / np.sqrt(len(differences)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being several: the chance of any false claim stays at the level.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    running = 0.0
    for n_before, place in enumerate(order):
        running = max(running, (len(p_values) - n_before) * p_values[place])
        corrected[place] = min(1.0, running)
    return corrected
