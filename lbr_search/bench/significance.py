"""Is a difference between systems on the same queries more than chance? Any number at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lbr_search.bench.power import smallest_difference
from lbr_search.bench.resampling import (
    RESAMPLES,
    Floats,
    bootstrap_intervals,
    randomisation_tests,
)
from lbr_search.errors import ShapeError

ALPHA = 0.05
"""A difference is called shown below this p-value, corrected for the number of comparisons."""
_RESAMPLES_A_COMPARISON = 400
"""A p-value of ALPHA / n is then met by 20 resamples; with too few none could be below it."""
Values = Mapping[str, float]
"""query_id -> value of a metric."""
_SHOWN_IDS = 5
"""Of queries that one side lacks, named in an error."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """System minus baseline, over paired queries, in the unit of the metric."""

    difference: float
    p_value: float
    """Two-sided, paired randomisation test, of this comparison alone."""
    p_holm: float
    """Corrected for all comparisons that were made together."""
    interval: tuple[float, float]
    """Paired bootstrap, 95 %, of this comparison alone."""
    effect_size: float | None
    """Mean over standard deviation of the differences (Cohen's d of pairs); None = all equal."""
    smallest_shown: float | None
    """Difference that these queries show in 80 % of cases, as one of so many comparisons; None =
    too few of them differ to show any."""
    n_compared: int
    """Comparisons made together."""
    wins: int
    ties: int
    losses: int

    @property
    def is_shown(self) -> bool:
        """The difference is more than chance: corrected p < .05."""
        return self.p_holm < ALPHA

    @property
    def verdict(self) -> str:
        """What may be said: better, worse or not shown; never that there is no difference."""
        if not self.is_shown:
            return "not shown"
        return "better" if self.difference > 0 else "worse"


def compare(
    system: Values, baseline: Values, *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compare two systems by their values for the same queries, as the only comparison.

    Args:
        system: query_id -> value.
        baseline: query_id -> value; the same queries.
        resamples: sign flips and bootstrap samples, 1 or more.
        seed: of both; the same seed gives the same numbers.

    Raises:
        ShapeError: there are no queries, or the two do not have the same ones.
    """
    return compare_all([(system, baseline)], resamples=resamples, seed=seed)[0]


def compare_all(
    pairs: Sequence[tuple[Values, Values]], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Comparison]:
    """Compare pairs of systems, over any number of suites; p corrected over all of them (Holm).

    Args:
        pairs: (system, baseline), each over the same queries.
        resamples: sign flips and bootstrap samples, 1 or more; of sign flips more where there are
            so many comparisons that a corrected p-value could not fall below `ALPHA` otherwise.
        seed: of both.

    Raises:
        ShapeError: as `compare`, for any of the pairs.
    """
    by_queries: dict[tuple[str, ...], list[int]] = {}
    for number, (system, baseline) in enumerate(pairs):
        refuse_other_queries(system, baseline)
        # sorted: the order of a file must not move a p-value
        by_queries.setdefault(tuple(sorted(system)), []).append(number)
    p_values = [1.0] * len(pairs)
    n_flips = max(resamples, _RESAMPLES_A_COMPARISON * len(pairs))
    found: dict[int, tuple[Floats, tuple[float, float]]] = {}
    for names, numbers in by_queries.items():
        columns = [[pairs[n][0][name] - pairs[n][1][name] for name in names] for n in numbers]
        matrix = np.array(columns, dtype=np.float64).T  # (N, A)
        tested = randomisation_tests(matrix, resamples=n_flips, seed=seed)
        intervals = bootstrap_intervals(matrix, share=1 - ALPHA, resamples=resamples, seed=seed)
        for column, number in enumerate(numbers):
            low, high = intervals[column].tolist()
            p_values[number] = float(tested[column])
            found[number] = (matrix[:, column], (low, high))
    corrected = holm(p_values)
    return [
        _describe(*found[number], p_values[number], corrected[number], n_compared=len(pairs))
        for number in range(len(pairs))
    ]


def refuse_other_queries(
    system: Values, baseline: Values, *, names: tuple[str, str] = ("system", "baseline")
) -> None:
    """Refuse two systems that were not asked the same queries.

    Args:
        system: query_id -> value.
        baseline: query_id -> value.
        names: of both, for the message.

    Raises:
        ShapeError: says how many queries each has, and names some that one side lacks.
    """
    if system and system.keys() == baseline.keys():
        return
    lines = [
        f"{names[0]} and {names[1]} have {len(system)} and {len(baseline)} queries, "
        f"{len(system.keys() & baseline.keys())} of them in common."
    ]
    for name, own, other in ((names[0], system, baseline), (names[1], baseline, system)):
        alone = sorted(own.keys() - other.keys())
        if alone:
            more = f" and {len(alone) - _SHOWN_IDS} more" if len(alone) > _SHOWN_IDS else ""
            lines.append(f"only {name}: {', '.join(alone[:_SHOWN_IDS])}{more}")
    raise ShapeError("\n  ".join(lines), "compare runs of the same queries of the same split")


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


def _describe(
    differences: Floats,
    interval: tuple[float, float],
    p_value: float,
    p_holm: float,
    *,
    n_compared: int,
) -> Comparison:
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    is_spread = deviation > 1e-12 * max(1.0, abs(mean))  # equal differences, but for rounding
    n_moved = int(np.count_nonzero(differences))
    level = ALPHA / n_compared  # Bonferroni's: Holm tests the smallest p at it, so it is cautious
    return Comparison(
        difference=mean,
        p_value=p_value,
        p_holm=p_holm,
        interval=interval,
        effect_size=mean / deviation if is_spread else None,
        smallest_shown=smallest_difference(
            deviation, len(differences), n_moved=n_moved, alpha=level
        ),
        n_compared=n_compared,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
    )
